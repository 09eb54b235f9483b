"""Extractors that a function of the user's returns: <file.py|module>:<function>."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from synth_detect_ros.config import NetworkConfig
from synth_detect_ros.detectors.extractors.extractor import Extractor
from synth_detect_ros.detectors.extractors.feature_maps import MapForm, map_extractor
from synth_detect_ros.detectors.extractors.weights import IMAGENET_MEAN, IMAGENET_STD, fill
from synth_detect_ros.errors import ConfigError


def own_extractor(config: NetworkConfig, load: bool) -> Extractor:
    """Build the extractor that a function of the user's returns.

    Args:
        config: `extractor` is '<file.py|module>:<function>'.
        load: False leaves the weights as the function made them.

    Raises:
        ConfigError: there is no such function, or it returns something else.
        WeightsError: a weight file does not fit.
    """
    place, _, function = config.extractor.rpartition(':')
    build = getattr(_import(place), function, None)
    if not callable(build):
        raise ConfigError(f'detector.extractor: {place} has no function {function!r}')
    net = build()
    channels, strides = (_as_tuple(getattr(net, key, None)) for key in ('out_channels', 'stride'))
    if not isinstance(net, nn.Module) or not channels or len(channels) != len(strides):
        raise ConfigError(
            f'detector.extractor: {config.extractor} must return a torch Module with the '
            'attributes out_channels and stride, one whole number for each map it puts out'
        )
    own = config.weights in ('default', 'none')
    source = config.extractor if own else fill(net, config, load)
    mean, std = getattr(net, 'mean', IMAGENET_MEAN), getattr(net, 'std', IMAGENET_STD)
    forms = [MapForm(c, s) for c, s in zip(channels, strides, strict=True)]
    return map_extractor(config, net, forms, source, mean, std)


def _as_tuple(value: Any) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,)
    return tuple(value) if isinstance(value, list | tuple) else ()


def _import(place: str) -> ModuleType:
    """Import a module by name, or a Python file by path."""
    try:
        if not place.endswith('.py'):
            return importlib.import_module(place)
        path = Path(place).expanduser().resolve()
        if not path.is_file():
            raise ConfigError(f'detector.extractor: {path}: no such file')
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
    except ImportError as error:
        raise ConfigError(f'detector.extractor: {place} cannot be imported: {error}') from error
    return module
