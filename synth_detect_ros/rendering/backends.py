"""The rendering backends: which there are, and the one that this process draws with."""

from __future__ import annotations

import sys
from functools import cache

from synth_detect_ros.errors import ConfigError, RenderingError
from synth_detect_ros.rendering.renderer import Renderer

# The rendering backends, each in the module of its name.
BACKENDS = ('moderngl', 'pyrender')


def get_renderer(name: str = 'moderngl') -> Renderer:
    """Return this process's renderer, made on first use.

    Raises:
        ConfigError: the name is not known.
        RenderingError: there is no usable OpenGL, or this process draws with another backend.
    """
    if name not in BACKENDS:
        choices = ', '.join(BACKENDS)
        raise ConfigError(f'renderer: {name!r} is not known. Choose one of {choices}.')
    for other in BACKENDS:
        if other != name and f'{__package__}.{other}_backend' in sys.modules:
            raise RenderingError(
                f'renderer: {name} cannot be used, {other} is: two OpenGL contexts in one process '
                f'disturb each other. Use {name} in a process of its own.'
            )
    return _renderer(name)


@cache
def _renderer(name: str) -> Renderer:
    # Imported here: a backend opens EGL, which data set readers and tests do not need.
    if name == 'pyrender':
        from synth_detect_ros.rendering.pyrender_backend import PyrenderRenderer  # noqa: PLC0415

        return PyrenderRenderer()
    try:
        from synth_detect_ros.rendering.moderngl_backend import ModernglRenderer  # noqa: PLC0415
    except ImportError as error:
        advice = 'Install it: pip install moderngl.'
        raise RenderingError(f'moderngl cannot be loaded: {error}. {advice}') from error
    return ModernglRenderer()
