"""Maps that keep their size: the same values as before, and those in between."""

import pytest
import torch
from tiny import detector_config

from synth_detect_ros.detectors.backbones import build_extractor
from synth_detect_ros.detectors.strides import drop_strides


def extractor(backbone, **values):
    torch.manual_seed(0)
    return build_extractor(detector_config(neck='c4', backbone=backbone, **values))


@pytest.mark.parametrize('backbone', ['resnet18', 'resnet50', 'mobilenet_v2'])
def test_dilated_map_holds_the_map_of_the_pretrained_network(backbone):
    coarse, fine = extractor(backbone), extractor(backbone, c4_stride=8)
    assert (coarse.strides, fine.strides) == ((16,), (8,))
    assert coarse.channels == fine.channels
    images = torch.rand(1, 3, 96, 128)
    with torch.no_grad():
        (few,), (many,) = (e.first_stage.eval()(images) for e in (coarse, fine))
    assert many.shape[2:] == (12, 16)
    torch.testing.assert_close(many[:, :, ::2, ::2], few, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('backbone', ['resnet18', 'resnet50', 'mobilenet_v2'])
def test_stage_without_strides_keeps_the_size_and_its_weights(backbone):
    found = extractor(backbone)
    stage = found.second_stage
    before = {name: p.clone() for name, p in stage.state_dict().items()}
    crops = torch.rand(2, found.channels[-1], 7, 7)
    assert stage.eval()(crops).shape[2:] == (4, 4)
    drop_strides(stage)
    assert stage(crops).shape == (2, found.second_channels, 7, 7)
    assert all(torch.equal(before[name], p) for name, p in stage.state_dict().items())
