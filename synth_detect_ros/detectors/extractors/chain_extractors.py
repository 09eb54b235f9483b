"""Extractors that are chains of blocks, cut where the neck needs it.

What stands behind the cut of a C4 detector is the second stage: the part of the network that the
paper's toolchain runs on each proposal (Hinterstoisser et al. 2017, sec. 3.3).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torchvision
from torch import nn

from synth_detect_ros.config import NetworkConfig
from synth_detect_ros.detectors.extractors import efficientnet_lite0, inception_resnet_v2
from synth_detect_ros.detectors.extractors.adapters import add_adapters
from synth_detect_ros.detectors.extractors.block_chain import (
    BlockChain,
    PretrainedChain,
    align,
    dilate,
)
from synth_detect_ros.detectors.extractors.extractor import C4_STRIDE, Extractor, neck_strides
from synth_detect_ros.detectors.extractors.freezing import Stage
from synth_detect_ros.detectors.extractors.torchvision_extractors import torchvision_hub
from synth_detect_ros.detectors.extractors.weights import fill

RESNETS = ('resnet18', 'resnet34', 'resnet50', 'resnet101', 'resnet152')
# Last blocks at strides 4, 8, 16 and 32; those of MobileNetV2 by Sandler et al. 2018, table 2.
RESNET_ENDS = {4: 1, 8: 2, 16: 3, 32: 4}
MOBILENET_V2_ENDS = {4: 3, 8: 6, 16: 13, 32: 18}


def _resnet(config: NetworkConfig, load: bool) -> PretrainedChain:
    net = getattr(torchvision.models, config.extractor)()
    source = fill(net, config, load, torchvision_hub(config.extractor))
    stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
    blocks = [stem, net.layer1, net.layer2, net.layer3, net.layer4]
    return PretrainedChain(blocks, RESNET_ENDS, source)


def _mobilenet_v2(config: NetworkConfig, load: bool) -> PretrainedChain:
    net = torchvision.models.mobilenet_v2()
    source = fill(net, config, load, torchvision_hub('mobilenet_v2'))
    return PretrainedChain(list(net.features), MOBILENET_V2_ENDS, source)


# By the name in the configuration.
CHAINS: dict[str, Callable[[NetworkConfig, bool], PretrainedChain]] = {
    **dict.fromkeys(RESNETS, _resnet),
    'mobilenet_v2': _mobilenet_v2,
    efficientnet_lite0.NAME: efficientnet_lite0.efficientnet_lite0_chain,
    inception_resnet_v2.NAME: inception_resnet_v2.inception_chain,
}


def chain_extractor(config: NetworkConfig, load: bool) -> Extractor:
    """Build one of `CHAINS` and cut it as the neck needs it.

    Args:
        config: see `build_extractor`.
        load: False leaves the weights random.

    Raises:
        ConfigError: adapters are asked for, but the network has no residual blocks.
        WeightsError: the weights cannot be had, or do not fit.
    """
    chain = CHAINS[config.extractor](config, load)
    pretrained, blocks, ends = config.weights != 'none', list(chain.blocks), chain.ends
    second: nn.Module | None = None
    strides = neck_strides(config, list(ends))
    if config.neck == 'c4':
        cut = ends[C4_STRIDE]
        first, second = BlockChain(blocks, (cut,), ends), nn.Sequential(*blocks[cut + 1 :])
    else:
        first = BlockChain(blocks, [ends[s] for s in strides], ends)
    align(first)
    if config.neck == 'c4' and strides[0] < C4_STRIDE:
        dilate(first.blocks[ends[strides[0]] + 1 :])
    if config.adapters:
        add_adapters(first, config.extractor, chain.residual)
    channels, second_channels = _channels(first, second)
    return Extractor(
        first_stage=Stage(first, pretrained),
        channels=channels,
        strides=tuple(strides),
        second_stage=None if second is None else Stage(second, pretrained),
        second_channels=second_channels,
        mean=chain.mean,
        std=chain.std,
        source=chain.source,
    )


@torch.no_grad()
def _channels(first: nn.Module, second: nn.Module | None) -> tuple[tuple[int, ...], int]:
    """Return the channels of each map and of the second stage, found with a small image."""
    maps = first.eval()(torch.zeros(1, 3, 64, 64))
    last = 0 if second is None else second.eval()(maps[-1]).shape[1]
    return tuple(m.shape[1] for m in maps), last
