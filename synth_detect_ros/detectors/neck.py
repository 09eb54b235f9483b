"""Extractor and feature pyramid: what a detector computes once for the whole image."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from synth_detect_ros.config import DetectorConfig
from synth_detect_ros.detectors.extractors.build import Extractor

Maps = dict[str, torch.Tensor]


class Neck(nn.Module):
    """Extractor and what follows it on the whole image: a pyramid, or nothing.

    Attributes:
        out_channels: channels of every map that is put out.
    """

    def __init__(self, extractor: Extractor, config: DetectorConfig) -> None:
        super().__init__()
        self.first_stage = extractor.first_stage
        self.pyramid: FeaturePyramidNetwork | None = None
        self.out_channels = extractor.channels[-1]
        if config.neck == 'fpn':
            self.out_channels = config.fpn_channels
            self.pyramid = FeaturePyramidNetwork(
                list(extractor.channels),
                config.fpn_channels,
                LastLevelMaxPool(),
                norm_layer=norm_layer(config),
            )

    def forward(self, images: torch.Tensor) -> Maps:
        """Return named maps of (B, 3, H, W) normalised images, finest first."""
        return self.join(self.first_stage(images))

    def join(self, maps: Sequence[torch.Tensor]) -> Maps:
        """Return the named maps made of those of the first stage."""
        if self.training and maps[0].device.type == 'cpu':
            # The weight gradient of a 3x3 convolution is slow in channels_last.
            maps = [m.contiguous() for m in maps]
        named = OrderedDict((str(i), m) for i, m in enumerate(maps))
        return named if self.pyramid is None else self.pyramid(named)


def norm_layer(config: DetectorConfig) -> Callable[[int], nn.Module] | None:
    """Return the factory of the normalisation that a configuration asks for."""
    if config.norm == 'none':
        return None
    return lambda channels: nn.GroupNorm(math.gcd(32, channels), channels)
