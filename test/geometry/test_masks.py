"""Pasting masks: torchvision's pixels, computed inside each box only."""

import numpy as np
import pytest
import torch
from torchvision.models.detection.roi_heads import paste_masks_in_image

from synth_detect_ros.geometry.masks import bounding_slices, paste_masks

HEIGHT, WIDTH = 60, 80


def test_no_masks_are_no_masks():
    pasted = paste_masks(np.zeros((0, 1, 1), np.float32), np.zeros((0, 4)), HEIGHT, WIDTH)
    assert pasted.shape == (0, HEIGHT, WIDTH)


@pytest.mark.parametrize(
    'box',
    [
        (10.2, 20.7, 50.1, 55.5),
        (0, 0, WIDTH, HEIGHT),
        (70.5, 50.5, WIDTH, HEIGHT),
        (-9.5, -3, 20, 12),
        (30, 30, 30.4, 30.4),
        (WIDTH - 0.3, 3, WIDTH, 9),
    ],
)
def test_pixels_are_those_of_torchvision(box):
    rng = np.random.default_rng(0)
    masks = rng.random((3, 28, 28), np.float32)
    boxes = np.array([box] * 3)
    theirs = paste_masks_in_image(
        torch.from_numpy(masks)[:, None], torch.from_numpy(boxes), (HEIGHT, WIDTH)
    )[:, 0].numpy()
    clear = np.abs(theirs - 0.5) > 1e-4
    ours = paste_masks(masks, boxes, HEIGHT, WIDTH)
    assert clear.mean() > 0.99
    assert np.array_equal(ours[clear], (theirs >= 0.5)[clear])


def test_slices_hold_exactly_the_mask():
    mask = np.zeros((HEIGHT, WIDTH), bool)
    rows, columns = bounding_slices(mask)
    assert mask[rows, columns].size == 0
    mask[4, 7] = mask[9, 11] = True
    rows, columns = bounding_slices(mask)
    assert (rows.start, rows.stop, columns.start, columns.stop) == (4, 10, 7, 12)
