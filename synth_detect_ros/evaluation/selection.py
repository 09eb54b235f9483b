"""What is compared when detections are scored: which images, classes and annotations count."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from synth_detect_ros.dataset.coco import coco_results
from synth_detect_ros.errors import DatasetError
from synth_detect_ros.geometry.boxes import xyxy_from_xywh
from synth_detect_ros.structures import Detections

# Of COCO; a detection is one with a score.
Annotation = dict[str, Any]

# A detection with half of its area on an excluded annotation may be a correct one of that object.
EXCLUDED_OVERLAP = 0.5

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Selection:
    """Annotations and detections that count, made comparable: the category is the label.

    Attributes:
        images: COCO entries of the images.
        truth: annotations, ids from 1.
        found: detections as annotations with a score.
        names: label -> class name, for the classes that both sides know.
    """

    images: list[dict[str, Any]]
    truth: list[Annotation]
    found: list[Annotation]
    names: dict[int, str]


def select(
    detections: Iterable[Detections],
    image_ids: Sequence[int],
    ground_truth: Mapping[str, Any],
    classes: Sequence[str],
    exclude: str = '',
) -> Selection:
    """Select what is compared; classes are matched by name.

    Images without annotations count too; classes that only one side knows do not, and are logged.

    Args:
        detections: one an image; an iterator saves the memory of all masks.
        image_ids: COCO ids of these images, in the same order.
        ground_truth: COCO mapping, see `dataset.coco.read_coco`.
        classes: names of the detector's labels.
        exclude: annotations in which this field is true count neither way; empty for none.

    Raises:
        DatasetError: numbers of images and detections differ, an image is not in the ground
            truth, or no class name is shared.
    """
    entries = {row['id']: row for row in ground_truth['images']}
    unknown = [str(i) for i in image_ids if i not in entries]
    if unknown:
        raise DatasetError(f'images that are not in the annotations: {", ".join(unknown)}')
    labels = match_classes(ground_truth['categories'], classes)
    truth = _truth(ground_truth, set(image_ids), labels)
    kept = [row for row in truth if not (exclude and row.get(exclude))]
    excluded = [row for row in truth if exclude and row.get(exclude)]
    same = {label: label for label in labels.values()}
    found: list[Annotation] = []
    for image_id, one in _paired(image_ids, detections):
        found += coco_results(one, image_id, same, first_id=len(found) + 1)
    return Selection(
        images=[entries[i] for i in image_ids],
        truth=kept,
        found=_without_excluded(found, kept, excluded),
        names={label: classes[label] for label in sorted(labels.values())},
    )


def match_classes(
    categories: Sequence[Mapping[str, Any]], classes: Sequence[str]
) -> dict[int, int]:
    """Return COCO category id -> label for the names that both sides know; log the others.

    Raises:
        DatasetError: there is none; the message lists both sides.
    """
    labels = {name: label for label, name in enumerate(classes)}
    matched = {row['id']: labels[row['name']] for row in categories if row['name'] in labels}
    annotated = {row['name']: None for row in categories}
    if not matched:
        raise DatasetError(
            f'the model knows {", ".join(classes)}; the annotations hold {", ".join(annotated)}; '
            'there is nothing to score. Give both the same class names.'
        )
    for side, names in (
        ('annotations', annotated.keys() - labels.keys()),
        ('model', labels.keys() - annotated.keys()),
    ):
        if names:
            logger.info('not scored, known to the %s only: %s', side, ', '.join(sorted(names)))
    return matched


def _truth(
    ground_truth: Mapping[str, Any], image_ids: set[int], labels: Mapping[int, int]
) -> list[Annotation]:
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


def _without_excluded(
    found: list[Annotation], kept: list[Annotation], excluded: list[Annotation]
) -> list[Annotation]:
    """Drop detections that lie on an excluded annotation and on no kept one of their class."""
    place = 'image_id', 'category_id'
    kept_at, excluded_at = grouped(kept, *place), grouped(excluded, *place)

    def overlaps(row: Annotation, others: Sequence[Annotation], of_detection: bool) -> bool:
        """Compare the shared area with the detection's own one, or else with the union."""
        boxes = np.array([other['bbox'] for other in others], np.float64)
        shares = coco_mask.iou(np.array([row['bbox']]), boxes, len(boxes) * [of_detection])
        return bool(np.any(np.asarray(shares) >= EXCLUDED_OVERLAP))

    def counts(row: Annotation) -> bool:
        key = tuple(row[name] for name in place)
        if key not in excluded_at or not overlaps(row, excluded_at[key], of_detection=True):
            return True
        return key in kept_at and overlaps(row, kept_at[key], of_detection=False)

    return [row for row in found if counts(row)]


def grouped(
    rows: Iterable[Annotation], *keys: str
) -> dict[tuple[Hashable, ...], list[Annotation]]:
    """Return annotations by the values that they have at some keys."""
    groups: dict[tuple[Hashable, ...], list[Annotation]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return groups


def box_array(rows: Sequence[Annotation]) -> NDArray[np.float64]:
    """Return (N, 4) xyxy edges of the boxes of annotations [px]."""
    return xyxy_from_xywh(np.array([row['bbox'] for row in rows], np.float64))
