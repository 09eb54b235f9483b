"""EfficientNet-Lite0 as a chain: an extractor for CPUs whose weights need no hub.

EfficientNet (Tan & Le 2019) without squeeze-and-excitation and with ReLU6 (Google's Lite variant).
Layers are timm's. Weights are those that TensorFlow trained on ImageNet: of a Python package
(Apache-2.0, `requirements-demo.txt`) that is read as a folder of files, none of its code runs; or
from timm's hub.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from synth_detect_ros.config import NetworkConfig
from synth_detect_ros.detectors.extractors.block_chain import PretrainedChain
from synth_detect_ros.detectors.extractors.timm_extractors import timm_hub
from synth_detect_ros.detectors.extractors.weights import (
    INSTALL,
    PACKAGE,
    Hub,
    fill,
    read_weights,
)
from synth_detect_ros.errors import WeightsError

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
FILE = 'models/efficientnet-lite0-57934424.pth'
SHA256 = '579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db'


def efficientnet_lite0_chain(config: NetworkConfig, load: bool) -> PretrainedChain:
    """Return the network with its weights; see `network`."""
    net, source = network(config, load)
    residual = (type(net.get_submodule('blocks.1.0')),)
    return PretrainedChain(blocks(net), ENDS, source, MEAN, STD, residual)


def network(config: NetworkConfig, load: bool) -> tuple[nn.Module, str]:
    """Return the whole classification network, and where its weights came from.

    Args:
        config: `weights` and `extractor` are read.
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
        found, names = file, list(net.state_dict())
        hub = Hub(f'{PACKAGE} {file.name}', file.as_uri(), lambda: read_packaged(found, names))
    return net, fill(net, config, load, hub)


def blocks(net: nn.Module) -> list[nn.Module]:
    """Return stem and residual blocks in the order in which they run, classifier left out."""
    stem = nn.Sequential(net.get_submodule('conv_stem'), net.get_submodule('bn1'))
    stages = net.get_submodule('blocks').children()
    return [stem, *(block for stage in stages for block in stage.children())]


def packaged_file() -> Path | None:
    """Return the weight file of the Python package, or None when that is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    places = spec.submodule_search_locations if spec else None
    files = [Path(place) / FILE for place in places or ()]
    return next((file for file in files if file.is_file()), None)


def read_packaged(file: Path, names: Iterable[str]) -> Mapping[str, torch.Tensor]:
    """Read the weight file, which holds the tensors of today's timm under the names of an older.

    Args:
        file: see `packaged_file`.
        names: of timm's tensors, in the order of its network, which is that of the file.

    Raises:
        WeightsError: the file is another one.
    """
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != SHA256:
        raise WeightsError(
            f'{file}: its SHA-256 is {found[:16]}..., wanted {SHA256[:16]}...: the file was '
            f'changed or cut. Install it again: {INSTALL}'
        )
    # `fill` checks number and shapes.
    return dict(zip(names, read_weights(file).values(), strict=False))
