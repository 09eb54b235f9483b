"""What two detectors have in common, and what they do not."""

import dataclasses

import numpy as np
import pytest

from synth_detect_ros.deployment.parity import compare, pairs
from synth_detect_ros.structures import Detections


def detections(boxes=((0, 0, 10, 10), (20, 20, 30, 40)), labels=(0, 1), scores=(0.9, 0.6)):
    boxes = np.array(boxes, np.float64).reshape(-1, 4)
    masks = np.zeros((len(boxes), 50, 50), bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.round().astype(int), strict=True):
        mask[y1:y2, x1:x2] = True
    return Detections(np.array(labels, np.int64), np.array(scores, np.float64), boxes, masks)


def nothing():
    return detections((), (), ())


def of(one, other, threshold=0.1, most=100, tolerance=0.01):
    return compare([one], [other], threshold, most, tolerance)


def test_nothing_and_nothing_is_the_same():
    parity = of(nothing(), nothing())
    assert (parity.matched, parity.unmatched, parity.unmatched_share) == (0, 0, 0)
    assert parity.box_px == parity.score == 0 and parity.mask_iou is None
    assert '0 detections matched' in str(parity)


def test_a_detector_is_itself_in_any_order():
    one = detections()
    parity = of(one, one[::-1])
    assert (parity.matched, parity.unmatched, parity.box_px, parity.score) == (2, 0, 0, 0)
    assert parity.mask_iou == parity.least_mask_iou == 1
    assert 'IoU of masks 1.0000' in str(parity)


def test_differences_are_the_largest_ones():
    parity = of(detections(), detections(((0, 0, 10, 10.5), (20, 22, 30, 40)), scores=(0.8, 0.6)))
    assert parity.box_px == 2 and parity.score == pytest.approx(0.1)
    assert parity.least_mask_iou == pytest.approx(18 / 20)
    assert parity.mask_iou == pytest.approx((18 / 20 + 1) / 2)


def test_another_class_or_place_does_not_match():
    parity = of(detections(), detections(labels=(0, 0)))
    assert (parity.matched, parity.unmatched, parity.unmatched_share) == (1, 2, 0.5)
    parity = of(detections(), detections(((0, 0, 10, 10), (40, 20, 50, 40))))
    assert (parity.matched, parity.unmatched) == (1, 2)


def test_what_one_alone_finds_is_unmatched():
    assert of(detections(), nothing()).unmatched == of(nothing(), detections()).unmatched == 2


@pytest.mark.parametrize(('threshold', 'most'), [(0.595, 100), (0.1, 2)])
def test_what_rounding_decides_does_not_count(threshold, most):
    assert of(detections(), detections()[:1], threshold, most).unmatched == 0


def test_thin_boxes_match_where_they_are_close():
    one, other = (
        detections(((0, 0, 10, 0.1),), (0,), (1,)),
        detections(((0, 1, 10, 1.1),), (0,), (1,)),
    )
    assert of(one, other).matched == 1


def test_a_box_matches_once():
    one = detections(((0, 0, 10, 10), (0, 0, 10, 11)), (0, 0))
    rows, columns = pairs(one, detections(((0, 0, 10, 10.9),), (0,), (1,)))
    assert (rows.tolist(), columns.tolist()) == ([1], [0])


def test_what_is_no_number_is_unmatched():
    wrong = dataclasses.replace(
        detections(), boxes=np.full((2, 4), np.nan), scores=np.full(2, np.nan)
    )
    assert of(detections(), wrong).unmatched == 4


def test_masks_that_only_one_has_do_not_overlap():
    assert of(detections(), dataclasses.replace(detections(), masks=None)).mask_iou == 0
