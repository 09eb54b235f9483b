"""What passes between the parts: parallel arrays whose shapes are checked once.

All of them are legal with N = 0. Labels are 0-based indices into a tuple of class names; boxes
follow `geometry.boxes`, poses are `T_camera_object`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.errors import GeometryError


def _check(owner: str, name: str, array: NDArray[np.generic], *shape: int | None) -> None:
    """Refuse an array whose shape differs; None stands for any length."""
    if array.ndim != len(shape) or any(
        want is not None and want != got for want, got in zip(shape, array.shape, strict=True)
    ):
        wanted = tuple('any' if want is None else want for want in shape)
        raise GeometryError(f'{owner}.{name}: wanted shape {wanted}, got {array.shape}')


@dataclass(frozen=True, eq=False)
class Instances:
    """Ground truth of the objects in one image.

    Attributes:
        labels: (N,) int64 class indices.
        boxes: (N, 4) float64 boxes of the visible pixels [px, edges].
        amodal_boxes: (N, 4) float64 boxes of the whole object, behind occluders and beyond the
            image border [px, edges].
        visib_fract: (N,) float64 visible pixels over pixels of the whole silhouette, occluded
            and cut-off pixels counted, in [0, 1].
        poses: (N, 4, 4) float64 T_camera_object [m].

    Raises:
        GeometryError: a shape does not fit the number of labels.
    """

    labels: NDArray[np.int64]
    boxes: NDArray[np.float64]
    amodal_boxes: NDArray[np.float64]
    visib_fract: NDArray[np.float64]
    poses: NDArray[np.float64]

    def __post_init__(self) -> None:
        count = len(self.labels)
        _check('Instances', 'labels', self.labels, count)
        _check('Instances', 'boxes', self.boxes, count, 4)
        _check('Instances', 'amodal_boxes', self.amodal_boxes, count, 4)
        _check('Instances', 'visib_fract', self.visib_fract, count)
        _check('Instances', 'poses', self.poses, count, 4, 4)

    def __len__(self) -> int:
        """Return the number of objects."""
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Sample:
    """One synthetic image with its ground truth.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        ids: (H, W) uint8, 0 = nothing, i + 1 = instance i of `instances`; distractors are 0.
        instances: ground truth, in the order of the ids.
    """

    image: NDArray[np.uint8]
    ids: NDArray[np.uint8]
    instances: Instances

    def __post_init__(self) -> None:
        _check('Sample', 'image', self.image, None, None, 3)
        _check('Sample', 'ids', self.ids, *self.image.shape[:2])

    def mask(self, index: int) -> NDArray[np.bool_]:
        """Return the (H, W) bool mask of the visible pixels of instance `index`."""
        return self.ids == index + 1


@dataclass(frozen=True, eq=False)
class Detections:
    """What a detector found in one image, best score first.

    Attributes:
        labels: (N,) int64 class indices.
        scores: (N,) float64 in [0, 1].
        boxes: (N, 4) float64 boxes [px, edges].
        masks: (N, H, W) bool masks of the whole image, or None from a detector without masks.

    Raises:
        GeometryError: a shape does not fit the number of labels.
    """

    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    boxes: NDArray[np.float64]
    masks: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        count = len(self.labels)
        _check('Detections', 'labels', self.labels, count)
        _check('Detections', 'scores', self.scores, count)
        _check('Detections', 'boxes', self.boxes, count, 4)
        if self.masks is not None:
            _check('Detections', 'masks', self.masks, count, None, None)

    def __len__(self) -> int:
        """Return the number of detections."""
        return len(self.labels)

    def above(self, threshold: float) -> Detections:
        """Return the detections whose score is `threshold` or more."""
        keep = self.scores >= threshold
        masks = None if self.masks is None else self.masks[keep]
        return Detections(self.labels[keep], self.scores[keep], self.boxes[keep], masks)
