"""Residual adapters: a few weights that train in parallel to the blocks of a frozen extractor.

Vasconcelos et al. 2022 keep a pre-trained extractor frozen and let 1x1 convolutions in parallel
to its blocks (Rebuffi et al. 2018) adapt what it computes. They start at zero, so that training
begins with the extractor as it is. The gradient passes through the frozen blocks to reach them:
that takes time, and rules out cached features.
"""

from __future__ import annotations

import torch
from torch import nn
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.models.resnet import BasicBlock, Bottleneck

from synth_detect_ros.errors import ConfigError

BLOCKS = (BasicBlock, Bottleneck, InvertedResidual)


class Adapter(nn.Conv2d):
    """A 1x1 convolution that starts as zero.

    Args:
        channels: of the block's input.
        out_channels: of its output.
        stride: of the block.
    """

    def __init__(self, channels: int, out_channels: int, stride: int) -> None:
        super().__init__(channels, out_channels, 1, stride, bias=False)
        nn.init.zeros_(self.weight)


class Adapted(nn.Module):
    """A residual block with an adapter in parallel.

    Args:
        block: its last convolution has the channels of its output.
    """

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        convs = [layer for layer in block.modules() if isinstance(layer, nn.Conv2d)]
        stride = max(conv.stride[0] for conv in convs)
        self.block = block
        self.adapter = Adapter(convs[0].in_channels, convs[-1].out_channels, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the (B, C', H', W') sum of block and adapter."""
        adapted: torch.Tensor = self.block(x) + self.adapter(x)
        return adapted


def add_adapters(
    module: nn.Module, name: str, residual: tuple[type[nn.Module], ...] = BLOCKS
) -> None:
    """Put an adapter in parallel to each residual block in a module.

    Args:
        module: with its weights; changed in place.
        name: of the extractor, for the error.
        residual: classes of residual blocks.

    Raises:
        ConfigError: it has no residual blocks.
    """
    places = [
        (parent, key, child)
        for parent in module.modules()
        for key, child in parent.named_children()
        if isinstance(child, residual)
    ]
    if not places:
        raise ConfigError(f'detector.adapters: {name} has no residual blocks to put them beside')
    for parent, key, child in places:
        setattr(parent, key, Adapted(child))
