"""Pre-trained networks as chains of blocks: the maps behind some of them, strides and dilation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from synth_detect_ros.detectors.extractors.adapters import BLOCKS
from synth_detect_ros.detectors.extractors.weights import IMAGENET_MEAN, IMAGENET_STD
from synth_detect_ros.errors import FreezeError


@dataclass(frozen=True, eq=False)
class PretrainedChain:
    """A pre-trained network as blocks that run one after the other.

    Attributes:
        blocks: the network without its classifier.
        ends: index of the last block of each stride [px], ascending; 16 is one, where C4 cuts.
        source: where the weights came from.
        mean: of the RGB channels the weights were trained with, image in [0, 1].
        std: likewise.
        residual: classes of its residual blocks, beside which adapters can be put; those of
            torchvision's ResNets and MobileNetV2 if not given.
    """

    blocks: Sequence[nn.Module]
    ends: Mapping[int, int]
    source: str
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    residual: tuple[type[nn.Module], ...] = BLOCKS


class Branches(nn.ModuleList):
    """Branches of a block of an Inception network: same input, outputs joined along channels."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the (B, sum of C_i, H', W') outputs of (B, C, H, W) maps."""
        return torch.cat([branch(x) for branch in self], 1)


@torch.fx.wrap  # one step of a traced network: the device is known when it runs
def in_fast_layout(x: torch.Tensor) -> torch.Tensor:
    """Return (B, C, H, W) images in the memory layout in which convolutions are fast.

    Depthwise ones like channels last on CPUs; cuDNN takes many times as long for their gradient.
    """
    if x.device.type == 'cpu':
        return x.contiguous(memory_format=torch.channels_last)
    return x


class BlockChain(nn.Module):
    """A chain of blocks that returns the maps behind some of them.

    Args:
        blocks: run one after the other.
        taps: indices of the blocks whose output is returned, ascending.
        ends: index of the last block of each stride [px].
    """

    def __init__(
        self, blocks: Sequence[nn.Module], taps: Sequence[int], ends: Mapping[int, int]
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks[: taps[-1] + 1])
        self.taps = tuple(taps)
        self.ends = {stride: end for stride, end in ends.items() if end <= taps[-1]}

    def extra_repr(self) -> str:
        """Tell which maps are returned: the key of cached features holds it."""
        return f'taps={self.taps}'

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the tapped maps of (B, 3, H, W) images."""
        x = in_fast_layout(x)
        maps = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.taps:
                maps.append(x)
        return maps

    def early(self, stride: int) -> list[nn.Module]:
        """Return the blocks whose output has at most this stride [px].

        Raises:
            FreezeError: no block ends there.
        """
        if stride not in self.ends:
            raise FreezeError(
                f'freeze: early:{stride}: wanted a stride of the extractor, one of '
                f'{", ".join(map(str, self.ends))}'
            )
        return list(self.blocks[: self.ends[stride] + 1])


def drop_strides(module: nn.Module) -> None:
    """Set all strides to 1, for a module whose input was already shrunk by something else."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
            layer.stride = (1, 1)


def align(module: nn.Module) -> None:
    """Pad all windows by half their size: a map of stride s has ceil(size / s) cells.

    The window of cell i is then centred on pixel i * s, whatever the size of the image. Networks
    that were trained without padding, as Inception, get TensorFlow's SAME size, which its
    detectors use; TensorFlow itself shifts windows of an even size one pixel to the right and
    down.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            height, width = (
                (k - 1) * d // 2
                for k, d in zip(_pair(layer.kernel_size), _pair(layer.dilation), strict=True)
            )
            layer.padding = (height, width)


def dilate(modules: Iterable[nn.Module], dilation: int = 1, base: int = 1) -> int:
    """Let a chain keep the size of its map by the hole algorithm (Dai et al. 2016, sec. 3).

    Strides become 1, and later windows are dilated instead, so that pre-trained weights see pixels
    as far apart as in training.

    Args:
        modules: run one after the other, padded as by `align`; changed in place.
        dilation: of their input, over `base`.
        base: dilation of the input of the whole chain.

    Returns:
        Dilation of their output, over `base`.
    """
    for module in modules:
        if isinstance(module, Branches):
            dilation = max(dilate([branch], dilation, base) for branch in module.children())
        elif isinstance(module, nn.Conv2d | nn.MaxPool2d):
            dilation = _dilate_layer(module, dilation, base)
        else:
            dilation = dilate(module.children(), dilation, base)
    return dilation


def _dilate_layer(layer: nn.Conv2d | nn.MaxPool2d, dilation: int, base: int) -> int:
    """Dilate one layer without its stride; return the dilation of its output."""
    stride, kernel = _pair(layer.stride), _pair(layer.kernel_size)
    apart = base * dilation
    if max(kernel) > 1 and apart > 1:
        height, width = _pair(layer.padding)
        layer.dilation = (apart, apart)
        layer.padding = (apart * height, apart * width)
    layer.stride = (1, 1)
    # A 1x1 shortcut strides in parallel to the branch it joins, not after it.
    return max(dilation, stride[0])


def _pair(value: object) -> tuple[int, int]:
    """Return height and width of what torch keeps as one number or two."""
    if isinstance(value, tuple):
        return int(value[0]), int(value[1])
    assert isinstance(value, int)
    return value, value
