"""Extractors that a function of the user's returns: <file.py|module>:<function>."""

from __future__ import annotations

from typing import Any

from torch import nn

from synth_detect_ros.config import NetworkConfig
from synth_detect_ros.detectors.extractors.extractor import Extractor
from synth_detect_ros.detectors.extractors.feature_maps import MapForm, map_extractor
from synth_detect_ros.detectors.extractors.own_code import OwnCode, call_own_code, read_own_code
from synth_detect_ros.detectors.extractors.weights import IMAGENET_MEAN, IMAGENET_STD, fill
from synth_detect_ros.errors import ConfigError


def own_extractor(config: NetworkConfig, load: bool, code: OwnCode | None = None) -> Extractor:
    """Build the extractor that a function of the user's returns.

    Args:
        config: `extractor` is '<file.py|module>:<function>'.
        load: False leaves the weights as the function makes them with `pretrained=False`.
        code: runs in place of the file or module.

    Raises:
        ConfigError: there is no such function, it fails or returns something else.
        WeightsError: a weight file does not fit.
    """
    code = code or read_own_code(config.extractor)
    own = config.weights in ('default', 'none')
    pretrained = load and config.weights == 'default'
    net = call_own_code(config.extractor, code, pretrained=pretrained)
    channels, strides = (_as_tuple(getattr(net, key, None)) for key in ('out_channels', 'stride'))
    if not isinstance(net, nn.Module) or not channels or len(channels) != len(strides):
        raise ConfigError(
            f'detector.extractor: {config.extractor} must return a torch Module with the '
            'attributes out_channels and stride, one whole number for each map it puts out'
        )
    source = config.extractor if own else fill(net, config, load)
    mean, std = getattr(net, 'mean', IMAGENET_MEAN), getattr(net, 'std', IMAGENET_STD)
    forms = [MapForm(c, s) for c, s in zip(channels, strides, strict=True)]
    return map_extractor(config, net, forms, source, mean, std, code)


def _as_tuple(value: Any) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,)
    return tuple(value) if isinstance(value, list | tuple) else ()
