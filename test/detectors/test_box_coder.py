"""Codes of boxes: there and back, the equation as it is written, and torchvision's numbers."""

import math

import pytest
import torch
from torchvision.models.detection.roi_heads import RoIHeads

from synth_detect_ros.detectors.box_coder import BoxCoder

SCALES = (10.0, 8.0, 5.0, 4.0)


def boxes(count, seed):
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, generator=generator) * 100
    return torch.cat([corners, corners + 1 + torch.rand(count, 2, generator=generator) * 50], 1)


def torchvisions(scales):
    """Return the coder inside torchvision's second stage."""
    parts = [torch.nn.Identity()] * 3
    return RoIHeads(*parts, 0.5, 0.5, 8, 0.5, scales, 0.0, 0.5, 10).box_coder


def test_code_is_the_equation():
    code = BoxCoder(SCALES).encode_single(
        torch.tensor([[10.0, 20, 50, 40]]), torch.tensor([[0.0, 0, 20, 40]])
    )
    wanted = [10 * (30 - 10) / 20, 8 * (30 - 20) / 40, 5 * math.log(2), 4 * math.log(0.5)]
    torch.testing.assert_close(code, torch.tensor([wanted]))


@pytest.mark.parametrize('count', [0, 1, 50])
def test_decoding_undoes_encoding(count):
    coder, a, b = BoxCoder(SCALES), boxes(count, 0), boxes(count, 1)
    torch.testing.assert_close(coder.decode_single(coder.encode_single(a, b), b), a)


@pytest.mark.parametrize('counts', [(0, 0), (3, 0), (20, 30)])
def test_numbers_are_torchvisions(counts):
    ours, theirs = BoxCoder(SCALES), torchvisions(SCALES)
    a = [boxes(n, i) for i, n in enumerate(counts)]
    b = [boxes(n, 10 + i) for i, n in enumerate(counts)]
    for mine, other in zip(ours.encode(a, b), theirs.encode(a, b), strict=True):
        assert torch.equal(mine, other)
    codes = torch.randn(sum(counts), 4, generator=torch.Generator().manual_seed(3)) * 20
    assert torch.equal(ours.decode(codes, b).flatten(), theirs.decode(codes, b).flatten())


def test_sizes_stay_finite():
    box = BoxCoder((1, 1, 1, 1)).decode_single(
        torch.tensor([[0.0, 0, 1e9, 1e9]]), torch.tensor([[0.0, 0, 16, 16]])
    )
    torch.testing.assert_close(box, torch.tensor([[-492.0, -492, 508, 508]]))
