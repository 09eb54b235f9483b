"""What is compared when detections are scored: which images, classes and annotations count."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.dataset.coco import coco_results
from synth_detect_ros.errors import DatasetError
from synth_detect_ros.geometry.boxes import iou, xyxy_from_xywh
from synth_detect_ros.structures import Detections

Row = dict[str, Any]

# A detection with half of its area on an excluded annotation may be a correct one of that object.
EXCLUDED_OVERLAP = 0.5

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Matchup:
    """Annotations and detections made comparable: COCO rows whose category is the label.

    Attributes:
        images: rows of the images that count.
        truth: rows of the annotations that count, ids from 1.
        found: rows of the detections that count, with scores.
        names: label -> class name, for the classes that both sides know.
    """

    images: list[Row]
    truth: list[Row]
    found: list[Row]
    names: dict[int, str]


def match(
    detections: Iterable[Detections],
    image_ids: Sequence[int],
    ground_truth: Mapping[str, Any],
    classes: Sequence[str],
    exclude: str = '',
) -> Matchup:
    """Select what is to be compared; arguments and errors as in `score_detections`."""
    entries = {row['id']: row for row in ground_truth['images']}
    unknown = [str(i) for i in image_ids if i not in entries]
    if unknown:
        raise DatasetError(f'images that are not in the annotations: {", ".join(unknown)}')
    labels = match_classes(ground_truth['categories'], classes)
    _log_left_out({row['name'] for row in ground_truth['categories']}, set(classes))
    truth = _truth(ground_truth, set(image_ids), labels)
    kept = [row for row in truth if not (exclude and row.get(exclude))]
    excluded = [row for row in truth if exclude and row.get(exclude)]
    same = {label: label for label in labels.values()}
    found: list[Row] = []
    for image_id, one in _paired(image_ids, detections):
        found += coco_results(one, image_id, same, first_id=len(found) + 1)
    return Matchup(
        images=[entries[i] for i in image_ids],
        truth=kept,
        found=_without_excluded(found, kept, excluded),
        names={label: classes[label] for label in sorted(labels.values())},
    )


def match_classes(
    categories: Sequence[Mapping[str, Any]], classes: Sequence[str]
) -> dict[int, int]:
    """Return COCO category id -> label for the names that both sides know.

    Raises:
        DatasetError: there is none; the message lists both sides.
    """
    labels = {name: label for label, name in enumerate(classes)}
    matched = {row['id']: labels[row['name']] for row in categories if row['name'] in labels}
    if not matched:
        names = ', '.join(row['name'] for row in categories)
        raise DatasetError(
            f'the model knows {", ".join(classes)}; the annotations hold {names}; there is '
            'nothing to score. Give both the same class names.'
        )
    return matched


def _log_left_out(annotated: set[str], known: set[str]) -> None:
    for side, names in (('annotations', annotated - known), ('model', known - annotated)):
        if names:
            logger.info('not scored, known to the %s only: %s', side, ', '.join(sorted(names)))


def _truth(
    ground_truth: Mapping[str, Any], image_ids: set[int], labels: Mapping[int, int]
) -> list[Row]:
    """Return copies of the annotations that count, categories as labels, ids from 1.

    pycocotools takes an annotation with id 0 for one that was never found.
    """
    rows = [
        row
        for row in ground_truth['annotations']
        if row['image_id'] in image_ids and row['category_id'] in labels
    ]
    return [
        {
            **row,
            'id': number,
            'category_id': labels[row['category_id']],
            'area': row.get('area', row['bbox'][2] * row['bbox'][3]),
            'iscrowd': row.get('iscrowd', 0),
        }
        for number, row in enumerate(rows, start=1)
    ]


def _paired(
    image_ids: Sequence[int], detections: Iterable[Detections]
) -> Iterator[tuple[int, Detections]]:
    """Yield image ids with their detections, one at a time."""
    number = 0
    for number, found in enumerate(detections, start=1):
        if number > len(image_ids):
            break
        yield image_ids[number - 1], found
    if number != len(image_ids):
        raise DatasetError(
            f'wanted detections for each of {len(image_ids)} images, got '
            f'{min(number, len(image_ids))}{" and more" * (number > len(image_ids))}'
        )


def _without_excluded(found: list[Row], kept: list[Row], excluded: list[Row]) -> list[Row]:
    """Drop detections that lie on an excluded annotation and on no kept one of their class."""

    def boxes_near(rows: list[Row], row: Row) -> NDArray[np.float64]:
        same = [
            r['bbox']
            for r in rows
            if (r['image_id'], r['category_id']) == (row['image_id'], row['category_id'])
        ]
        return xyxy_from_xywh(np.array(same, np.float64))

    def doubtful(row: Row) -> bool:
        box = xyxy_from_xywh(row['bbox'])
        others = boxes_near(excluded, row)
        share = _intersection(box, others) / max(row['area'], 1e-9)
        right = (iou(box, boxes_near(kept, row)) >= EXCLUDED_OVERLAP).any()
        return bool((share >= EXCLUDED_OVERLAP).any() and not right)

    return [row for row in found if not doubtful(row)] if excluded else found


def _intersection(box: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the areas (N,) [px^2] that a (1, 4) box shares with (N, 4) others."""
    low, high = np.maximum(box[:, :2], others[:, :2]), np.minimum(box[:, 2:], others[:, 2:])
    return np.prod(np.clip(high - low, 0, None), axis=1)
