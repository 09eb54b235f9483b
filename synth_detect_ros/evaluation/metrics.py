"""COCO metrics of detections against labelled images, with pycocotools.

Metrics are fractions 0..1, or None where the annotations hold nothing to score (pycocotools says
-1). AP is the mean over the IoU thresholds .50:.05:.95, AR100 the recall with at most 100
detections an image and class, averaged over the same thresholds.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from synth_detect_ros.dataset.coco import quiet_coco
from synth_detect_ros.evaluation.selection import Annotation, Selection

MAX_DETECTIONS = 100
METRICS = ('AP', 'AP50', 'AP75', 'AR100')


def score(selection: Selection, *, masks: bool) -> dict[str, Any]:
    """Return COCO metrics.

    Args:
        selection: what is compared, see `selection.select`.
        masks: score masks as well, if all detections and annotations have them.

    Returns:
        `{'images': n, 'bbox': metrics}` and perhaps `'segm': metrics`, where metrics holds AP,
        AP50, AP75, AR100 in 0..1 or None, and per_class with the same four for each name.
    """
    result = {'images': len(selection.images), 'bbox': _score('bbox', selection)}
    has_masks = all('segmentation' in row for row in selection.found)
    has_truth = bool(selection.truth) and all(row.get('segmentation') for row in selection.truth)
    if masks and has_masks and has_truth:
        result['segm'] = _score('segm', selection)
    return result


def _score(kind: str, selection: Selection) -> dict[str, Any]:
    """Run pycocotools, without its prints, over one kind: 'bbox' or 'segm'."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth, found = _indexed(selection, selection.truth), _indexed(selection, selection.found)
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
        for k, name in enumerate(selection.names.values())
    }
    return {**_summary(precision, recall, thresholds), 'per_class': per_class}


def _indexed(selection: Selection, rows: list[Annotation]) -> COCO:
    return quiet_coco(
        {
            'images': selection.images,
            'annotations': [dict(row) for row in rows],  # COCOeval writes into them
            'categories': [{'id': k, 'name': name} for k, name in selection.names.items()],
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


def number(value: float | None, digits: int = 3) -> str:
    """Return a metric as text, a dash where there is none."""
    return '-' if value is None else f'{value:.{digits}f}'
