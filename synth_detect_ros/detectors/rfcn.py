"""Second stage of R-FCN (Dai et al. 2016): position-sensitive maps, computed once for the image.

Where Faster R-CNN runs a network on the crop of each proposal, R-FCN runs it on the whole map and
ends in position-sensitive maps: one for each bin of a proposal's grid and each number that is
predicted. A bin averages its own map over its part of the proposal; the bins then vote.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torchvision.ops import Conv2dNormActivation, ps_roi_align

from synth_detect_ros.config import RFCNConfig
from synth_detect_ros.detectors.extractors.block_chain import align, dilate
from synth_detect_ros.detectors.extractors.extractor import C4_STRIDE, Extractor
from synth_detect_ros.detectors.extractors.folding import fold_batch_norm
from synth_detect_ros.detectors.extractors.freezing import Stage
from synth_detect_ros.detectors.neck import NamedMaps, conv_stack, norm_layer
from synth_detect_ros.detectors.roi_heads import SecondStageHeads
from synth_detect_ros.errors import ConfigError

# Samples of a proposal on an axis by default, all bins together: the paper's toolchain's crop.
SAMPLES = 18


class PositionMaps(nn.Module):
    """Makes the position-sensitive maps of the whole image.

    Args:
        layers: on the map: the extractor's last part, or convolutions of our own.
        reduce: convolution to the channels before the position-sensitive maps.
        maps: convolution to the position-sensitive maps.
    """

    def __init__(self, layers: nn.Module, reduce: nn.Module, maps: nn.Module) -> None:
        super().__init__()
        # The names of layers are those of stored weights.
        self.trunk, self.reduce, self.maps = layers, reduce, maps

    def folded(self) -> PositionMaps:
        """Return a copy for inference with batch norm of the extractor folded in."""
        layers = self.trunk.module if isinstance(self.trunk, Stage) else self.trunk
        return PositionMaps(fold_batch_norm(layers), self.reduce, self.maps)

    def forward(self, maps: NamedMaps) -> NamedMaps:
        """Return the (B, D * k * k, H, W) maps of (B, C, H, W); k bins a side, D numbers.

        The numbers are the logits of the classes and the code of the box. Map of number d and of
        the bin at row i, column j is (d * k + i) * k + j.
        """
        return {name: self.maps(self.reduce(self.trunk(x))) for name, x in maps.items()}


def build_position_maps(
    config: RFCNConfig, extractor: Extractor, num_classes: int
) -> PositionMaps:
    """Return the position-sensitive maps that a configuration asks for.

    Args:
        config: the network.
        extractor: of one map; its second stage runs on the whole map.
        num_classes: with background.

    Raises:
        ConfigError: the extractor's second stage shrinks the map in ways that cannot be undone.
    """
    channels, norm = extractor.channels[-1], norm_layer(config)
    if extractor.second_stage is not None:
        base = C4_STRIDE // extractor.strides[-1]
        layers: nn.Module = _keep_stride(extractor.second_stage, channels, config.extractor, base)
        channels = extractor.second_channels
    else:
        layers = conv_stack(channels, config.channels, config.box_head.convs, norm)
        channels = config.channels if config.box_head.convs else channels
    width = config.box_head.channels
    reduce = Conv2dNormActivation(channels, width, 1, norm_layer=norm)
    maps = nn.Conv2d(width, (num_classes + 4) * config.box_head.bins**2, 1)
    nn.init.normal_(maps.weight, std=0.01)
    nn.init.zeros_(maps.bias)  # type: ignore[arg-type]  # it has one
    return PositionMaps(layers, reduce, maps)


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


class PositionPooling(nn.Module):
    """Averages each bin of a proposal over its own maps (Dai et al. 2016, eq. 1).

    Bilinear samples as in RoIAlign (He et al. 2017) replace the whole pixels of the original.

    Args:
        bins: k, on each side of a proposal.
        samples: of each bin and axis.
        stride: of the map [px].
    """

    def __init__(self, bins: int, samples: int, stride: int) -> None:
        super().__init__()
        self.bins, self.samples, self.stride = bins, samples, stride

    def forward(
        self, x: NamedMaps, boxes: list[torch.Tensor], _: Sequence[tuple[int, int]]
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
    """Class scores, and one box for all classes: bins have equal votes (Dai et al., sec. 2.2).

    Args:
        num_classes: with background.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes

    def forward(self, pooled: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits (R, K) and codes (R, 4 K) of (R, K + 4, k, k) bins."""
        votes = pooled.mean(dim=(2, 3))
        logits, codes = votes[:, : self.num_classes], votes[:, self.num_classes :]
        return logits, codes.repeat(1, self.num_classes)


def build_position_heads(config: RFCNConfig, stride: int, num_classes: int) -> SecondStageHeads:
    """Return the second stage of R-FCN; sampling, losses and detections are Faster R-CNN's.

    Args:
        config: the network.
        stride: of the map [px].
        num_classes: with background.
    """
    bins = config.box_head.bins
    samples = max((config.box_head.roi_size or SAMPLES) // bins, 1)
    pooling = PositionPooling(bins, samples, stride)
    return SecondStageHeads(config, pooling, nn.Identity(), Vote(num_classes))
