"""What SSD puts behind an extractor: ever smaller maps, and predictors on each of them.

Nothing that trains is shared between maps (Liu et al. 2016, sec. 2.1). It is normalised with group
norm, as behind every extractor here; the paper's toolchain has batch norm at batches of 24.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torchvision.ops import Conv2dNormActivation

from synth_detect_ros.config import SSDConfig
from synth_detect_ros.detectors.extractors.extractor import Extractor
from synth_detect_ros.detectors.neck import conv_stack, in_training_layout, norm_layer

# In a group of group norm (Wu & He 2018, table 3). The smallest maps have one cell: 32 groups, as
# elsewhere, would leave few numbers in a group, and little of them without mean and spread.
GROUP_CHANNELS = 16


class ExtraMaps(nn.Module):
    """Extractor, and ever smaller maps behind its last one (Liu et al. 2016, fig. 2).

    Each extra map has half the sides of the one before it, by a 1x1 convolution to half as many
    channels as it will have and a 3x3 convolution of stride 2.

    Args:
        extractor: of maps of stride 16, or 16 and 32.
        config: the network.

    Attributes:
        channels: of each map, finest first.
    """

    def __init__(self, extractor: Extractor, config: SSDConfig) -> None:
        super().__init__()
        self.first_stage = extractor.first_stage
        widths = extra_widths(config, len(extractor.channels))
        self.channels = (*extractor.channels, *widths)
        norm = norm_layer(config, GROUP_CHANNELS)
        self.extra = nn.ModuleList(
            nn.Sequential(
                Conv2dNormActivation(before, width // 2, 1, norm_layer=norm),
                Conv2dNormActivation(width // 2, width, 3, stride=2, norm_layer=norm),
            )
            for before, width in pairwise([extractor.channels[-1], *widths])
        )
        _initialise(self.extra)

    def forward(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return the (B, C_i, H_i, W_i) maps of the first stage, and the extra ones after them."""
        joined = in_training_layout(maps, self.training)
        # Where a map has one cell already, as of small images, the weight gradient of PyTorch 2.14
        # in bfloat16 on CPUs is not always a number. Precision costs next to nothing here.
        with torch.autocast(joined[0].device.type, enabled=False):
            for layer in self.extra:
                joined.append(layer(joined[-1].float()))
        return joined


class Predictors(nn.Module):
    """Class scores and box codes of the default boxes of each map.

    Args:
        config: the network.
        channels: of each map.
        boxes: default boxes in a cell of each map.
        num_classes: with background.
    """

    def __init__(
        self,
        config: SSDConfig,
        channels: Sequence[int],
        boxes: Sequence[int],
        num_classes: int,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        # The names of layers are those of stored weights.
        self.trunks, self.logits, self.codes = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        norm, kernel = norm_layer(config, GROUP_CHANNELS), config.kernel
        for width, count in zip(channels, boxes, strict=True):
            self.trunks.append(conv_stack(width, config.channels, config.convs, norm))
            last = config.channels if config.convs else width
            self.logits.append(_predictor(last, count * num_classes, kernel))
            self.codes.append(_predictor(last, count * 4, kernel))
        _initialise(self.trunks)

    def forward(
        self, maps: Sequence[torch.Tensor]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Return what is predicted in each cell, channels last, for `flatten`.

        Args:
            maps: (B, C_i, H_i, W_i).

        Returns:
            (B, H_i, W_i, A_i * (K + 1)) logits and (B, H_i, W_i, A_i * 4) codes of each map.
        """
        hidden = [convs(m) for convs, m in zip(self.trunks, maps, strict=True)]
        logits, codes = (
            [layer(h).permute(0, 2, 3, 1) for layer, h in zip(layers, hidden, strict=True)]
            for layers in (self.logits, self.codes)
        )
        return logits, codes


def flatten(cells: Sequence[torch.Tensor], numbers: int) -> torch.Tensor:
    """Return (B, D, numbers) of all default boxes, in the order of `default_boxes`.

    Args:
        cells: (B, H_i, W_i, A_i * numbers) of each map.
        numbers: of each box.
    """
    return torch.cat([c.reshape(len(c), -1, numbers) for c in cells], dim=1)


def extra_widths(config: SSDConfig, own: int) -> list[int]:
    """Return the channels of the extra maps behind `own` maps of an extractor."""
    count, widths = config.maps - own, config.extra_channels
    return [widths[0]] * (count - len(widths)) + list(widths[-count:])


def _predictor(channels: int, out: int, kernel: int) -> nn.Conv2d:
    """Return a convolution that keeps the size of its map and first predicts about nothing."""
    layer = nn.Conv2d(channels, out, kernel, padding=kernel // 2)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # it has one
    return layer


def _initialise(layers: nn.Module) -> None:
    """Let signals keep their size behind every rectifier, normalised or not (He et al. 2015)."""
    for layer in layers.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity='relu')
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
