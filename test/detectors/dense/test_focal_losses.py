"""Losses are those of their equations, with their minima where they belong."""

import math

import pytest
import torch

from synth_detect_ros.detectors.dense.focal_losses import (
    box_loss,
    distribution_focal_loss,
    quality_focal_loss,
)


def test_quality_focal_loss_is_its_equation():
    torch.manual_seed(0)
    logits, quality = torch.randn(5, 3), torch.rand(5, 3)
    wanted = 0.0
    for logit, y in zip(logits.flatten().tolist(), quality.flatten().tolist(), strict=True):
        s = 1 / (1 + math.exp(-logit))
        wanted -= (y - s) ** 2 * ((1 - y) * math.log(1 - s) + y * math.log(s))
    assert quality_focal_loss(logits, quality).item() == pytest.approx(wanted, rel=1e-4)


def test_quality_focal_loss_is_least_at_the_quality():
    quality = torch.tensor([[0.3, 0.8]])
    logits = quality.logit().requires_grad_()
    quality_focal_loss(logits, quality).backward()
    assert logits.grad.abs().max() < 1e-6


def test_distribution_focal_loss_is_its_equation():
    torch.manual_seed(0)
    codes, weights = torch.randn(2, 4 * 6), torch.tensor([1.0, 0.5])
    wanted = torch.tensor(
        [[0.0, 1.25, 3.5, 4.999], [2.0, 2.5, -1.0, 9.0]]
    )  # beyond 0 .. 5: clamped
    total = 0.0
    for p in range(2):
        for side in range(4):
            shares = codes[p].reshape(4, 6)[side].softmax(0).tolist()
            y = min(max(wanted[p, side].item(), 0), 5 - 1e-3)
            i = int(y)
            loss = -((i + 1 - y) * math.log(shares[i]) + (y - i) * math.log(shares[i + 1]))
            total += weights[p].item() * loss / 4
    found = distribution_focal_loss(codes, wanted, weights).item()
    assert found == pytest.approx(total, rel=1e-4)


def test_box_loss_is_zero_for_equal_boxes_and_grows_with_distance():
    box, ones = torch.tensor([[10.0, 10, 30, 20]]), torch.ones(1)
    shifted = [box_loss(box + shift, box, ones).item() for shift in (0, 5, 40, 80)]
    assert shifted[0] == pytest.approx(0, abs=1e-6)
    assert shifted == sorted(shifted) and shifted[-1] > 1


def test_no_positive_cell_costs_nothing():
    empty = torch.zeros(0, 4)
    assert box_loss(empty, empty, torch.zeros(0)).item() == 0
    assert distribution_focal_loss(torch.zeros(0, 28), empty, torch.zeros(0)).item() == 0
