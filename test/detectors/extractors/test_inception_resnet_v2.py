"""InceptionResnetV2: cut, aligned and dilated, it stays the network that timm trained."""

import math

import pytest
import timm
import torch
from networks import changed, copy, lively, step
from safetensors.torch import save_file
from tiny import CLASSES, detector_config
from torch import nn

from synth_detect_ros.detectors.extractors.adapters import Adapter
from synth_detect_ros.detectors.extractors.block_chain import align
from synth_detect_ros.detectors.extractors.build import build_extractor
from synth_detect_ros.detectors.extractors.freezing import apply_freeze
from synth_detect_ros.detectors.rcnn import RCNN
from synth_detect_ros.detectors.rfcn import _keep_stride

NAME = 'inception_resnet_v2'


@pytest.fixture(scope='module')
def timms():
    # A classifier of ten classes: files of other tasks load too.
    torch.manual_seed(0)
    return lively(timm.create_model(NAME, num_classes=10))


@pytest.fixture(scope='module')
def weights(timms, tmp_path_factory):
    file = tmp_path_factory.mktemp('weights') / 'inception.safetensors'
    save_file(timms.state_dict(), file)
    return str(file)


def extractor(weights, **options):
    options = {'neck': 'c4', **options}
    built = build_extractor(detector_config(extractor=NAME, weights=weights, **options))
    for stage in built.stages.values():
        stage.eval()
    return built


@pytest.fixture(scope='module')
def coarse(weights):
    return extractor(weights)


@pytest.fixture(scope='module')
def fine(weights):
    return extractor(weights, c4_stride=8)


def windows(*modules):
    kinds = nn.Conv2d | nn.MaxPool2d
    return [layer for module in modules for layer in module.modules() if isinstance(layer, kinds)]


def pair(value):
    return value if isinstance(value, tuple) else (value, value)


def close(found, wanted):
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


@torch.no_grad()
def test_both_stages_without_padding_are_timms_network(weights, timms):
    built = extractor(weights)
    ours = windows(built.first_stage, built.second_stage)
    theirs = windows(timms)
    assert len(ours) == len(theirs)
    moved = 0
    for a, b in zip(ours, theirs, strict=True):
        assert a.kernel_size == b.kernel_size
        moved += pair(a.padding) != pair(b.padding)
        a.padding = b.padding
    # Three convolutions and two pools of the stem, two and one of mixed_6a.
    assert moved == 8
    image = torch.randn(1, 3, 131, 107)
    (middle,) = built.first_stage(image)
    close(built.second_stage(middle), timms.forward_features(image))


@torch.no_grad()
def test_pyramid_has_the_maps_of_timms_network_when_both_are_aligned(weights):
    built = extractor(weights, neck='fpn', fpn_finest_stride=4)
    torch.manual_seed(0)
    whole = lively(timm.create_model(NAME, num_classes=10))
    align(whole)
    image = torch.randn(1, 3, 75, 101)
    if not hasattr(whole, 'forward_intermediates'):
        pytest.skip('timm gives no maps of this network before 1.0.30')
    wanted = whole.forward_intermediates(image, intermediates_only=True)[1:]
    for a, b in zip(built.first_stage(image), wanted, strict=True):
        close(a, b)


@torch.no_grad()
@pytest.mark.parametrize('size', [(96, 128), (65, 97), (79, 50)])
def test_map_of_stride_8_holds_that_of_stride_16(coarse, fine, size):
    image = torch.randn(1, 3, *size)
    (few,), (many,) = coarse.first_stage(image), fine.first_stage(image)
    assert few.shape[2:] == tuple(math.ceil(side / 16) for side in size)
    assert many.shape[2:] == tuple(math.ceil(side / 8) for side in size)
    close(many[:, :, ::2, ::2], few)


def test_holes_are_those_of_tf_slim(fine):
    blocks = fine.first_stage.module.blocks
    reduction, repeat = blocks[-2], blocks[-1]
    assert all(layer.dilation in (1, (1, 1)) for layer in windows(*blocks[:-1]))
    assert {layer.stride for layer in windows(reduction)} == {(1, 1)}
    sides = {layer.kernel_size: layer.dilation for layer in windows(repeat)}
    assert sides == {(1, 1): (1, 1), (1, 7): (2, 2), (7, 1): (2, 2)}


@pytest.mark.parametrize('size', [(64, 96), (65, 97), (127, 33)])
def test_maps_of_a_pyramid_cover_odd_images(size):
    built = extractor('none', neck='fpn', fpn_finest_stride=4)
    assert built.strides == (4, 8, 16, 32)
    with torch.no_grad():
        maps = built.first_stage(torch.zeros(1, 3, *size))
    assert [m.shape[1] for m in maps] == [192, 320, 1088, 1536]
    assert [m.shape[2:] for m in maps] == [
        tuple(math.ceil(side / stride) for side in size) for stride in built.strides
    ]


def test_box_classifier_makes_eight_of_seventeen(fine):
    assert (fine.channels, fine.second_channels) == ((1088,), 1536)
    with torch.no_grad():
        assert fine.second_stage(torch.zeros(1, 1088, 17, 17)).shape == (1, 1536, 8, 8)


def test_images_are_expected_between_minus_one_and_one(coarse):
    assert (coarse.mean, coarse.std) == ((0.5,) * 3, (0.5,) * 3)
    assert 'sha256' in coarse.source


@torch.no_grad()
def test_box_classifier_on_the_whole_map_holds_what_it_computed_with_strides(weights):
    strided, dense = extractor(weights), extractor(weights)
    align(strided.second_stage)
    x = torch.randn(1, 1088, 16, 16)
    found = _keep_stride(dense.second_stage, 1088, NAME, 1)(x)
    close(found[..., ::2, ::2], strided.second_stage(x))


def test_early_freeze_ends_behind_block35(weights):
    config = detector_config(extractor=NAME, weights=weights)
    detector = RCNN(config, CLASSES)
    apply_freeze(detector, detector.stages, 'early:8')
    blocks = detector.first_stage.module.blocks
    trains = [any(p.requires_grad for p in block.parameters()) for block in blocks]
    assert trains == [False] * 9 + [True] * 6


def test_frozen_extractor_stays_while_its_box_classifier_trains(weights):
    config = detector_config(
        extractor=NAME,
        weights=weights,
        neck='c4',
        c4_stride=8,
        box_head={'roi_size': 17, 'batch': 4},
    )
    detector = RCNN(config, CLASSES)
    apply_freeze(detector, detector.stages, 'first_stage')
    first, second = (copy(detector.stages[k]) for k in ('first_stage', 'second_stage'))
    step(detector)
    assert not changed(first, detector.stages['first_stage'])
    assert changed(second, detector.stages['second_stage'])


@torch.no_grad()
def test_rfcn_votes_on_its_map():
    config = detector_config(
        extractor=NAME, architecture='rfcn', neck='c4', score_threshold=0.0, min_side=64
    )
    detector = RCNN(config, CLASSES).eval()
    maps, _ = detector.features(torch.rand(3, 64, 96))
    assert detector.region_maps({'0': maps[0]})['0'].shape == (1, 7 * 9, 4, 6)
    (found,) = detector.detect([torch.rand(3, 64, 96)])
    assert len(found.boxes) > 0


@torch.no_grad()
def test_new_adapters_beside_every_block_change_nothing(weights, fine):
    adapted = extractor(weights, c4_stride=8, adapters=True).first_stage
    assert sum(isinstance(m, Adapter) for m in adapted.modules()) == 10 + 20
    image = torch.rand(1, 3, 64, 96)
    assert torch.equal(adapted(image)[0], fine.first_stage(image)[0])
