"""Boxes of detections from those of all cells that see the same object."""

from __future__ import annotations

import torch
from torchvision.ops import box_iou

# So that boxes of no score at all have a mean, too.
LEAST_SCORE = 1e-6


def vote_boxes(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    labels: torch.Tensor,
    kept: torch.Tensor,
    overlap: float,
) -> torch.Tensor:
    """Return the mean of the boxes that overlap each detection, weighted by their scores.

    Bounding box voting (Gidaris & Komodakis 2015, "Object detection via a multi-region & semantic
    segmentation-aware CNN model", sec. 4.3).

    Args:
        boxes: (N, 4) of all candidates, xyxy edges [px].
        scores: (N,) of the candidates.
        labels: (N,) int64 classes of the candidates; only those of one class vote together.
        kept: (K,) int64 index of the detections among them.
        overlap: IoU with a detection from which a box votes.

    Returns:
        (K, 4) xyxy edges [px].
    """
    votes = (box_iou(boxes[kept], boxes) >= overlap) & (labels[kept][:, None] == labels[None])
    weights = votes * scores.clamp_min(LEAST_SCORE)[None]
    return (weights @ boxes) / weights.sum(dim=1, keepdim=True)
