"""3x3 convolutions with a fifth of the multiplications, for inference on CPUs.

Along one axis, m outputs of a filter of 3 taps are the coefficients of a product of polynomials.
Evaluated at m + 2 points, the product takes m + 2 multiplications instead of 3 m (Toom-Cook;
Winograd 1980; Lavin & Gray 2016, eq. 4-8):

    y = A^T [(G g) * (B^T d)]    with    A^T = V(m)^T,  G = V(3),  B^T = V(m + 2)^-T

where V(k) evaluates a polynomial of k coefficients at the points. Larger tiles save more and lose
digits: with tiles of 7, the side of a crop, three of float32's seven remain sure at the worst
pixel and four on average (test_winograd.py), more than TF32 has. The multiplications over channels
become one matrix product for each pair of points, so data lie as (rows, columns, N, channels).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

TAPS = 3
TILE = 7
# Small numbers and their inverses, and infinity as the last point: the transforms stay well
# conditioned.
POINTS = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5, 4.0)


class Axis:
    """The three transforms along one axis of fixed length.

    Args:
        length: outputs on this axis.

    Attributes:
        enter: (n, length + 2) B^T of all tiles; the first and last input lie beyond the ends.
        weigh: (n, 3) G of all tiles.
        leave: (length, n) A^T of all tiles.
    """

    def __init__(self, length: int) -> None:
        rest = length % TILE
        tiles = [TILE] * (length // TILE) + [rest] * (rest > 0)
        points = sum(tile + TAPS - 1 for tile in tiles)
        self.enter = np.zeros((points, length + TAPS - 1))
        self.weigh = np.zeros((points, TAPS))
        self.leave = np.zeros((length, points))
        output = point = 0
        for tile in tiles:
            size = tile + TAPS - 1
            rows = slice(point, point + size)
            self.enter[rows, output : output + size] = np.linalg.inv(_evaluate(size, size)).T
            self.weigh[rows] = _evaluate(size, TAPS)
            self.leave[output : output + tile, rows] = _evaluate(size, tile).T
            output, point = output + tile, point + size


def _evaluate(size: int, coefficients: int) -> NDArray[np.float64]:
    """Return V: (size, coefficients), values of a polynomial's coefficients at `size` points."""
    values = np.vander(POINTS[: size - 1], coefficients, increasing=True)
    infinity = np.eye(1, coefficients, coefficients - 1)
    return np.concatenate([values, infinity])


class SquareConv:
    """A 3x3 convolution of squares of fixed side.

    Args:
        conv: one that `suits`.
        side: of the squares [px]; beyond them all is 0.
    """

    def __init__(self, conv: nn.Conv2d, side: int) -> None:
        axis = Axis(side)
        self._enter = torch.from_numpy(axis.enter[:, 1:-1].copy()).float()
        self._leave = torch.from_numpy(axis.leave).float()
        weigh = torch.from_numpy(axis.weigh)
        weight = conv.weight.detach().double()
        weight = torch.einsum('ai,ocij,bj->abco', weigh, weight, weigh)
        self._weight = weight.flatten(0, 1).float().contiguous()
        self._bias = None if conv.bias is None else conv.bias.detach()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return (side, side, N, C') of (side, side, N, C)."""
        side, points = self._leave.shape
        count, channels = x.shape[2:]
        x = self._enter @ x.reshape(side, -1)
        x = self._enter @ x.reshape(points, side, -1)
        x = torch.bmm(x.reshape(points**2, count, channels), self._weight)
        x = self._leave @ x.reshape(points, -1)
        x = self._leave @ x.reshape(side, points, -1)
        x = x.reshape(side, side, count, self._weight.shape[2])
        return x if self._bias is None else x.add_(self._bias)


def suits(module: nn.Module) -> bool:
    """Return whether a `SquareConv` can replace a layer."""
    return (
        isinstance(module, nn.Conv2d)
        and module.kernel_size == (TAPS, TAPS)
        and module.stride == module.dilation == (1, 1)
        and module.padding == (1, 1)
        and module.groups == 1
        and module.padding_mode == 'zeros'
    )
