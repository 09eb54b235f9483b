"""Which cells learn which object: task alignment (Feng et al. 2021, "TOOD", sec. 3.2)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torchvision.ops import box_iou

# The object of a cell that has none.
NONE = -1
# Less than any alignment that counts: the sixth power of an overlap of a thousandth is 1e-18.
TINY = 1e-30


class Assignment(NamedTuple):
    """What the cells of an image learn.

    Attributes:
        objects: (C,) int64 index of the object, `NONE` for background.
        quality: (C,) the score that the class of the object is to have, 0 for background.
    """

    objects: torch.Tensor
    quality: torch.Tensor


@torch.no_grad()
def assign(
    scores: torch.Tensor,
    predicted: torch.Tensor,
    centres: torch.Tensor,
    boxes: torch.Tensor,
    labels: torch.Tensor,
    *,
    cells: int,
    powers: tuple[float, float],
    least_side: float,
) -> Assignment:
    """Give each object the best cells in its box, by t = score^alpha IoU^beta (eq. 1).

    A cell that several objects take goes to the one it overlaps most. Qualities are t, scaled for
    each object so that the highest is the highest IoU.

    Args:
        scores: (C, K) of the classes, in [0, 1].
        predicted: (C, 4) boxes of the cells, xyxy edges [px].
        centres: (C, 2) of the cells [px].
        boxes: (N, 4) of the objects, xyxy edges [px].
        labels: (N,) int64 classes of the objects.
        cells: that an object takes at most.
        powers: alpha and beta.
        least_side: cells are looked for in boxes of this side at least; with the finest stride
            no object is without one [px].
    """
    if not len(boxes):
        none = torch.full((len(scores),), NONE, device=scores.device)
        return Assignment(none, scores.new_zeros(len(scores)))
    overlaps = box_iou(boxes, predicted)
    alignment = scores.T[labels].pow(powers[0]) * overlaps.pow(powers[1])
    taken = _take(alignment, _inside(centres, boxes, least_side), cells)
    objects = torch.where(taken, overlaps, -1.0).argmax(dim=0)
    own = taken & (torch.arange(len(boxes), device=boxes.device)[:, None] == objects)
    highest, most = ((v * own).amax(dim=1, keepdim=True) for v in (alignment, overlaps))
    quality = (alignment * own / highest.clamp_min(TINY) * most).amax(dim=0)
    return Assignment(torch.where(taken.any(dim=0), objects, NONE), quality)


def _take(alignment: torch.Tensor, inside: torch.Tensor, cells: int) -> torch.Tensor:
    """Return (N, C) whether a cell is among the best that lie inside an object."""
    ranked = torch.where(inside, alignment, -1.0)
    best = ranked.topk(min(cells, ranked.shape[1]), dim=1).indices
    return torch.zeros_like(inside).scatter_(1, best, value=True) & inside


def _inside(centres: torch.Tensor, boxes: torch.Tensor, least_side: float) -> torch.Tensor:
    """Return (N, C) whether a centre lies in a box, edges at the left and top included."""
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).clamp_min(least_side) / 2
    offsets = centres[None] - middle[:, None]
    return ((offsets >= -half[:, None]) & (offsets < half[:, None])).all(dim=2)
