"""Whether an exported model finds what its bundle finds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.geometry.boxes import iou
from synth_detect_ros.structures import Detections

# Boxes are of one object when they overlap that much, or lie that close [px]: some are thin.
OVERLAP, CLOSE_PX = 0.5, 1.0


@dataclass(frozen=True)
class Parity:
    """How two detectors compare on some images.

    Attributes:
        images: compared.
        detections: of the bundle.
        exported: detections of the exported model.
        matched: pairs of both, of one class and place.
        unmatched: detections of either one without the other; those do not count that lie so
            close to the threshold, or to the end of a full list, that rounding decides.
        box_px: largest difference of the edges of a matched box [px].
        score: largest difference of the scores of a pair.
        mask_iou: mean overlap of the masks of a pair; None without masks.
        least_mask_iou: of the worst pair; None without masks.
    """

    images: int
    detections: int
    exported: int
    matched: int
    unmatched: int
    box_px: float
    score: float
    mask_iou: float | None
    least_mask_iou: float | None

    @property
    def unmatched_share(self) -> float:
        """Unmatched detections over all of both."""
        return self.unmatched / max(self.detections + self.exported, 1)

    def __str__(self) -> str:
        """Return it in a line for people."""
        masks = '' if self.mask_iou is None else f', IoU of masks {self.mask_iou:.4f}'
        return (
            f'on {self.images} images {self.matched} detections matched, {self.unmatched} did '
            f'not; boxes differ by {self.box_px:.2g} px, scores by {self.score:.2g} at most{masks}'
        )


def compare(
    wanted: Sequence[Detections],
    found: Sequence[Detections],
    score_threshold: float,
    max_detections: int,
    tolerance: float,
) -> Parity:
    """Compare detections of the same images.

    Args:
        wanted: of the bundle, an entry for each image.
        found: of the exported model.
        score_threshold: of both.
        max_detections: of both, in an image.
        tolerance: difference of scores that rounding may make.
    """
    matched = unmatched = 0
    boxes, scores, overlaps = [0.0], [0.0], []
    for one, other in zip(wanted, found, strict=True):
        rows, columns = pairs(one, other)
        matched += len(rows)
        boxes += np.abs(one.boxes[rows] - other.boxes[columns]).max(axis=1).tolist()
        scores += np.abs(one.scores[rows] - other.scores[columns]).tolist()
        overlaps += _overlaps(one[rows], other[columns])
        for detections, kept in ((one, rows), (other, columns)):
            full = len(detections) >= max_detections
            edge = max(score_threshold, float(detections.scores.min()) if full else 0.0)
            unmatched += _alone(np.delete(detections.scores, kept), edge + tolerance)
    return Parity(
        images=len(wanted),
        detections=_count(wanted),
        exported=_count(found),
        matched=matched,
        unmatched=unmatched,
        box_px=float(np.max(boxes)),
        score=float(np.max(scores)),
        mask_iou=float(np.mean(overlaps)) if overlaps else None,
        least_mask_iou=min(overlaps) if overlaps else None,
    )


def pairs(one: Detections, other: Detections) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the indices of detections that are each other's nearest of the same class."""
    if not len(one) or not len(other):
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    distance = np.abs(one.boxes[:, None] - other.boxes[None]).max(axis=2)
    same = (iou(one.boxes, other.boxes) >= OVERLAP) | (distance <= CLOSE_PX)
    same &= one.labels[:, None] == other.labels[None]
    distance = np.where(same, distance, np.inf)
    columns = distance.argmin(axis=1)
    rows = np.arange(len(one))
    mutual = (distance.argmin(axis=0)[columns] == rows) & same[rows, columns]
    return rows[mutual], columns[mutual]


def _alone(scores: NDArray[np.float64], edge: float) -> int:
    """Return how many scores lie above the edge; one that is no number counts."""
    return int((~(scores <= edge)).sum())


def _overlaps(one: Detections, other: Detections) -> list[float]:
    """Return the IoU of masks, pair by pair: 1 where both are empty, 0 where one has none."""
    if one.masks is None or other.masks is None:
        return [] if one.masks is other.masks else [0.0] * len(one)
    common = (one.masks & other.masks).sum(axis=(1, 2))
    union = (one.masks | other.masks).sum(axis=(1, 2))
    return np.where(union > 0, common / np.maximum(union, 1), 1.0).tolist()


def _count(detections: Iterable[Detections]) -> int:
    return sum(map(len, detections))
