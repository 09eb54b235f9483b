"""What follows the extractor on the whole image: a feature pyramid, or nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import nn
from torchvision.ops import Conv2dNormActivation, FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from synth_detect_ros.config import NetworkConfig
from synth_detect_ros.detectors.extractors.extractor import Extractor

# Maps by name, (B, C, H_i, W_i) each, finest first.
NamedMaps = dict[str, torch.Tensor]
NormLayer = Callable[[int], nn.Module] | None


class Neck(nn.Module):
    """Extractor, and a pyramid behind it or nothing.

    Attributes:
        out_channels: channels of every map that is put out.
    """

    def __init__(self, extractor: Extractor, config: NetworkConfig) -> None:
        super().__init__()
        self.first_stage = extractor.first_stage
        self.pyramid: FeaturePyramidNetwork | None = None
        self.out_channels = extractor.channels[-1]
        if config.neck == 'fpn':
            self.out_channels = config.channels
            self.pyramid = FeaturePyramidNetwork(
                list(extractor.channels),
                config.channels,
                LastLevelMaxPool(),
                norm_layer=norm_layer(config),
            )

    def forward(self, maps: Sequence[torch.Tensor]) -> NamedMaps:
        """Return the maps for the heads of the (B, C_i, H_i, W_i) maps of the first stage."""
        named = {str(i): m for i, m in enumerate(in_training_layout(maps, self.training))}
        return named if self.pyramid is None else self.pyramid(named)


def in_training_layout(maps: Sequence[torch.Tensor], training: bool) -> list[torch.Tensor]:
    """Return maps as they are, but contiguous for training on a CPU.

    The weight gradient of a 3x3 convolution is slow there in channels_last.
    """
    if training and maps[0].device.type == 'cpu':
        return [m.contiguous() for m in maps]
    return list(maps)


def norm_layer(config: NetworkConfig, group: int = 0) -> NormLayer:
    """Return the factory of the normalisation that a configuration asks for.

    Args:
        config: `norm` is read.
        group: channels in a group of group norm; 0: 32 groups.
    """
    if config.norm == 'none':
        return None
    if config.norm == 'batch':
        return nn.BatchNorm2d
    return lambda channels: nn.GroupNorm(
        math.gcd(max(channels // group, 1) if group else 32, channels), channels
    )


def conv_stack(channels: int, width: int, count: int, norm: NormLayer) -> nn.Sequential:
    """Return 3x3 convolutions, each with normalisation and ReLU; none pass maps as they are.

    Args:
        channels: of the maps that come in.
        width: channels that each convolution puts out.
        count: of the convolutions.
        norm: see `norm_layer`.
    """
    widths = [channels] + count * [width]
    return nn.Sequential(
        *(Conv2dNormActivation(a, b, 3, norm_layer=norm) for a, b in pairwise(widths))
    )
