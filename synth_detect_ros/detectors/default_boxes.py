"""The default boxes of SSD (Liu et al. 2016, sec. 2.2): where they lie, what they learn to be.

Boxes lie as in the paper's toolchain, xyxy in edge coordinates. Column j of a grid of w columns
covers an image of W pixels from x = j W / w to (j + 1) W / w, rows likewise, and the boxes of a
cell stand around its middle; they may reach beyond the image.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torchvision.ops import box_iou

from synth_detect_ros.config import SSDConfig

# Side of the small square on the finest map, over that of the image.
SMALLEST = 0.1
# The object of a box that holds none.
NONE = -1

# Scale, the root of a box's area over the shorter side of the image; and width over height.
Shape = tuple[float, float]
# Of the boxes of a cell, for each map.
Shapes = tuple[tuple[Shape, ...], ...]


def box_shapes(config: SSDConfig) -> Shapes:
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
    return tuple(map(tuple, shapes))


@lru_cache(maxsize=8)
@torch.inference_mode(mode=False)  # what is kept serves training, too
def default_boxes(
    shapes: Shapes, grids: tuple[tuple[int, int], ...], size: tuple[int, int]
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


def match(objects: torch.Tensor, boxes: torch.Tensor, threshold: float) -> torch.Tensor:
    """Assign objects to default boxes (Liu et al. 2016, sec. 2.2, Matching strategy).

    First every object gets a box of its own: the pair that overlaps most is taken, then the best
    pair of the objects and boxes that are left, and so on (Erhan et al. 2014). torchvision's
    `SSDMatcher` instead lets objects with the same best box take it from each other. Then each
    other box gets the object it overlaps most, if their IoU is high enough. The first one wins a
    tie. An object that overlaps no box, as one without area, gets none.

    Args:
        objects: (N, 4) xyxy edges [px], N = 0 is legal.
        boxes: (D, 4) likewise.
        threshold: least IoU, itself included.

    Returns:
        (D,) int64 index of the object of each box, or `NONE`.
    """
    if not len(objects):
        return torch.full((len(boxes),), NONE, device=boxes.device)
    overlap = box_iou(objects, boxes)
    best = overlap.max(dim=0)
    matches = torch.where(best.values >= threshold, best.indices, NONE)
    left = overlap.clone()
    for _ in range(len(objects)):
        pair = left.argmax()
        row, column = pair // len(boxes), pair % len(boxes)
        matches[column] = torch.where(left[row, column] > 0, row, matches[column])
        left[row], left[:, column] = -1, -1
    return matches


def hard_negatives(
    losses: torch.Tensor, positive: torch.Tensor, ratio: float, least: int
) -> torch.Tensor:
    """Choose the boxes without object that have the largest loss (Liu et al. 2016, sec. 2.2).

    With all of them the few that hold an object would not count. The first one wins a tie.

    Args:
        losses: (B, D) loss of each default box's class.
        positive: (B, D) bool, boxes that hold an object.
        ratio: how many are chosen for each positive of the image.
        least: how many at least, for images with few objects or none.

    Returns:
        (B, D) bool.
    """
    order = losses.masked_fill(positive, -torch.inf).argsort(dim=1, descending=True, stable=True)
    ranks = torch.empty_like(order)
    ranks.scatter_(1, order, torch.arange(order.shape[1], device=order.device).expand_as(order))
    wanted = (ratio * positive.sum(dim=1, keepdim=True)).clamp(min=least)
    return (ranks < wanted) & ~positive
