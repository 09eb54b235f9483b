"""Pooling by a sparse matrix: the values and gradients of torchvision's operator."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torchvision.ops import MultiScaleRoIAlign

from synth_detect_ros.detectors.roi_pooling import RoIPooling

SIZES = [(96, 128), (90, 120)]


def maps(count, channels=3):
    torch.manual_seed(0)
    shapes = [(2, channels, 24 >> i, 32 >> i) for i in range(count)]
    found = {str(i): torch.randn(shape, requires_grad=True) for i, shape in enumerate(shapes)}
    return OrderedDict({**found, 'pool': torch.randn(2, channels, 3, 4)})


def boxes(*counts):
    """Return boxes of all sizes, some beyond the edges of the image, some without an area."""
    torch.manual_seed(1)
    centres = [torch.rand(n, 2) * torch.tensor([128.0, 96.0]) for n in counts]
    sizes = [torch.rand(n, 2) ** 3 * 120 for n in counts]
    return [torch.cat([c - s / 2, c + s / 2], 1) for c, s in zip(centres, sizes, strict=True)]


@pytest.mark.parametrize('levels', [1, 3])
@pytest.mark.parametrize('bins', [7, 14])
def test_values_and_gradients_are_those_of_torchvision(levels, bins):
    names = [str(i) for i in range(levels)]
    features, rois = maps(levels), boxes(30, 20)
    theirs = MultiScaleRoIAlign(names, bins, sampling_ratio=2)(features, rois, SIZES)
    ours = RoIPooling(names, bins).train()(features, rois, SIZES)
    assert torch.allclose(ours, theirs, atol=1e-5)
    inputs, gradient = [features[name] for name in names], torch.randn_like(theirs)
    expected = torch.autograd.grad(theirs, inputs, gradient)
    found = torch.autograd.grad(ours, inputs, gradient)
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a, b, atol=1e-4)


@pytest.mark.parametrize(('bins', 'shrink', 'side'), [(14, 2, 7), (9, 2, 4), (17, 1, 17)])
def test_of_shrunk_crops_the_largest_values_are_kept(bins, shrink, side):
    features, rois = maps(2), boxes(6, 5)
    large = RoIPooling(['0', '1'], bins)(features, rois, SIZES)
    pooling = RoIPooling(['0', '1'], bins, shrink)
    small = pooling(features, rois, SIZES)
    assert pooling.side == side
    assert small.shape[2:] == (side, side)
    for y, x in np.ndindex(side, side):
        square = large[:, :, shrink * y : shrink * (y + 1), shrink * x : shrink * (x + 1)]
        torch.testing.assert_close(small[:, :, y, x], square.amax((2, 3)))


@pytest.mark.parametrize('counts', [(0, 0), (0, 4), (4, 0)])
def test_images_without_boxes_are_legal(counts):
    crops = RoIPooling(['0', '1'], 14, 2).train()(maps(2), boxes(*counts), SIZES)
    assert crops.shape == (sum(counts), 3, 7, 7)


@pytest.mark.parametrize('counts', [(0, 0), (0, 4), (30, 20)])
def test_inference_gives_the_values_of_training(counts):
    pooling, features, rois = RoIPooling(['0', '1'], 7), maps(2), boxes(*counts)
    with torch.inference_mode():
        crops = pooling.eval()(features, rois, SIZES)
    torch.testing.assert_close(crops, pooling.train()(features, rois, SIZES), atol=1e-5, rtol=0)


def test_gradients_pass_under_autocast():
    features, rois = maps(2), boxes(30, 20)
    pooling = RoIPooling(['0', '1'], 7).train()
    with torch.autocast('cpu', torch.bfloat16):
        crops = pooling(features, rois, SIZES)
    assert crops.dtype == torch.float32
    crops.sum().backward()
    assert float(features['0'].grad.sum()) > 0
