"""What a row of a COCO file must hold so that nothing behind the reader has to ask again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from synth_detect_ros.dataset.segmentations import checked_segmentation
from synth_detect_ros.dataset.values import are_finite, is_finite, is_whole, shown
from synth_detect_ros.documents import is_line
from synth_detect_ros.errors import DatasetError, ImageLimitError
from synth_detect_ros.files import check_size

_LARGEST_SIDE = 100_000  # [px]
_LARGEST_ID = 2**63 - 1
# A box that is thinner shows nothing [px]. Its edges also differ in float32, which is spaced by
# 1/128 at the largest side.
_THINNEST = 0.01
# Visible share of an object: one pixel of the largest image.
_LEAST_SHARE = 1e-9


def check_id(value: Any, source: str) -> None:
    """Refuse what is no id: a whole number of 64 bits.

    Raises:
        DatasetError: it is something else.
    """
    if not is_whole(value) or abs(value) > _LARGEST_ID:
        raise DatasetError(f'{source}: wanted a whole number as id, got {shown(value)}')


def check_image(row: Mapping[str, Any], source: str) -> None:
    """Refuse an image whose file lies outside of the folder, or whose size is none.

    Raises:
        DatasetError: see above.
    """
    name = row['file_name']
    if not is_line(name):
        raise DatasetError(f'{source}: wanted file_name as text in one line, got {shown(name)}')
    path = PurePosixPath(name.replace('\\', '/'))
    if not path.parts or path.is_absolute() or '..' in path.parts or ':' in path.parts[0]:
        raise DatasetError(
            f'{source}: file_name {shown(name)} leads out of the folder of the images. Give '
            'names inside of it.'
        )
    for key in ('width', 'height'):
        if not is_whole(row[key]) or not 0 < row[key] <= _LARGEST_SIDE:
            raise DatasetError(
                f'{source}: wanted {key} of 1 to {_LARGEST_SIDE} px, got {shown(row[key])}'
            )
    try:
        check_size(row['width'], row['height'])
    except ImageLimitError as error:
        raise DatasetError(f'{source}: {error}') from None


def checked_annotation(
    row: Mapping[str, Any], size: tuple[int, int], source: str
) -> dict[str, Any]:
    """Return an annotation with what COCO's tools need, its box clipped to the image.

    Its area is that of the mask or, without one, of the box, whatever the file says.

    Args:
        row: of `annotations`.
        size: width and height of its image [px].
        source: of the row, for messages.

    Raises:
        DatasetError: its box or mask cannot be.
    """
    box = row['bbox']
    if not _are_finite(box, 4):
        raise DatasetError(
            f'{source}: wanted bbox [x, y, width, height], finite numbers, got {shown(box)}'
        )
    if row.get('iscrowd', 0) not in (0, 1):
        raise DatasetError(f'{source}: wanted iscrowd 0 or 1, got {shown(row["iscrowd"])}')
    mask, area = checked_segmentation(row.get('segmentation'), size, f'{source}: segmentation')
    box = _clipped(box, size)
    area = box[2] * box[3] if area is None else area
    whole = {**row, 'bbox': box, 'area': area, 'iscrowd': int(row.get('iscrowd', 0))}
    whole.pop('segmentation', None)
    return whole if mask is None else {**whole, 'segmentation': mask}


def check_pose(row: Mapping[str, Any], source: str) -> None:
    """Refuse a checked annotation without the pose, mask and visible share of a rendered object.

    Args:
        row: of `annotations`.
        source: of the row, for messages.

    Raises:
        DatasetError: one of them is missing or cannot be.
    """
    if 'pose' not in row or 'segmentation' not in row:
        raise DatasetError(f'{source}: comes without a pose and a mask; BOP needs them')
    pose, box, share = row['pose'], row.get('amodal_bbox'), row.get('visib_fract')
    lines = pose if isinstance(pose, list) and len(pose) == 4 else [None]
    if not all(_are_finite(line, 4) for line in lines):
        raise DatasetError(f'{source}: wanted pose as 4 lines of 4 numbers, got {shown(pose)}')
    if not _are_finite(box, 4):
        raise DatasetError(f'{source}: wanted amodal_bbox [x, y, width, height], got {shown(box)}')
    if not is_finite(share) or not _LEAST_SHARE <= share <= 1:
        raise DatasetError(
            f'{source}: wanted visib_fract of {_LEAST_SHARE} to 1, got {shown(share)}'
        )


def shows_something(row: Mapping[str, Any]) -> bool:
    """Return whether the box of a checked annotation has an area; that of a crowd need not."""
    return bool(row['iscrowd']) or min(row['bbox'][2:]) >= _THINNEST


def _are_finite(values: Any, count: int) -> bool:
    return isinstance(values, list) and len(values) == count and are_finite(values)


def _clipped(box: list[float], size: tuple[int, int]) -> list[float]:
    """Return the part of a box in the image; the box itself where that is all of it."""
    x, y, width, height = box
    left, top = min(max(x, 0), size[0]), min(max(y, 0), size[1])
    right, bottom = (min(max(a, 0), b) for a, b in zip((x + width, y + height), size, strict=True))
    inside = left == x and top == y and right == x + width and bottom == y + height
    if inside and width >= 0 and height >= 0:
        return box
    return [left, top, max(right - left, 0), max(bottom - top, 0)]
