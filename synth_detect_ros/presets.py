"""Ready-made configurations: the files of `config/presets`, by name."""

from __future__ import annotations

from pathlib import Path

from synth_detect_ros.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parent
# A checkout, and what pip and colcon make of it: <prefix>/lib/python3.x/site-packages/<package>.
_FOLDERS = (
    _PACKAGE.parent / 'config' / 'presets',
    _PACKAGE / '../../../../share/synth_detect_ros/config/presets',
)


def preset_path(name: str) -> Path:
    """Return the file of a preset, for example `fast_cpu`.

    Raises:
        ConfigError: there is no such preset.
    """
    found = {path.stem: path for folder in _FOLDERS for path in sorted(folder.glob('*.yaml'))}
    if name not in found:
        raise ConfigError(
            f'{name!r} is no file and no preset. Choose one of {", ".join(found) or "no presets"}.'
        )
    return found[name]


def preset_for(device: str) -> Path:
    """Return the preset that suits a device type: `fast_gpu` for `cuda`, else `fast_cpu`."""
    return preset_path('fast_gpu' if device == 'cuda' else 'fast_cpu')
