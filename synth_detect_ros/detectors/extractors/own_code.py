"""Code of the user's that builds an extractor: one source file, which a bundle carries along."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from synth_detect_ros.errors import ConfigError


@dataclass(frozen=True)
class OwnCode:
    """A source file that builds an extractor.

    Attributes:
        file: where it was read; the code sees it as `__file__`.
        source: its bytes, those that run.
    """

    file: Path
    source: bytes

    @property
    def sha256(self) -> str:
        """The SHA-256 of the bytes that run, in hexadecimal digits."""
        return hashlib.sha256(self.source).hexdigest()


def read_own_code(name: str) -> OwnCode:
    """Read the source file that an extractor's name points to.

    Args:
        name: <file.py|module>:<function>.

    Raises:
        ConfigError: there is no such file or module, or the module has no source.
    """
    place = name.rpartition(':')[0]
    own = place.endswith('.py')
    file = Path(os.path.realpath(os.path.expanduser(place))) if own else _file_of(place)
    if not file.is_file():
        raise ConfigError(f'detector.extractor: {file}: no such file')
    return OwnCode(file, file.read_bytes())


def _file_of(module: str) -> Path:
    """Return the source file of an installed module."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError) as error:
        raise ConfigError(f'detector.extractor: {module} cannot be imported: {error}') from error
    if spec is None or spec.origin is None or not spec.origin.endswith('.py'):
        why = 'there is no such module' if spec is None else 'it has no source file'
        raise ConfigError(f'detector.extractor: {module} cannot be imported: {why}')
    return Path(spec.origin)


def call_own_code(name: str, code: OwnCode, *, pretrained: bool) -> Any:
    """Run a source file, call the function in it that an extractor's name ends with.

    Args:
        name: <file.py|module>:<function>.
        code: what runs; it stands for itself, so relative imports fail.
        pretrained: passed on where the function has an argument of this name.

    Raises:
        ConfigError: the code fails, or has no such function.
    """
    function = name.rpartition(':')[2]
    module = ModuleType(f'synth_detect_ros_own_{code.sha256[:12]}')
    module.__file__, module.__package__ = str(code.file), ''
    sys.modules[module.__name__] = module  # dataclasses look their module up
    try:
        exec(compile(code.source, code.file, 'exec'), vars(module))
        build = getattr(module, function, None)
        if not callable(build):
            raise ConfigError(f'detector.extractor: {code.file} has no function {function!r}')
        return build(pretrained=pretrained) if _takes_pretrained(build) else build()
    except ConfigError:
        raise
    except Exception as error:  # code of others raises what it likes
        relative = 'relative import' in str(error)
        weights = isinstance(error, OSError) and not pretrained
        raise ConfigError(
            f'detector.extractor: {code.file}: {function} fails: {type(error).__name__}: {error}. '
            + 'The file goes into the bundle alone: import from packages by full name.' * relative
            + 'Give the function an argument `pretrained`; where it is false, read no weights: '
            'a bundle brings all of them.' * weights
        ) from error


def _takes_pretrained(build: Callable[..., Any]) -> bool:
    try:
        return 'pretrained' in inspect.signature(build).parameters
    except (TypeError, ValueError):  # built in
        return False
