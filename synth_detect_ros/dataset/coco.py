"""COCO annotations: files are checked once, when they are read; detections become result rows.

Format: https://cocodataset.org/#format-data, object detection. Boxes are x, y, width, height in
edge coordinates.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as rle
from pycocotools.coco import COCO

from synth_detect_ros.dataset.coco_rows import (
    check_id,
    check_image,
    checked_annotation,
    shows_something,
)
from synth_detect_ros.dataset.values import shown
from synth_detect_ros.documents import is_line, read_json
from synth_detect_ros.errors import DatasetError
from synth_detect_ros.geometry.boxes import area, xywh_from_xyxy
from synth_detect_ros.images.places import inside
from synth_detect_ros.structures import Detections

logger = logging.getLogger(__name__)

# Beside the annotation file of a data set as long as that is not written.
PARTS_FOLDER = 'parts'
REQUIRED_KEYS = {
    'images': ('id', 'file_name', 'width', 'height'),
    'categories': ('id', 'name'),
    'annotations': ('image_id', 'category_id', 'bbox'),
}


def read_coco(path: Path, within: Path | None = None) -> dict[str, Any]:
    """Read a COCO detection file.

    Args:
        path: JSON file with `images`, `annotations` and `categories`.
        within: folder that the file must not lead out of, if it is a link.

    Returns:
        The file's mapping; every annotation points at an image and a category that exist, has
        an id and `iscrowd`, its box is clipped to the image and its `area` computed. Those whose
        box has no area then are left out, which is logged; crowds stay.

    Raises:
        DatasetError: the file is missing, no JSON, no COCO, contradicts itself, or lists no image
            or no category. A file without annotations is legal: all its images are empty.
    """
    if not path.exists() and (path.parent / PARTS_FOLDER).is_dir():
        raise DatasetError(
            f'{path.parent}: the run that makes this data set was interrupted. Start it again '
            'with the same configuration to continue.'
        )
    if within is not None:
        inside(path, within, DatasetError)
    content = read_json(path, DatasetError)
    _check_coco(content, str(path))
    return {**content, 'annotations': _annotations(content, str(path))}


def quiet_coco(content: dict[str, Any]) -> COCO:
    """Return pycocotools' index of a COCO mapping, without its prints."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = content
        coco.createIndex()
    return coco


def by_image(rows: Iterable[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    """Group annotations by `image_id`; an image without any has an empty list."""
    groups: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row['image_id']].append(row)
    return groups


def coco_results(
    found: Detections, image_id: int, category_ids: Mapping[int, int], first_id: int
) -> list[dict[str, Any]]:
    """Return the detections of one image as COCO annotations with a score.

    Args:
        found: detections.
        image_id: COCO id of the image.
        category_ids: label -> COCO id; detections of other labels are left out.
        first_id: ids of the rows count from here.
    """
    found = found[[label in category_ids for label in found.labels.tolist()]]
    boxes, areas = xywh_from_xyxy(found.boxes), area(found.boxes)
    rows: list[dict[str, Any]] = []
    for i, label in enumerate(found.labels.tolist()):
        row = {
            'id': first_id + i,
            'image_id': image_id,
            'category_id': category_ids[label],
            'score': float(found.scores[i]),
            'bbox': boxes[i].tolist(),
            'area': float(areas[i]),
            'iscrowd': 0,
        }
        if found.masks is not None:
            row['segmentation'] = encode_mask(found.masks[i])
        rows.append(row)
    return rows


def encode_mask(
    mask: NDArray[np.bool_], x: int = 0, y: int = 0, size: tuple[int, int] | None = None
) -> dict[str, Any]:
    """Return the run lengths of a mask, byte for byte as pycocotools encodes it.

    Args:
        mask: (h, w) bool, a part of an image that is empty around it.
        x: image column of the first column of the mask.
        y: image row of the first row.
        size: height and width of the image [px]; default: the mask is the whole image.
    """
    height, width = size or mask.shape
    rows, columns = mask.shape
    # COCO runs down the columns: only those of the part are looked at, each at its whole height.
    flat = np.zeros(columns * height + 2, np.uint8)  # a zero before and behind
    flat[1:-1].reshape(columns, height)[:, y : y + rows] = mask.T
    ends = x * height + np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(ends, prepend=0, append=height * width)
    if len(counts) > 1 and not counts[-1]:  # the last run of ones ends with the image
        counts = counts[:-1]
    code = rle.frPyObjects({'size': [height, width], 'counts': counts.tolist()}, height, width)
    return {'size': [height, width], 'counts': code['counts'].decode()}


def _check_coco(content: Any, source: str) -> None:
    """Refuse what is not a COCO detection mapping.

    Raises:
        DatasetError: see `read_coco`.
    """
    for part, keys in REQUIRED_KEYS.items():
        rows = content.get(part) if isinstance(content, Mapping) else None
        if not isinstance(rows, list):
            raise DatasetError(
                f'{source}: wanted a COCO mapping with the lists {", ".join(REQUIRED_KEYS)}; '
                f'{part} is missing'
            )
        for index, row in enumerate(rows):
            missing = [k for k in keys if not isinstance(row, Mapping) or k not in row]
            if missing:
                raise DatasetError(f'{source}: {part}[{index}] has no {", ".join(missing)}')
        if not rows and part != 'annotations':
            raise DatasetError(f'{source}: the list {part} is empty')
    for part in ('images', 'categories'):
        for index, row in enumerate(content[part]):
            check_id(row['id'], f'{source}: {part}[{index}]')
        _unique(content[part], 'id', f'{source}: {part}')
    for index, row in enumerate(content['categories']):
        if not is_line(row['name']):
            raise DatasetError(
                f'{source}: categories[{index}]: wanted a name in one line, got '
                f'{shown(row["name"])}'
            )
    _unique(content['categories'], 'name', f'{source}: categories')
    for index, row in enumerate(content['images']):
        check_image(row, f'{source}: images[{index}]')
    names = [{'file_name': str(PurePosixPath(row['file_name']))} for row in content['images']]
    _unique(names, 'file_name', f'{source}: images')


def _annotations(content: Mapping[str, Any], source: str) -> list[dict[str, Any]]:
    """Return the annotations, checked and completed, without those that show nothing.

    Raises:
        DatasetError: see `read_coco`.
    """
    rows = content['annotations']
    sizes = {row['id']: (row['width'], row['height']) for row in content['images']}
    categories = {row['id'] for row in content['categories']}
    if not any('id' in row for row in rows):
        rows = [{'id': 1 + index, **row} for index, row in enumerate(rows)]
    kept, clipped = [], 0
    for index, row in enumerate(rows):
        place = f'{source}: annotations[{index}]'
        for key, known in (('image_id', sizes), ('category_id', categories)):
            check_id(row[key], f'{place}: {key}')
            if row[key] not in known:
                part = 'images' if known is sizes else 'categories'
                raise DatasetError(f'{place}: {key} {row[key]} is not among the {part}')
        check_id(row.get('id'), place)
        whole = checked_annotation(row, sizes[row['image_id']], place)
        clipped += whole['bbox'] is not row['bbox']
        if shows_something(whole):
            kept.append(whole)
    _unique(rows, 'id', f'{source}: annotations')
    if clipped or len(kept) < len(rows):
        logger.warning(
            '%s: %d boxes reach over the border of their image and are clipped; %d of %d '
            'annotations without an area inside of it are left out',
            source, clipped, len(rows) - len(kept), len(rows),
        )  # fmt: skip
    return kept


def _unique(rows: Sequence[Mapping[str, Any]], key: str, source: str) -> None:
    seen: set[Any] = set()
    for row in rows:
        if row[key] in seen:
            raise DatasetError(
                f'{source}: every {key} must be there once; {shown(row[key])} is repeated'
            )
        seen.add(row[key])
