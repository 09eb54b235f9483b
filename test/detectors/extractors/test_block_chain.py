"""Maps that keep their size: the same values as before, and those in between."""

import math

import pytest
import torch
from tiny import detector_config
from torch import nn

from synth_detect_ros.detectors.extractors.block_chain import Branches, align, dilate, drop_strides
from synth_detect_ros.detectors.extractors.build import build_extractor


def extractor(name, **values):
    torch.manual_seed(0)
    return build_extractor(detector_config(neck='c4', extractor=name, **values))


@pytest.mark.parametrize('name', ['resnet18', 'resnet50', 'mobilenet_v2'])
def test_dilated_map_holds_the_map_of_the_pretrained_network(name):
    coarse, fine = extractor(name), extractor(name, c4_stride=8)
    assert (coarse.strides, fine.strides) == ((16,), (8,))
    assert coarse.channels == fine.channels
    images = torch.rand(1, 3, 96, 128)
    with torch.no_grad():
        (few,), (many,) = (e.first_stage.eval()(images) for e in (coarse, fine))
    assert many.shape[2:] == (12, 16)
    torch.testing.assert_close(many[:, :, ::2, ::2], few, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('name', ['resnet18', 'resnet50', 'mobilenet_v2'])
def test_stage_without_strides_keeps_the_size_and_its_weights(name):
    found = extractor(name)
    stage = found.second_stage
    before = {name: p.clone() for name, p in stage.state_dict().items()}
    crops = torch.rand(2, found.channels[-1], 7, 7)
    assert stage.eval()(crops).shape[2:] == (4, 4)
    drop_strides(stage)
    assert stage(crops).shape == (2, found.second_channels, 7, 7)
    assert all(torch.equal(before[name], p) for name, p in stage.state_dict().items())


def inception():
    """Return a small chain with branches, as Inception networks have them."""
    torch.manual_seed(0)
    branches = [
        nn.Conv2d(3, 4, 3, 2),
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, 2)),
        nn.MaxPool2d(3, 2),
    ]
    chain = nn.Sequential(Branches(branches), nn.Conv2d(11, 5, (1, 7)), nn.Conv2d(5, 5, (7, 1)))
    align(chain[1:])
    return chain


@torch.no_grad()
@pytest.mark.parametrize('size', [(16, 24), (17, 23)])
def test_aligned_map_covers_the_image_and_dilated_holds_it(size):
    coarse, fine, image = inception(), inception(), torch.randn(1, 3, *size)
    for chain in (coarse, fine):
        align(chain)
    assert dilate([fine]) == 2
    few, many = coarse(image), fine(image)
    assert few.shape[2:] == tuple(math.ceil(side / 2) for side in size)
    assert many.shape[2:] == size
    torch.testing.assert_close(many[:, :, ::2, ::2], few)
    # Of the branches none stands before another: only what follows them has holes.
    assert all(
        layer.dilation in (1, (1, 1)) for layer in fine[0].modules() if hasattr(layer, 'dilation')
    )
    assert [layer.dilation for layer in fine[1:]] == [(2, 2), (2, 2)]


def test_networks_trained_with_padding_are_aligned_already():
    stage = build_extractor(detector_config(extractor='resnet50'), load=False).first_stage
    before = [m.padding for m in stage.modules() if hasattr(m, 'padding')]
    align(stage)
    pairs = [(p, p) if isinstance(p, int) else p for p in before]
    assert pairs == [m.padding for m in stage.modules() if hasattr(m, 'padding')]
