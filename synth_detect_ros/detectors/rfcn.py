"""Second stage of R-FCN (Dai et al. 2016): regions vote with maps computed once for the image.

Where Faster R-CNN runs a network on the crop of each proposal, R-FCN runs it on the whole map and
ends in position-sensitive maps: one for each bin of a region's grid and each number that is
predicted. A bin averages its own map over its part of the region; the bins then vote.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torchvision.ops import Conv2dNormActivation, ps_roi_align

from synth_detect_ros.config import DetectorConfig
from synth_detect_ros.detectors.extractors.dilation import align, dilate
from synth_detect_ros.detectors.extractors.extractor import C4_STRIDE, Extractor
from synth_detect_ros.detectors.extractors.folding import fold_batch_norm
from synth_detect_ros.detectors.extractors.freezing import Stage
from synth_detect_ros.detectors.neck import Maps, norm_layer
from synth_detect_ros.detectors.roi_heads import SecondStageHeads
from synth_detect_ros.errors import ConfigError

# Samples of a region on an axis by default, all bins together: the crop of the paper's toolchain.
SAMPLES = 18


class PositionMaps(nn.Module):
    """The extractor's last part on the whole map, then the position-sensitive maps.

    Without such a part a few 3x3 convolutions of our own take its place.

    Args:
        config: the network.
        extractor: of one map.
        num_classes: with background.

    Raises:
        ConfigError: the extractor's last part shrinks the map in ways that cannot be undone.
    """

    def __init__(self, config: DetectorConfig, extractor: Extractor, num_classes: int) -> None:
        super().__init__()
        channels, norm = extractor.channels[-1], norm_layer(config)
        self.trunk: nn.Module
        if extractor.second_stage is not None:
            base = C4_STRIDE // extractor.strides[-1]
            self.trunk = _keep_stride(extractor.second_stage, channels, config.backbone, base)
            channels = extractor.second_channels
        else:
            widths = [channels] + config.box_head_convs * [config.fpn_channels]
            self.trunk = nn.Sequential(
                *(Conv2dNormActivation(a, b, 3, norm_layer=norm) for a, b in pairwise(widths))
            )
            channels = widths[-1]
        width = config.box_head_channels
        self.reduce = Conv2dNormActivation(channels, width, 1, norm_layer=norm)
        self.maps = nn.Conv2d(width, (num_classes + 4) * config.position_bins**2, 1)
        nn.init.normal_(self.maps.weight, std=0.01)
        nn.init.zeros_(self.maps.bias)  # type: ignore[arg-type]  # it has one

    def folded(self) -> PositionMaps:
        """Return a copy for inference, batch norm of the trunk folded in; it shares the rest."""
        copied = copy.copy(self)
        layers = self.trunk.module if isinstance(self.trunk, Stage) else self.trunk
        copied._modules = {**self._modules, 'trunk': fold_batch_norm(layers)}
        return copied

    def forward(self, maps: Maps) -> Maps:
        """Return the (B, D * k * k, H, W) maps of (B, C, H, W); k bins a side, D numbers.

        The numbers are the logits of the classes and the code of the box. Map of number d and of
        the bin at row i, column j is (d * k + i) * k + j.
        """
        return {name: self.maps(self.reduce(self.trunk(x))) for name, x in maps.items()}


class PositionPooling(nn.Module):
    """Averages each bin of a region over its own maps (Dai et al. 2016, eq. 1).

    Bilinear samples as in RoIAlign (He et al. 2017) stand for the whole pixels of the original.

    Args:
        bins: k, on each side of a region.
        samples: of each bin and axis.
        stride: of the map [px].
    """

    def __init__(self, bins: int, samples: int, stride: int) -> None:
        super().__init__()
        self.bins, self.samples, self.stride = bins, samples, stride

    def forward(
        self, x: Maps, boxes: list[torch.Tensor], _: Sequence[tuple[int, int]]
    ) -> torch.Tensor:
        """Return (R, D, k, k) averages.

        Args:
            x: one map, see `PositionMaps`.
            boxes: (R_b, 4) of each image, xyxy edges [px].
        """
        (maps,) = x.values()
        with torch.autocast(maps.device.type, enabled=False):
            pooled: torch.Tensor = ps_roi_align(
                maps.float(), [b.float() for b in boxes], self.bins, 1 / self.stride, self.samples
            )
        return pooled


class Vote(nn.Module):
    """The bins of a region vote with the same weight (Dai et al. 2016, sec. 2.2)."""

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        """Return the (R, D) means of (R, D, k, k) bins."""
        return pooled.mean(dim=(2, 3))


class Split(nn.Module):
    """Class scores, and one box for all classes.

    Args:
        num_classes: with background.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes

    def forward(self, votes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits (R, K) and codes (R, 4 K) of (R, K + 4) votes."""
        logits, codes = votes[:, : self.num_classes], votes[:, self.num_classes :]
        return logits, codes.repeat(1, self.num_classes)


def build_position_heads(
    config: DetectorConfig, stride: int, num_classes: int
) -> SecondStageHeads:
    """Return the second stage of R-FCN; sampling, losses and detections are Faster R-CNN's.

    Args:
        config: the network.
        stride: of the map [px].
        num_classes: with background.
    """
    samples = max((config.roi_size or SAMPLES) // config.position_bins, 1)
    pooling = PositionPooling(config.position_bins, samples, stride)
    return SecondStageHeads(config, pooling, Vote(), Split(num_classes))


@torch.no_grad()
def _keep_stride(stage: Stage, channels: int, name: str, base: int) -> Stage:
    """Make a stage keep the size of a map of this dilation; see `align` and `dilate`."""
    align(stage)
    dilate([stage], base=base)
    seen = stage.eval()(torch.zeros(1, channels, 16, 16)).shape[-2:]
    if tuple(seen) != (16, 16):
        raise ConfigError(
            f'detector.architecture: rfcn runs the last part of the extractor on the whole map, '
            f'but that of {name} shrinks it. Choose a ResNet, mobilenet_v2 or '
            'inception_resnet_v2, or faster_rcnn.'
        )
    return stage
