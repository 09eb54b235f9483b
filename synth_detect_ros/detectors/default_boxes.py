"""The default boxes of SSD (Liu et al. 2016, sec. 2.2), as the paper's toolchain lays them out.

A box is xyxy in edge coordinates. Column j of a grid of w columns covers an image of W pixels from
x = j W / w to (j + 1) W / w, rows likewise, and the boxes of a cell stand around its middle; they
may reach beyond the image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from synth_detect_ros.config import SSDConfig

# Side of the small square on the finest map, over that of the image.
SMALLEST = 0.1

# Scale, the root of a box's area over the shorter side of the image; and width over height.
Shape = tuple[float, float]


def box_shapes(config: SSDConfig) -> list[list[Shape]]:
    """Return scale and ratio of the boxes of a cell, for each map, finest first.

    Map k has the scale s_k, linear in k. One more square lies between the scales of this map and
    of the next, at sqrt(s_k s_{k+1}); the next of the coarsest map is the whole image, 1.
    """
    low, high = config.scales
    scales = [low + (high - low) * k / (config.maps - 1) for k in range(config.maps)]
    shapes = []
    for scale, following in zip(scales, [*scales[1:], 1.0], strict=True):
        square = (math.sqrt(scale * following), 1.0)
        shapes.append([*((scale, ratio) for ratio in config.ratios), square])
    if config.reduce_lowest:
        shapes[0] = [(SMALLEST, 1.0), (low, 2.0), (low, 0.5)]
    return shapes


def default_boxes(
    shapes: Sequence[Sequence[Shape]], grids: Sequence[tuple[int, int]], size: tuple[int, int]
) -> torch.Tensor:
    """Return the default boxes of an image.

    Args:
        shapes: of each map, see `box_shapes`.
        grids: (height, width) of each map [cells].
        size: (height, width) of the image that the network sees, padding included [px].

    Returns:
        (D, 4) float32 xyxy edges [px]; map by map, then row by row, column by column, shape by
        shape.
    """
    height, width = size
    boxes = []
    for (rows, columns), cell in zip(grids, shapes, strict=True):
        y = (torch.arange(rows) + 0.5) * (height / rows)
        x = (torch.arange(columns) + 0.5) * (width / columns)
        centres = torch.cartesian_prod(y, x).flip(1)
        scale, root = torch.tensor([(s, math.sqrt(r)) for s, r in cell]).T
        halves = torch.stack([scale * root, scale / root], dim=1) * (min(size) / 2)
        corners = [centres[:, None] - halves, centres[:, None] + halves]
        boxes.append(torch.cat(corners, dim=2).reshape(-1, 4))
    return torch.cat(boxes)
