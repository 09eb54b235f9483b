"""A chain of an extractor's blocks: the maps behind some of them, and where it may be cut."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import nn

from synth_detect_ros.errors import FreezeError


class Branches(nn.ModuleList):
    """Branches that look at the same map; their outputs are joined along the channels.

    Args:
        branches: of a block of an Inception network.
    """

    def __init__(self, branches: Iterable[nn.Module]) -> None:
        super().__init__(branches)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the (B, sum of C_i, H', W') outputs of (B, C, H, W) maps."""
        return torch.cat([branch(x) for branch in self], 1)


@torch.fx.wrap  # one step of a traced network: the device is known when it runs
def laid_out(x: torch.Tensor) -> torch.Tensor:
    """Return (B, C, H, W) images in the layout in which convolutions are fast on their device.

    Depthwise ones like channels last on CPUs; cuDNN takes many times as long for their gradient.
    """
    if x.device.type == 'cpu':
        return x.contiguous(memory_format=torch.channels_last)
    return x


class Trunk(nn.Module):
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

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the tapped maps of (B, 3, H, W) images."""
        x = laid_out(x)
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
