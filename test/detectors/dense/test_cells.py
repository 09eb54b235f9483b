"""Cells: where they lie; boxes and distances are each other's inverse."""

import pytest
import torch

from synth_detect_ros.detectors.dense.cells import cell_centres, decode, distances

CPU = torch.device('cpu')


def test_centres_are_those_of_plain_loops():
    centres, strides = cell_centres(((3, 4), (2, 1)), (8, 16), CPU)
    wanted = [(8 * (x + 0.5), 8 * (y + 0.5), 8) for y in range(3) for x in range(4)]
    wanted += [(8.0, 8.0, 16), (8.0, 24.0, 16)]
    assert torch.cat([centres, strides], 1).tolist() == [list(row) for row in wanted]


def test_centres_that_inference_asked_for_first_serve_training():
    with torch.inference_mode():
        centres, _ = cell_centres(((5, 7),), (4,), CPU)
    assert not centres.is_inference()
    scale = torch.ones(1, requires_grad=True)
    (centres * scale).sum().backward()


def test_a_box_is_the_mean_of_its_distributions():
    bins = 6
    centres, strides = torch.tensor([[40.0, 24.0]]), torch.tensor([[8.0]])
    shares = torch.zeros(4, bins + 1)
    shares[0, 1] = 1  # left: one stride
    shares[1, 0] = 1  # top: at the centre
    shares[2, 2], shares[2, 3] = 0.5, 0.5  # right: two and a half
    shares[3, 6] = 1  # bottom: six
    boxes = decode(shares.clamp_min(1e-12).log().reshape(1, -1), centres, strides)
    torch.testing.assert_close(boxes, torch.tensor([[32.0, 24, 60, 72]]))


@pytest.mark.parametrize('stride', [4, 8, 32])
def test_distances_lead_back_to_the_box(stride):
    torch.manual_seed(0)
    centres = torch.rand(20, 2) * 100
    boxes = torch.cat([centres - torch.rand(20, 2) * 50, centres + torch.rand(20, 2) * 50], 1)
    strides = torch.full((20, 1), float(stride))
    sides = distances(boxes, centres, strides) * strides
    torch.testing.assert_close(
        torch.cat([centres - sides[:, :2], centres + sides[:, 2:]], 1), boxes
    )
