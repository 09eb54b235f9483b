"""What the dense detector puts behind an extractor: a pyramid, and a head shared by its maps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional
from torchvision.ops import Conv2dNormActivation

from synth_detect_ros.config import DenseConfig
from synth_detect_ros.detectors.extractors.extractor import Extractor
from synth_detect_ros.detectors.neck import NormLayer, in_training_layout, norm_layer

# Score of every class in every cell before training, as in focal loss (Lin et al. 2017, sec. 4.1).
PRIOR = 0.01
# Mean distance to a side before training [strides]: boxes of each map begin with sides of four
# of its strides, and an object aligns with the map of its size from the first step on.
FIRST_DISTANCE = 2.0


class PathAggregation(nn.Module):
    """A pyramid from coarse to fine and back (Liu et al. 2018, "PANet", fig. 1).

    Args:
        extractor: of the maps.
        config: the network.
    """

    def __init__(self, extractor: Extractor, config: DenseConfig) -> None:
        super().__init__()
        self.first_stage = extractor.first_stage
        norm, width = norm_layer(config), config.channels
        self.lateral = nn.ModuleList(
            Conv2dNormActivation(c, width, 1, norm_layer=norm) for c in extractor.channels
        )
        steps = range(len(extractor.channels) - 1)
        self.down = nn.ModuleList(_block(config, norm) for _ in steps)
        self.halve = nn.ModuleList(_block(config, norm, stride=2) for _ in steps)
        self.up = nn.ModuleList(_block(config, norm) for _ in steps)

    def forward(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return (B, C, H_i, W_i) maps of the (B, C_i, H_i, W_i) maps of the first stage."""
        maps = in_training_layout(maps, self.training)
        joined = [layer(m) for layer, m in zip(self.lateral, maps, strict=True)]
        for i, layer in reversed(list(enumerate(self.down))):
            larger = functional.interpolate(joined[i + 1], scale_factor=2.0)
            joined[i] = layer(joined[i] + larger)
        for i, (halve, layer) in enumerate(zip(self.halve, self.up, strict=True)):
            joined[i + 1] = layer(joined[i + 1] + halve(joined[i]))
        return joined


class Tower(nn.Module):
    """Convolutions that all maps share, with a normalisation of each map's own.

    What they put out has other statistics on each map (as in RTMDet, Lyu et al. 2022).

    Args:
        config: the network.
        levels: how many maps there are.
    """

    def __init__(self, config: DenseConfig, levels: int) -> None:
        super().__init__()
        norm, width = norm_layer(config), config.channels
        self.convs = nn.ModuleList(_conv(config) for _ in range(config.convs))
        self.norms = nn.ModuleList(
            nn.ModuleList(nn.Identity() if norm is None else norm(width) for _ in range(levels))
            for _ in range(config.convs)
        )

    def forward(self, x: torch.Tensor, level: int) -> torch.Tensor:
        """Return (B, C, H, W) of the (B, C, H, W) map of a level, finest first."""
        for conv, norms in zip(self.convs, self.norms, strict=True):
            x = functional.relu(norms[level](conv(x)))  # type: ignore[index]  # a list
        return x


class DenseHead(nn.Module):
    """Scores, distances and mask coefficients of each cell; convolutions shared by all maps.

    Args:
        config: the network.
        classes: how many there are.
        levels: how many maps there are.
    """

    def __init__(self, config: DenseConfig, classes: int, levels: int) -> None:
        super().__init__()
        norm, width = norm_layer(config), config.channels
        self.score_tower, self.box_tower = Tower(config, levels), Tower(config, levels)
        self.logits = _predictor(width, classes, -math.log((1 - PRIOR) / PRIOR))
        self.codes = _predictor(width, 4 * (config.bins + 1), _first_codes(config.bins))
        self.coefficients: nn.Module | None = None
        self.prototypes: nn.Module | None = None
        if config.masks:
            self.coefficients = _predictor(width, config.prototypes)
            self.prototypes = nn.Sequential(
                Conv2dNormActivation(width, width, 3, norm_layer=norm),
                nn.Conv2d(width, config.prototypes, 1),
            )

    def forward(self, maps: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Return what is predicted on (B, C, H_i, W_i) maps, finest first.

        Returns:
            (B, H_i, W_i, K) logits of the classes for each map, then (B, H_i, W_i, 4 (bins + 1))
            logits of the distances to the sides of a box for each; with masks (B, H_i, W_i, M)
            coefficients for each, and the (B, M, H_0, W_0) prototypes on the finest map.
        """
        logits, codes, coefficients = [], [], []
        for level, m in enumerate(maps):
            scores, boxes = self.score_tower(m, level), self.box_tower(m, level)
            logits.append(_last(self.logits(scores)))
            codes.append(_last(self.codes(boxes)))
            if self.coefficients is not None:
                coefficients.append(_last(self.coefficients(boxes)))
        shared = () if self.prototypes is None else (self.prototypes(maps[0]),)
        return (*logits, *codes, *coefficients, *shared)


def flatten(maps: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return (B, C, X) of all cells, in the order of `cell_centres`, of (B, H_i, W_i, X) maps."""
    return torch.cat([m.flatten(1, 2) for m in maps], dim=1)


def _last(maps: torch.Tensor) -> torch.Tensor:
    """Return (B, H, W, X) of (B, X, H, W)."""
    return maps.permute(0, 2, 3, 1)


def _conv(config: DenseConfig, stride: int = 1) -> nn.Module:
    """Return a convolution, or with `separable` one over space and one over channels."""
    width, side, bias = config.channels, config.kernel, config.norm == 'none'
    if not config.separable:
        return nn.Conv2d(width, width, side, stride, side // 2, bias=bias)
    return nn.Sequential(
        nn.Conv2d(width, width, side, stride, side // 2, groups=width, bias=False),
        nn.Conv2d(width, width, 1, bias=bias),
    )


def _block(config: DenseConfig, norm: NormLayer, stride: int = 1) -> nn.Sequential:
    """Return a convolution with normalisation and ReLU."""
    layers = [_conv(config, stride)]
    if norm is not None:
        layers.append(norm(config.channels))
    return nn.Sequential(*layers, nn.ReLU(inplace=True))


def _first_codes(bins: int) -> torch.Tensor:
    """Return (4 (bins + 1),) logits of a geometric distribution, by side."""
    fall = math.log(1 + 1 / FIRST_DISTANCE)
    return (-fall * torch.arange(bins + 1.0)).repeat(4)


def _predictor(channels: int, out: int, bias: torch.Tensor | float = 0.0) -> nn.Conv2d:
    layer = nn.Conv2d(channels, out, 1)
    nn.init.normal_(layer.weight, std=0.01)
    with torch.no_grad():
        layer.bias.copy_(torch.as_tensor(bias))  # type: ignore[union-attr]  # it has one
    return layer
