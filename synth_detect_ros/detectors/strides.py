"""Layers of a pre-trained network, made to keep the size of their map."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn


def drop_strides(module: nn.Module) -> None:
    """Let a module keep the size of its map where something before it has already shrunk it."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
            layer.stride = (1, 1)


def dilate(modules: Iterable[nn.Module]) -> None:
    """Let a chain keep the size of its map by the hole algorithm (Dai et al. 2016, sec. 3).

    Strides become 1, and the convolutions after them look at pixels as far apart as before, so
    that pre-trained weights still see what they were trained on.
    """
    dilation = 1
    for conv in (conv for module in modules for conv in _convolutions(module)):
        if conv.kernel_size[0] > 1 and dilation > 1:
            conv.dilation = (dilation, dilation)
            conv.padding = tuple(dilation * int(p) for p in conv.padding)
        # A shortcut of one pixel strides beside the branch it joins, not after it.
        dilation = max(dilation, conv.stride[0])
        conv.stride = (1, 1)


def _convolutions(module: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]
