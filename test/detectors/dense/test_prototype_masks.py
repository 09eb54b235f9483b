"""Masks of prototypes: shares of cells, crops over boxes, losses least for the right mask."""

import numpy as np
import pytest
import torch

from synth_detect_ros.detectors.dense.prototype_masks import (
    SIDE,
    box_cells,
    crop_masks,
    mask_loss,
    shrink_masks,
)
from synth_detect_ros.geometry.masks import paste_masks


def disc(height, width, x, y, radius):
    rows, columns = np.mgrid[:height, :width] + 0.5
    return ((columns - x) ** 2 + (rows - y) ** 2 <= radius**2).astype(np.uint8)


def test_cells_have_the_share_that_a_mask_covers():
    mask = torch.from_numpy(disc(30, 44, 20, 14, 9))[None]  # smaller than its padded frame
    shares = shrink_masks(mask, (4, 6), 8)
    for row in range(4):
        for column in range(6):
            part = mask[0, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
            assert shares[0, row, column].item() == pytest.approx(part.sum().item() / 64)


def test_cells_of_a_box_are_those_it_touches():
    cells = box_cells(torch.tensor([[8.0, 0.0, 17.0, 8.0]]), (3, 4), 8)
    assert cells[0].tolist() == [
        [False, True, True, False],
        [False, False, False, False],
        [False, False, False, False],
    ]


def loss_of(logits, mask, box, stride=4):
    """Return the loss where one prototype is the logits."""
    found = mask_loss(
        torch.ones(1, 1), logits[None], torch.tensor([0]), mask[None], box[None], stride
    )
    return found.item()


def test_the_right_mask_costs_less_than_any_other():
    mask, box = torch.from_numpy(disc(64, 64, 30, 34, 15)), torch.tensor([15.0, 19, 45, 49])
    right = shrink_masks(mask[None], (16, 16), 4)[0].clamp(0.001, 0.999).logit()
    least = loss_of(right, mask, box)
    for other in (right * 0, -right, right.roll(1, 0), right.roll(2, 1)):
        assert loss_of(other, mask, box) > least + 0.05


def test_what_lies_beyond_the_box_costs_nothing():
    mask, box = torch.from_numpy(disc(64, 64, 20, 20, 10)), torch.tensor([10.0, 10, 30, 30])
    logits = shrink_masks(mask[None], (16, 16), 4)[0].clamp(0.01, 0.99).logit()
    beyond = logits.clone()
    beyond[10:] = 9.0
    assert loss_of(beyond, mask, box) == loss_of(logits, mask, box)


def test_a_disc_comes_back_from_its_shares():
    mask = disc(128, 160, 80, 60, 35)
    shares = shrink_masks(torch.from_numpy(mask)[None], (16, 20), 8)
    box = torch.tensor([[45.0, 25, 115, 95]])
    crops = crop_masks(torch.ones(1, 1), shares.clamp(0.01, 0.99).logit(), box, 8)
    assert crops.shape == (1, 1, SIDE, SIDE)
    pasted = paste_masks(crops[:, 0].numpy(), box.numpy().astype(float), 128, 160)[0]
    both, either = (pasted & (mask > 0)).sum(), (pasted | (mask > 0)).sum()
    assert both / either > 0.97


def test_no_box_has_no_mask():
    nothing = torch.zeros(0, 3), torch.zeros(3, 4, 4), torch.zeros(0, 4)
    assert crop_masks(*nothing, 8).shape == (0, 1, SIDE, SIDE)
