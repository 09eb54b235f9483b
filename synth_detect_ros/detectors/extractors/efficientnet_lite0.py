"""EfficientNet-Lite0 as a chain: an extractor for CPUs whose weights need no hub.

EfficientNet (Tan & Le 2019) without squeeze-and-excitation and with ReLU6 (Google's Lite variant).
Layers are timm's, weights those that TensorFlow trained on ImageNet, of a package on the Python
index or from timm's hub.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from synth_detect_ros.config import DetectorConfig
from synth_detect_ros.detectors.extractors.packaged_weights import (
    PACKAGE,
    packaged_file,
    read_packaged,
)
from synth_detect_ros.detectors.extractors.timm_networks import timm_hub
from synth_detect_ros.detectors.extractors.weights import Hub, fill

NAME = 'efficientnet_lite0'
# TensorFlow's weights: images in [-1, 1], and a batch norm with this epsilon. timm builds the
# same network as `tf_efficientnet_lite0`, with TensorFlow's padding, and with symmetric padding,
# with which cell i of a map looks at pixel i * stride, as `efficientnet_lite0`.
TRAINED_AS = 'tf_efficientnet_lite0'
MEAN = (0.5, 0.5, 0.5)
STD = (0.5, 0.5, 0.5)
EPSILON = 1e-3
# Last blocks at strides 4, 8, 16 and 32, the stem counted (Tan & Le 2019, table 1).
ENDS = {4: 3, 8: 5, 16: 11, 32: 16}


def network(config: DetectorConfig, load: bool) -> tuple[nn.Module, str]:
    """Return the whole classification network, and where its weights came from.

    Args:
        config: `weights` and `backbone` are read.
        load: False leaves the weights random.

    Raises:
        WeightsError: the weights cannot be had, or do not fit.
    """
    timm: Any = importlib.import_module('timm')
    net: nn.Module = timm.create_model(NAME, bn_eps=EPSILON)
    file = packaged_file()
    if file is None:
        hub = timm_hub(timm, TRAINED_AS)
    else:
        found = file

        def fetch() -> Mapping[str, torch.Tensor]:
            return read_packaged(found, net.state_dict())

        hub = Hub(f'{PACKAGE} {file.name}', file.as_uri(), fetch)
    return net, fill(net, config, load, hub)


def chain(net: nn.Module) -> list[nn.Module]:
    """Return stem and residual blocks in the order in which they run, classifier left out."""
    stem = nn.Sequential(net.get_submodule('conv_stem'), net.get_submodule('bn1'))
    stages = net.get_submodule('blocks').children()
    return [stem, *(block for stage in stages for block in stage.children())]


def residual_blocks(net: nn.Module) -> tuple[type[nn.Module], ...]:
    """Return the class of timm's residual blocks."""
    return (type(net.get_submodule('blocks.1.0')),)
