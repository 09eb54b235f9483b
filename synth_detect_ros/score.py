"""COCO metrics of detections against labelled images, with pycocotools.

Metrics are fractions 0..1, or None where the annotations hold nothing to score (pycocotools says
-1). AP is the mean over the IoU thresholds .50:.05:.95, AR100 the recall with at most 100
detections an image and class, averaged over the same thresholds.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from synth_detect_ros.dataset.coco import coco_results, quiet_coco
from synth_detect_ros.errors import DatasetError
from synth_detect_ros.geometry.boxes import iou, xyxy_from_xywh
from synth_detect_ros.structures import Detections

Row = dict[str, Any]

MAX_DETECTIONS = 100
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


def score_detections(
    detections: Iterable[Detections],
    image_ids: Sequence[int],
    ground_truth: Mapping[str, Any],
    classes: Sequence[str],
    exclude: str = '',
    masks: bool = False,
) -> dict[str, Any]:
    """Score detections against COCO annotations; classes are matched by name.

    Only the images in `image_ids` count; those without annotations count too, for their false
    alarms. Classes that only one side knows are left out, with a line in the log.

    Args:
        detections: one an image; read one at a time, so that an iterator saves the memory of
            all masks.
        image_ids: COCO ids of these images, in the same order.
        ground_truth: COCO mapping, see `dataset.coco.check_coco`.
        classes: names of the detector's labels.
        exclude: annotations in which this field is true are neither right to find nor wrong to
            find or miss; empty for none.
        masks: score masks as well, if all detections and annotations have them.

    Returns:
        See `score`.

    Raises:
        DatasetError: numbers of images and detections differ, an image is not in the ground
            truth, or no class name is shared.
    """
    return score(match(detections, image_ids, ground_truth, classes, exclude), masks)


def score(matchup: Matchup, masks: bool = False) -> dict[str, Any]:
    """Return COCO metrics.

    Returns:
        `{'images': n, 'bbox': metrics}` and perhaps `'segm': metrics`, where metrics holds AP,
        AP50, AP75, AR100 in 0..1 or None, and per_class with the same four for each name.
    """
    result = {'images': len(matchup.images), 'bbox': _score('bbox', matchup)}
    has_masks = all('segmentation' in row for row in matchup.found)
    has_truth = bool(matchup.truth) and all(row.get('segmentation') for row in matchup.truth)
    if masks and has_masks and has_truth:
        result['segm'] = _score('segm', matchup)
    return result


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


def _score(kind: str, matchup: Matchup) -> dict[str, Any]:
    """Run pycocotools, without its prints, over one kind: 'bbox' or 'segm'."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth, found = _indexed(matchup, matchup.truth), _indexed(matchup, matchup.found)
        scorer = COCOeval(truth, found, kind)
        scorer.params.maxDets = [MAX_DETECTIONS]
        scorer.params.areaRng, scorer.params.areaRngLbl = [[0, 1e10]], ['all']
        scorer.evaluate()
        scorer.accumulate()
    # (threshold, recall, class) and (threshold, class); -1 where a class has no annotation
    precision = scorer.eval['precision'][..., 0, 0]
    recall = scorer.eval['recall'][..., 0, 0]
    thresholds = scorer.params.iouThrs
    per_class = {
        name: _summary(precision[..., k : k + 1], recall[..., k : k + 1], thresholds)
        for k, name in enumerate(matchup.names.values())
    }
    return {**_summary(precision, recall, thresholds), 'per_class': per_class}


def _indexed(matchup: Matchup, rows: list[Row]) -> COCO:
    names = matchup.names.items()
    return quiet_coco(
        {
            'images': matchup.images,
            'annotations': [dict(row) for row in rows],  # COCOeval writes into them
            'categories': [{'id': label, 'name': name} for label, name in names],
        }
    )


def _summary(
    precision: NDArray[np.float64], recall: NDArray[np.float64], thresholds: NDArray[np.float64]
) -> dict[str, float | None]:
    def mean(values: NDArray[np.float64]) -> float | None:
        known = values[values > -1]
        return float(known.mean()) if len(known) else None

    return {
        'AP': mean(precision),
        'AP50': mean(precision[np.isclose(thresholds, 0.5)]),
        'AP75': mean(precision[np.isclose(thresholds, 0.75)]),
        'AR100': mean(recall),
    }
