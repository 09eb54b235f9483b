"""What a row of a COCO file must hold so that nothing behind the reader has to ask again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from synth_detect_ros.documents import short
from synth_detect_ros.errors import DatasetError

_LARGEST_SIDE = 100_000  # [px]
_LARGEST_ID = 2**63 - 1
# Numbers of the smallest polygon.
_TRIANGLE = 6
# A character of compressed run lengths holds 5 bits and says by another whether more come.
_FIRST_CODE, _CODES, _MORE, _SIGN, _BITS = 48, 64, 32, 16, 31


def check_id(value: Any, source: str) -> None:
    """Refuse what is no id: a whole number of 64 bits.

    Raises:
        DatasetError: it is something else.
    """
    if not _is_whole(value) or abs(value) > _LARGEST_ID:
        raise DatasetError(f'{source}: wanted a whole number as id, got {_shown(value)}')


def check_image(row: Mapping[str, Any], source: str) -> None:
    """Refuse an image whose file lies outside of the folder, or whose size is none.

    Raises:
        DatasetError: see above.
    """
    name = row['file_name']
    if not isinstance(name, str) or not name or '\0' in name:
        raise DatasetError(f'{source}: wanted file_name as text, got {_shown(name)}')
    path = PurePosixPath(name.replace('\\', '/'))
    if not path.parts or path.is_absolute() or '..' in path.parts or ':' in path.parts[0]:
        raise DatasetError(
            f'{source}: file_name {_shown(name)} leads out of the folder of the images. Give '
            'names inside of it.'
        )
    for key in ('width', 'height'):
        if not _is_whole(row[key]) or not 0 < row[key] <= _LARGEST_SIDE:
            raise DatasetError(
                f'{source}: wanted {key} of 1 to {_LARGEST_SIDE} px, got {_shown(row[key])}'
            )


def check_annotation(row: Mapping[str, Any], size: tuple[int, int], source: str) -> None:
    """Refuse an annotation with a box, area or mask that cannot be.

    Args:
        row: of `annotations`.
        size: width and height of its image [px].
        source: of the row, for messages.

    Raises:
        DatasetError: see above.
    """
    box = row['bbox']
    if not (isinstance(box, list) and len(box) == 4 and all(map(_is_finite, box))):
        raise DatasetError(
            f'{source}: wanted bbox [x, y, width, height], finite numbers, got {_shown(box)}'
        )
    if not _is_finite(row.get('area', 0)):
        raise DatasetError(f'{source}: wanted area as a number, got {_shown(row["area"])}')
    if row.get('iscrowd', 0) not in (0, 1):
        raise DatasetError(f'{source}: wanted iscrowd 0 or 1, got {_shown(row["iscrowd"])}')
    mask = row.get('segmentation')
    if isinstance(mask, Mapping):
        _check_runs(mask, size, f'{source}: segmentation')
    elif isinstance(mask, list):
        for polygon in filter(None, mask) if all(isinstance(p, list) for p in mask) else [None]:
            _check_polygon(polygon, f'{source}: segmentation')
    elif mask is not None:
        raise DatasetError(
            f'{source}: wanted segmentation as polygons or run lengths, got {_shown(mask)}'
        )


def completed(row: dict[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """Return an annotation with the keys that COCO's tools need and its box clipped to the image.

    Args:
        row: that `check_annotation` accepts; empty polygons in it go.
        size: width and height of its image [px].
    """
    x, y, width, height = row['bbox']
    left, top = min(max(x, 0), size[0]), min(max(y, 0), size[1])
    right, bottom = (min(max(a, 0), b) for a, b in zip((x + width, y + height), size, strict=True))
    box = [left, top, max(right - left, 0), max(bottom - top, 0)]
    inside = left == x and top == y and right == x + width and bottom == y + height
    result = {'iscrowd': 0, 'area': box[2] * box[3], **row}
    result['bbox'] = row['bbox'] if inside else box
    mask = row.get('segmentation')
    if isinstance(mask, list) and not all(mask):
        result['segmentation'] = [polygon for polygon in mask if polygon]
    if not result.get('segmentation'):
        result.pop('segmentation', None)
    return result


def _check_polygon(polygon: Any, source: str) -> None:
    fits = isinstance(polygon, list) and len(polygon) >= _TRIANGLE and len(polygon) % 2 == 0
    if not fits or not all(map(_is_finite, polygon)):
        raise DatasetError(
            f'{source}: wanted polygons [x, y, x, y, x, y, ...] of at least three points, got '
            f'{_shown(polygon)}'
        )


def _check_runs(mask: Mapping[str, Any], size: tuple[int, int], source: str) -> None:
    """Refuse run lengths that are not those of the image: pycocotools writes beyond its memory."""
    width, height = size
    if mask.get('size') != [height, width]:
        raise DatasetError(
            f'{source}: wanted size [{height}, {width}], that of the image, got '
            f'{_shown(mask.get("size"))}'
        )
    counts = mask.get('counts')
    runs = _unpacked(counts) if isinstance(counts, str) else counts
    whole = isinstance(runs, list) and all(_is_whole(run) and run >= 0 for run in runs)
    if not whole or sum(runs or ()) != width * height:
        raise DatasetError(
            f'{source}: wanted counts whose sum is {height} x {width}, got {_shown(counts)}'
        )


def _unpacked(counts: str) -> list[int] | None:
    """Return run lengths from their compressed form; None where they are none.

    Source: rleFrString in pycocotools' maskApi.c.
    """
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        code = ord(character) - _FIRST_CODE
        if not 0 <= code < _CODES or shift > 60:
            return None
        value |= (code & _BITS) << shift
        shift += 5
        if code & _MORE:
            continue
        if code & _SIGN:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return None if shift else runs


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) < 1e15 and math.isfinite(value)


def _shown(value: Any) -> str:
    return short(repr(value)[:500])
