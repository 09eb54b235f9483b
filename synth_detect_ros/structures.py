"""What passes between the parts: parallel arrays, checked once and selected together.

All of them are legal with N = 0. Labels are 0-based indices into a tuple of class names; boxes
follow `geometry.boxes`, poses are `T_camera_object`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.errors import GeometryError, SelectionError

Selection = int | slice | Sequence[int] | Sequence[bool] | NDArray[np.bool_] | NDArray[np.integer]
TableT = TypeVar('TableT', bound='_Table')


def _check(owner: str, name: str, array: NDArray[np.generic], *shape: int | None) -> None:
    """Refuse an array whose shape differs; None stands for any length."""
    if array.ndim != len(shape) or any(
        want is not None and want != got for want, got in zip(shape, array.shape, strict=True)
    ):
        wanted = tuple('any' if want is None else want for want in shape)
        raise GeometryError(f'{owner}.{name}: wanted shape {wanted}, got {array.shape}')


@dataclass(frozen=True, eq=False)
class _Table:
    """Arrays with a row for each object; `_shapes` holds the shape of a row, by field."""

    _shapes: ClassVar[dict[str, tuple[int | None, ...]]]

    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        for name, array in self._arrays().items():
            _check(type(self).__name__, name, array, len(self.labels), *self._shapes[name])

    def __len__(self) -> int:
        """Return the number of objects."""
        return len(self.labels)

    def __getitem__(self: TableT, chosen: Selection) -> TableT:
        """Return the chosen objects, always in a table of the same type.

        Args:
            chosen: an index, which gives a table of one object; a slice; integers (M,), in any
                order; or booleans (N,).

        Raises:
            SelectionError: an index is out of range, or the number of booleans is not N.
        """
        count = len(self)
        index: Any = chosen
        try:
            rows = np.atleast_1d(np.arange(count)[index])
        except IndexError as error:
            raise SelectionError(
                f'{type(self).__name__} of {count}: wanted a slice, indices from {-count} to '
                f'{count - 1}, or {count} booleans; {error}'
            ) from error
        return replace(self, **{name: array[rows] for name, array in self._arrays().items()})

    def _arrays(self) -> dict[str, NDArray[Any]]:
        arrays = {name: getattr(self, name) for name in self._shapes}
        return {name: array for name, array in arrays.items() if array is not None}


@dataclass(frozen=True, eq=False)
class Instances(_Table):
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

    _shapes: ClassVar = {
        'labels': (), 'boxes': (4,), 'amodal_boxes': (4,), 'visib_fract': (), 'poses': (4, 4),
    }  # fmt: skip

    boxes: NDArray[np.float64]
    amodal_boxes: NDArray[np.float64]
    visib_fract: NDArray[np.float64]
    poses: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Detections(_Table):
    """What a detector found in one image, best score first.

    Attributes:
        labels: (N,) int64 class indices.
        scores: (N,) float64 in [0, 1].
        boxes: (N, 4) float64 boxes [px, edges].
        masks: (N, H, W) bool masks of the whole image, or None from a detector without masks.

    Raises:
        GeometryError: a shape does not fit the number of labels.
    """

    _shapes: ClassVar = {'labels': (), 'scores': (), 'boxes': (4,), 'masks': (None, None)}

    scores: NDArray[np.float64]
    boxes: NDArray[np.float64]
    masks: NDArray[np.bool_] | None = None

    def above(self, threshold: float) -> Detections:
        """Return the detections whose score is `threshold` or more."""
        return self[self.scores >= threshold]


@dataclass(frozen=True, eq=False)
class Sample:
    """One synthetic image with its ground truth.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        ids: (H, W) uint8, 0 = nothing, i + 1 = instance i of `instances`; distractors are 0.
        instances: ground truth, in the order of the ids.

    Raises:
        GeometryError: image and ids differ in size.
    """

    image: NDArray[np.uint8]
    ids: NDArray[np.uint8]
    instances: Instances

    def __post_init__(self) -> None:
        _check('Sample', 'image', self.image, None, None, 3)
        _check('Sample', 'ids', self.ids, *self.image.shape[:2])
