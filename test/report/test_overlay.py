import numpy as np
import pytest

from synth_detect_ros.report import overlay
from synth_detect_ros.report.overlay import GREEN, class_colour, draw_detections
from synth_detect_ros.structures import Detections


def image(height=60, width=80):
    return np.full((height, width, 3), 100, np.uint8)


def detections(boxes, masks=None):
    count = len(boxes)
    boxes = np.array(boxes, np.float64).reshape(count, 4)
    scores = np.linspace(0.9, 0.5, count)
    return Detections(np.arange(count), scores, boxes, masks)


def draw_boxes(canvas, boxes, labels):
    overlay.draw_boxes(canvas, boxes, labels, GREEN)
    return canvas


def test_nothing_found_leaves_the_image_as_it_is():
    drawn = draw_detections(image(), detections([]), ['a'])
    assert np.array_equal(drawn, image())


def test_drawing_does_not_touch_the_input():
    original = image()
    draw_detections(original, detections([[10, 10, 30, 30]]), ['a'])
    assert np.array_equal(original, image())


@pytest.mark.parametrize('size', [(60, 80), (960, 1280)])
def test_line_of_a_box_covers_exactly_its_outermost_pixels(size):
    drawn = draw_boxes(image(*size), [[10, 20, 31, 41]], [''])
    rows, columns = np.nonzero((drawn != image(*size)).any(axis=2))
    assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (10, 20, 31, 41)
    assert (drawn[30, 20] == 100).all()


def test_box_of_one_pixel_colours_one_pixel():
    drawn = draw_boxes(image(), [[10, 20, 11, 21]], [''])
    assert np.argwhere((drawn != image()).any(axis=2)).tolist() == [[20, 10]]


def test_mask_is_tinted_and_nothing_else():
    masks = np.zeros((1, 60, 80), bool)
    masks[0, 30:35, 40:50] = True
    box = [[0, 0, 80, 60]]
    plain = draw_detections(image(), detections(box), ['a'])
    drawn = draw_detections(image(), detections(box, masks), ['a'])
    changed = (drawn != plain).any(axis=2)
    assert np.array_equal(changed, masks[0])
    wanted = 0.6 * 100 + 0.4 * np.array(class_colour(0))
    assert np.abs(drawn[32, 45] - wanted).max() <= 0.5


def test_empty_mask_tints_nothing():
    box, masks = [[0, 0, 80, 60]], np.zeros((1, 60, 80), bool)
    plain = draw_detections(image(), detections(box), ['a'])
    assert np.array_equal(draw_detections(image(), detections(box, masks), ['a']), plain)


def test_best_detection_lies_on_top():
    drawn = draw_detections(image(), detections([[10, 10, 70, 50], [10, 10, 70, 50]]), ['a', 'b'])
    assert tuple(drawn[49, 40]) == class_colour(0)


@pytest.mark.parametrize('box', [[-50, -50, -10, -10], [70, 50, 500, 400], [0, 0, 80, 60]])
def test_boxes_beyond_the_border_are_cut_off(box):
    drawn = draw_boxes(image(), [box], ['a long name of a class'])
    assert drawn.shape == (60, 80, 3)
    assert (drawn != image()).any()
