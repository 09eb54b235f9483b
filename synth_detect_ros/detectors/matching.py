"""Which default boxes of SSD are trained to be objects, and which not to be any."""

from __future__ import annotations

import torch
from torchvision.ops import box_iou

# The object of a box that holds none.
NONE = -1


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
    """Choose the boxes without object that cost most (Liu et al. 2016, sec. 2.2).

    All of them would drown the few that hold an object. The first one wins a tie.

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
