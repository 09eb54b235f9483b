"""Extractors that are chains of blocks, cut where the neck wants it.

What stands behind the cut of a C4 detector is the second stage: the part of the network that the
paper's toolchain runs on each proposal (Hinterstoisser et al. 2017, sec. 3.3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torchvision
from torch import nn

from synth_detect_ros.config import DetectorConfig
from synth_detect_ros.detectors.extractors import efficientnet_lite0, inception
from synth_detect_ros.detectors.extractors.adapters import BLOCKS, add_adapters
from synth_detect_ros.detectors.extractors.block_chain import Trunk
from synth_detect_ros.detectors.extractors.dilation import align, dilate
from synth_detect_ros.detectors.extractors.extractor import (
    C4_STRIDE,
    IMAGENET_MEAN,
    IMAGENET_STD,
    SSD_STRIDES,
    Extractor,
)
from synth_detect_ros.detectors.extractors.freezing import Stage
from synth_detect_ros.detectors.extractors.timm_networks import timm_network
from synth_detect_ros.detectors.extractors.torchvision_networks import torchvision_hub
from synth_detect_ros.detectors.extractors.weights import fill

RESNETS = ('resnet18', 'resnet34', 'resnet50', 'resnet101', 'resnet152')
# Last blocks at strides 4, 8, 16 and 32; those of MobileNetV2 by Sandler et al. 2018, table 2.
RESNET_ENDS = {4: 1, 8: 2, 16: 3, 32: 4}
MOBILENET_V2_ENDS = {4: 3, 8: 6, 16: 13, 32: 18}


@dataclass(frozen=True, eq=False)
class Chain:
    """A pre-trained network as blocks that run one after the other.

    Attributes:
        blocks: the network without its classifier.
        ends: index of the last block of each stride [px], ascending.
        source: where the weights came from.
        mean: of the RGB channels the weights were trained with, image in [0, 1].
        std: likewise.
        residual: classes of its residual blocks.
    """

    blocks: Sequence[nn.Module]
    ends: Mapping[int, int]
    source: str
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    residual: tuple[type[nn.Module], ...] = BLOCKS


def _resnet(config: DetectorConfig, load: bool) -> Extractor:
    net = getattr(torchvision.models, config.backbone)()
    source = fill(net, config, load, torchvision_hub(config.backbone))
    stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
    blocks = [stem, net.layer1, net.layer2, net.layer3, net.layer4]
    return _cut(config, Chain(blocks, RESNET_ENDS, source))


def _mobilenet_v2(config: DetectorConfig, load: bool) -> Extractor:
    net = torchvision.models.mobilenet_v2()
    source = fill(net, config, load, torchvision_hub('mobilenet_v2'))
    return _cut(config, Chain(list(net.features), MOBILENET_V2_ENDS, source))


def _inception_resnet_v2(config: DetectorConfig, load: bool) -> Extractor:
    net, source = timm_network(config, inception.NAME, load)
    return _cut(config, _chain_of(inception, net, source))


def _efficientnet_lite0(config: DetectorConfig, load: bool) -> Extractor:
    net, source = efficientnet_lite0.network(config, load)
    return _cut(config, _chain_of(efficientnet_lite0, net, source))


def _chain_of(network: Any, net: nn.Module, source: str) -> Chain:
    """Return the chain of one of timm's networks that a module of this folder knows."""
    residual = network.residual_blocks(net)
    return Chain(network.chain(net), network.ENDS, source, network.MEAN, network.STD, residual)


# Builders by the name in the configuration.
CHAINS: dict[str, Callable[[DetectorConfig, bool], Extractor]] = {
    **dict.fromkeys(RESNETS, _resnet),
    'mobilenet_v2': _mobilenet_v2,
    efficientnet_lite0.NAME: _efficientnet_lite0,
    inception.NAME: _inception_resnet_v2,
}


def _cut(config: DetectorConfig, chain: Chain) -> Extractor:
    """Cut a chain with maps at strides 4, 8, 16 and 32 as the neck wants it."""
    pretrained, blocks, ends = config.weights != 'none', list(chain.blocks), chain.ends
    second: nn.Module | None = None
    strides: tuple[int, ...] = (config.c4_stride,)
    if config.neck == 'c4':
        cut = ends[C4_STRIDE]
        trunk, second = Trunk(blocks, (cut,), ends), nn.Sequential(*blocks[cut + 1 :])
    else:
        finest = SSD_STRIDES[0] if config.neck == 'extra' else config.fpn_finest_stride
        strides = tuple(s for s in ends if s >= finest)
        trunk = Trunk(blocks, [ends[s] for s in strides], ends)
    align(trunk)
    if config.neck == 'c4' and config.c4_stride < C4_STRIDE:
        dilate(trunk.blocks[ends[config.c4_stride] + 1 :])
    if config.adapters:
        add_adapters(trunk, config.backbone, chain.residual)
    channels, second_channels = _probe(trunk, second)
    return Extractor(
        first_stage=Stage(trunk, pretrained),
        channels=channels,
        strides=strides,
        second_stage=None if second is None else Stage(second, pretrained),
        second_channels=second_channels,
        mean=chain.mean,
        std=chain.std,
        source=chain.source,
    )


@torch.no_grad()
def _probe(first: nn.Module, second: nn.Module | None) -> tuple[tuple[int, ...], int]:
    """Return the channels of each map and of the second stage, found with a small image."""
    maps = first.eval()(torch.zeros(1, 3, 64, 64))
    last = 0 if second is None else second.eval()(maps[-1]).shape[1]
    return tuple(m.shape[1] for m in maps), last
