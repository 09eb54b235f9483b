"""An OpenGL context of moderngl without a display: which device, and what to do without one."""

from __future__ import annotations

import os
from typing import Any

import moderngl

from synth_detect_ros.errors import RenderingError
from synth_detect_ros.rendering.renderer import EGL_ADVICE

# More EGL devices than any machine has.
DEVICES = 64
SOFTWARE = ('llvmpipe', 'softpipe', 'swrast')


def open_egl() -> tuple[Any, str]:
    """Return a context and the name of its device.

    The device is the one that EGL_DEVICE_ID names, or else the first that is hardware, or else
    the first.
    """
    wanted = os.environ.get('EGL_DEVICE_ID')
    if wanted is not None and not wanted.isdecimal():
        raise RenderingError(f'EGL_DEVICE_ID is {wanted!r}; wanted the number of an EGL device')
    found: list[tuple[Any, str]] = []
    problems = []
    for number in range(DEVICES) if wanted is None else (int(wanted),):
        try:
            found.append(_make_context(number))
        except Exception as error:  # bare exceptions of glcontext, errors of drivers
            problems.append(f'device {number}: {error}')
            if 'requested device index' in str(error):  # there are not as many
                break
        else:
            if not is_software(found[-1][1]):
                break
    if not found:
        raise RenderingError(f'no OpenGL 3.3 context: {"; ".join(problems)}. {EGL_ADVICE}')
    best = found.pop(0 if is_software(found[-1][1]) else -1)
    for context, _ in found:
        context.release()
    return best


def _make_context(number: int) -> tuple[Any, str]:
    """Return a context on an EGL device, and what OpenGL calls the device."""
    # Libraries by their name: glcontext would look for them with a compiler or ldconfig.
    settings: dict[str, Any] = {'libgl': 'libGL.so.1', 'libegl': 'libEGL.so.1'}
    settings |= {'backend': 'egl', 'device_index': number}
    context = moderngl.create_context(require=330, standalone=True, **settings)
    with context:  # it is current since it was made; from now on only inside `with`
        return context, str(context.info['GL_RENDERER'])


def is_software(device: str) -> bool:
    """Whether the processor does the work of a device with this OpenGL name."""
    return any(name in device for name in SOFTWARE)
