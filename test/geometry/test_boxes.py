"""Boxes: edges, half open, and the one crossing to pixel centres."""

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from synth_detect_ros.geometry import boxes


@pytest.fixture
def some():
    low = np.random.default_rng(0).uniform(0, 50, (6, 2))
    return np.hstack([low, low + np.random.default_rng(1).uniform(1, 40, (6, 2))])


def test_box_of_one_pixel_has_unit_size():
    mask = np.zeros((5, 7), bool)
    mask[2, 3] = True
    np.testing.assert_array_equal(boxes.box_of_mask(mask), [3, 2, 4, 3])
    assert boxes.area(boxes.box_of_mask(mask)) == 1


def test_box_of_no_pixel_is_zero():
    np.testing.assert_array_equal(boxes.box_of_mask(np.zeros((5, 7), bool)), np.zeros(4))


def test_mask_of_a_box_has_that_box():
    for x0, y0, x1, y1 in [(0, 0, 7, 5), (2, 1, 3, 4), (6, 4, 7, 5)]:
        mask = np.zeros((5, 7), bool)
        mask[y0:y1, x0:x1] = True
        np.testing.assert_array_equal(boxes.box_of_mask(mask), [x0, y0, x1, y1])


def test_boxes_of_ids_are_the_boxes_of_their_masks():
    ids = np.random.default_rng(0).integers(0, 4, (9, 11))
    found = boxes.boxes_of_ids(ids, 4)
    for i in range(4):
        np.testing.assert_array_equal(found[i], boxes.box_of_mask(ids == i + 1))
    assert boxes.boxes_of_ids(ids, 0).shape == (0, 4)


def test_pixels_and_edges_are_half_a_pixel_apart_and_inverse():
    pixels = np.array([[0.0, 3.25]])
    np.testing.assert_array_equal(boxes.edges_from_pixels(pixels), pixels + 0.5)
    np.testing.assert_array_equal(boxes.pixels_from_edges(boxes.edges_from_pixels(pixels)), pixels)


def test_iou_agrees_with_torchvision(some):
    expected = box_iou(torch.from_numpy(some), torch.from_numpy(some[:3])).numpy()
    np.testing.assert_allclose(boxes.iou(some, some[:3]), expected)


def test_iou_of_empty_boxes_is_zero():
    assert boxes.iou(np.zeros((1, 4)), np.zeros((1, 4))) == 0
    assert boxes.iou(np.zeros((0, 4)), np.zeros((2, 4))).shape == (0, 2)


def test_xywh_and_back_is_the_same(some):
    np.testing.assert_allclose(boxes.xyxy_from_xywh(boxes.xywh_from_xyxy(some)), some)
    assert boxes.xywh_from_xyxy(np.zeros((0, 4))).shape == (0, 4)


def test_inverted_box_has_no_area():
    assert boxes.area([5, 5, 3, 9]) == 0
