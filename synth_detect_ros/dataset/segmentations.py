"""Masks in COCO files, polygons or run lengths: checked, measured, decoded.

pycocotools takes what it is given: run lengths of another size write beyond its memory, a polygon
takes memory for every fifth of a pixel of its outline, also far outside of the image.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as rle

from synth_detect_ros.dataset.values import are_finite, shown
from synth_detect_ros.errors import DatasetError

# Numbers of the smallest polygon.
_TRIANGLE = 6
# A polygon may reach so many times the image's sides beyond it, and its outline may be so many
# times as long as them: several times what an outline from pixel to pixel has in photographs.
_REACH, _WINDINGS = 10, 50
# A character of compressed run lengths holds 5 bits and says by another whether more come.
_FIRST_CODE, _CODES, _MORE, _SIGN, _BITS = 48, 64, 32, 16, 31


def checked_segmentation(
    segmentation: Any, size: tuple[int, int], source: str
) -> tuple[Any, float | None]:
    """Return a segmentation as pycocotools can take it, and its area in the image.

    Args:
        segmentation: value of a file; None for none.
        size: width and height of the image [px].
        source: of the value, for messages.

    Returns:
        Polygons or run lengths, and their area [px^2]: of polygons what they enclose together, at
        most the image. None and None where there are none.

    Raises:
        DatasetError: it is something else, or not of the image.
    """
    if isinstance(segmentation, Mapping):
        counts, runs = _checked_runs(segmentation, size, source)
        return {'size': [size[1], size[0]], 'counts': counts}, sum(runs[1::2])
    if segmentation is not None and not isinstance(segmentation, list):
        raise DatasetError(f'{source}: wanted polygons or run lengths, got {shown(segmentation)}')
    polygons = [polygon for polygon in segmentation or () if polygon != []]
    areas = [_polygon_area(polygon, size, source) for polygon in polygons]
    return (polygons, min(sum(areas), size[0] * size[1])) if polygons else (None, None)


def decode_segmentation(segmentation: Any, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the mask of a segmentation that `checked_segmentation` returned.

    Args:
        segmentation: polygons, or plain or compressed run lengths.
        size: (height, width) of the image [px].

    Returns:
        (H, W) uint8, 1 on the object.
    """
    if isinstance(segmentation, list):
        code = rle.merge(rle.frPyObjects(segmentation, *size))
    elif isinstance(segmentation['counts'], list):
        code = rle.frPyObjects(segmentation, *size)
    else:
        code = segmentation
    return np.asarray(rle.decode(code), np.uint8)


def _polygon_area(polygon: Any, size: tuple[int, int], source: str) -> float:
    """Return what a polygon encloses [px^2]."""
    fits = isinstance(polygon, list) and len(polygon) >= _TRIANGLE and len(polygon) % 2 == 0
    if not fits or not are_finite(polygon):
        raise DatasetError(
            f'{source}: wanted polygons [x, y, x, y, x, y, ...] of at least three points, got '
            f'{shown(polygon)}'
        )
    points = np.array(polygon, np.float64).reshape(-1, 2)
    ahead, sides = np.roll(points, -1, axis=0), np.array(size)
    far = np.any((points < -_REACH * sides) | (points > (1 + _REACH) * sides))
    if far or np.abs(ahead - points).max(axis=1).sum() > _WINDINGS * sides.sum():
        raise DatasetError(
            f'{source}: wanted polygons around parts of an image of {size[0]}x{size[1]} px, got '
            f'one that {"lies far outside" if far else "winds too often"}: {shown(polygon)}'
        )
    return float(abs(np.sum(points[:, 0] * ahead[:, 1] - points[:, 1] * ahead[:, 0])) / 2)


def _checked_runs(
    mask: Mapping[str, Any], size: tuple[int, int], source: str
) -> tuple[Any, list[int]]:
    """Return the run lengths as they are, and as numbers, the first of what is no object."""
    width, height = size
    if mask.get('size') != [height, width]:
        raise DatasetError(
            f'{source}: wanted size [{height}, {width}], that of the image, got '
            f'{shown(mask.get("size"))}'
        )
    counts = mask.get('counts')
    runs = _unpacked(counts) if isinstance(counts, str) else counts
    whole = isinstance(runs, list) and set(map(type, runs)) == {int} and min(runs) >= 0
    if not isinstance(runs, list) or not whole or sum(runs) != width * height:
        raise DatasetError(
            f'{source}: wanted counts whose sum is {height} x {width}, got {shown(counts)}'
        )
    return counts, runs


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
