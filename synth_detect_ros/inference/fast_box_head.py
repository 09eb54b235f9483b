"""The box head for inference on CPUs: fast convolutions, data as (rows, columns, N, channels).

At 300 proposals the head takes more multiplications than the rest of a light detector. It runs on
a part of the proposals at a time, so that what passes from layer to layer stays in the cache.
"""

from __future__ import annotations

import torch
from torch import nn
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead
from torchvision.ops.misc import Conv2dNormActivation

from synth_detect_ros.inference.winograd import SquareConv, suits

# Proposals at a time: about a MB a layer.
CHUNK = 50


class Block:
    """Convolution, group norm where there is one, and ReLU.

    Args:
        layers: what `FastRCNNConvFCHead` makes for each of its convolutions.
        side: of the crops [px].
    """

    def __init__(self, layers: Conv2dNormActivation, side: int) -> None:
        self._conv = SquareConv(layers[0], side)
        self._norm = next((m for m in layers if isinstance(m, nn.GroupNorm)), None)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return (rows, columns, N, C') of (rows, columns, N, C)."""
        x = self._conv(x)
        return (x if self._norm is None else group_norm(x, self._norm)).relu_()


def group_norm(x: torch.Tensor, norm: nn.GroupNorm) -> torch.Tensor:
    """Apply group norm (Wu & He 2018, eq. 1-6), in place, to (rows, columns, N, C)."""
    rows, columns, count, channels = x.shape
    groups = (count, norm.num_groups, channels // norm.num_groups)
    share = 1 / (rows * columns * groups[2])
    mean = x.sum((0, 1)).view(groups).sum(2, keepdim=True) * share
    square = x.square().sum((0, 1)).view(groups).sum(2, keepdim=True) * share
    deviation = (square - mean.square()).clamp_(min=0).add_(norm.eps).sqrt_()
    scale = norm.weight.view(groups[1:]) / deviation
    shift = norm.bias.view(groups[1:]) - mean * scale
    return x.mul_(scale.view(count, channels)).add_(shift.view(count, channels))


class FastBoxHead:
    """Replaces a `FastRCNNConvFCHead` in inference mode.

    Args:
        head: one that `can_be_fast`.
        side: of the crops [px].
    """

    def __init__(self, head: FastRCNNConvFCHead, side: int) -> None:
        layers = list(head)
        self._blocks = [Block(m, side) for m in layers if isinstance(m, Conv2dNormActivation)]
        first, *self._rest = layers[layers.index(_flatten(head)) + 1 :]
        # Its inputs come as (channels, rows, columns); here channels are last.
        weight = first.weight.detach().view(first.out_features, -1, side * side)
        weight = weight.transpose(1, 2).reshape(first.out_features, -1)
        self._first = (weight.contiguous(), first.bias.detach())

    def __call__(self, crops: torch.Tensor) -> torch.Tensor:
        """Return (R, C') features of (R, C, side, side) crops."""
        parts = [self._convolved(part) for part in torch.split(crops, CHUNK)]
        x = nn.functional.linear(torch.cat(parts), *self._first)
        for layer in self._rest:
            x = layer(x)
        return x

    def _convolved(self, crops: torch.Tensor) -> torch.Tensor:
        x = crops.permute(2, 3, 0, 1).contiguous()
        for block in self._blocks:
            x = block(x)
        return x.permute(2, 0, 1, 3).flatten(1)


def _flatten(head: nn.Module) -> nn.Module:
    return next(m for m in head.children() if isinstance(m, nn.Flatten))


def can_be_fast(head: nn.Module) -> bool:
    """Return whether a `FastBoxHead` can replace a box head."""
    if not isinstance(head, FastRCNNConvFCHead):
        return False
    blocks = [m for m in head if isinstance(m, Conv2dNormActivation)]
    normal = (nn.Conv2d, nn.GroupNorm, nn.ReLU)
    return all(suits(b[0]) and all(isinstance(m, normal) for m in b) for b in blocks)
