"""Files that come with the package, by name: `config/presets` and `config/experiments`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synth_detect_ros.config.detectors import DetectorConfig
from synth_detect_ros.config.rules import Group, choose, groups_of, rules_of
from synth_detect_ros.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parents[1]
# A checkout, and what pip and colcon make of it: <prefix>/lib/python3.x/site-packages/<package>.
_FOLDERS = (
    _PACKAGE.parent / 'config',
    _PACKAGE / '../../../../share/synth_detect_ros/config',
)


def preset_path(name: str) -> Path:
    """Return the file of a preset, for example `fast_cpu`.

    Raises:
        ConfigError: there is no such preset.
    """
    return _shipped('presets', 'preset', name)


def experiment_path(name: str) -> Path:
    """Return the file of a grid of experiments, for example `table2`.

    Raises:
        ConfigError: there is no such grid.
    """
    return _shipped('experiments', 'experiment', name)


def _shipped(folder: str, kind: str, name: str) -> Path:
    files = (path for root in _FOLDERS for path in sorted((root / folder).glob('*.yaml')))
    found = {path.stem: path for path in files}
    if name not in found:
        known = ', '.join(found) or f'no {kind}s'
        raise ConfigError(f'{name!r} is no file and no {kind}. Choose one of {known}.')
    return found[name]


def preset_for(device: str) -> Path:
    """Return the preset that suits a device type: `fast_gpu` for `cuda`, else `fast_cpu`."""
    return preset_path('fast_gpu' if device == 'cuda' else 'fast_cpu')


def fit_detector(preset: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options of a preset without those that another architecture of detector lacks.

    Args:
        preset: options of `train`.
        options: that are going to be set over them; `detector.architecture` is read.

    Raises:
        ConfigError: the architecture is not known.
    """
    detector, over = preset.get('detector'), options.get('detector')
    if not detector or not isinstance(over, Mapping) or 'architecture' not in over:
        return dict(preset)
    cls = choose(groups_of(DetectorConfig), {'architecture': over['architecture']})
    return {**preset, 'detector': _own(cls, detector)}


def _own(cls: Group, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a group has, words only if they are legal there."""
    own: dict[str, Any] = {}
    for key, rule in rules_of(cls).items():
        groups, value = groups_of(rule.hint), options.get(key)
        if groups and isinstance(value, Mapping):
            own[key] = _own(groups[0], value)
        elif key in options and (not rule.choices or value in rule.choices):
            own[key] = value
    return own
