"""The freeze dial: frozen means bit-identical, and random weights are never frozen."""

import pytest
import torch
from networks import changed, copy, step
from tiny import CLASSES, detector_config, write_weights
from torch import nn

from synth_detect_ros.detectors.extractors.freezing import Stage, apply_freeze, thaw_at
from synth_detect_ros.detectors.rcnn import RCNN
from synth_detect_ros.errors import FreezeError


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    return str(write_weights(tmp_path_factory.mktemp('weights') / 'mobilenet.safetensors'))


@pytest.mark.parametrize('policy', ['first_stage', 'both_stages', 'until:5'])
def test_frozen_extractor_is_bit_identical_after_training(weights, policy):
    detector = RCNN(detector_config(weights=weights), CLASSES)
    apply_freeze(detector, detector.stages, policy)
    extractor, rest = copy(detector.neck.first_stage), copy(detector.rpn)
    for _ in range(2):
        step(detector)
    assert not changed(extractor, detector.neck.first_stage)
    assert changed(rest, detector.rpn)


def test_naive_training_changes_weights_but_not_batch_norm_statistics(weights):
    detector = RCNN(detector_config(weights=weights), CLASSES)
    report = apply_freeze(detector, detector.stages, 'none')
    before = copy(detector.neck.first_stage)
    step(detector)
    moved = changed(before, detector.neck.first_stage)
    assert moved
    assert not any('running' in key or 'batches' in key for key in moved)
    assert report.frozen == {}


def test_first_stage_of_c4_detector_leaves_the_second_to_train(weights):
    detector = RCNN(detector_config(weights=weights, neck='c4'), CLASSES)
    apply_freeze(detector, detector.stages, 'first_stage')
    first, second = (copy(detector.stages[k]) for k in ('first_stage', 'second_stage'))
    step(detector)
    assert not changed(first, detector.stages['first_stage'])
    assert changed(second, detector.stages['second_stage'])


def test_both_stages_of_c4_detector_stay(weights):
    detector = RCNN(detector_config(weights=weights, neck='c4'), CLASSES)
    report = apply_freeze(detector, detector.stages, 'both_stages')
    before = {k: copy(v) for k, v in detector.stages.items()}
    step(detector)
    assert not any(changed(before[k], detector.stages[k]) for k in before)
    assert set(report.frozen) == {'first_stage', 'second_stage'}


def test_report_counts_every_parameter_once(weights):
    detector = RCNN(detector_config(weights=weights), CLASSES)
    report = apply_freeze(detector, detector.stages, 'first_stage')
    total = sum(p.numel() for p in detector.parameters())
    assert sum(report.frozen.values()) + report.trainable == total
    assert f'{report.trainable:,} train' in str(report)


def test_until_thaws_at_its_step_and_not_before(weights):
    detector = RCNN(detector_config(weights=weights), CLASSES)
    report = apply_freeze(detector, detector.stages, 'until:3')
    assert not thaw_at(detector.stages, report, 2, 0.9)
    assert thaw_at(detector.stages, report, 3, 0.9)
    assert not thaw_at(detector.stages, report, 4, 0.9)
    before = copy(detector.neck.first_stage)
    step(detector)
    assert changed(before, detector.neck.first_stage)


def test_lasting_freeze_never_thaws(weights):
    detector = RCNN(detector_config(weights=weights), CLASSES)
    report = apply_freeze(detector, detector.stages, 'first_stage')
    assert not thaw_at(detector.stages, report, 10**9, 1.0)


def test_until_percent_thaws_at_its_share_of_the_run(weights):
    detector = RCNN(detector_config(weights=weights), CLASSES)
    report = apply_freeze(detector, detector.stages, 'until:40%')
    assert not thaw_at(detector.stages, report, 10**9, 0.39)
    assert thaw_at(detector.stages, report, 0, 0.4)


@pytest.mark.parametrize(('stride', 'last'), [(4, 3), (8, 6), (16, 13)])
def test_early_layers_stay_and_later_ones_train(weights, stride, last):
    detector = RCNN(detector_config(weights=weights), CLASSES)
    report = apply_freeze(detector, detector.stages, f'early:{stride}')
    blocks = detector.neck.first_stage.module.blocks
    before = [copy(block) for block in blocks]
    step(detector)
    moved = [bool(changed(a, b)) for a, b in zip(before, blocks, strict=True)]
    assert moved == [False] * (last + 1) + [True] * (len(blocks) - last - 1)
    frozen = sum(p.numel() for block in blocks[: last + 1] for p in block.parameters())
    assert report.frozen == {'first_stage': frozen}
    assert frozen + report.trainable == sum(p.numel() for p in detector.parameters())


def test_early_names_the_strides_there_are(weights):
    detector = RCNN(detector_config(weights=weights), CLASSES)
    with pytest.raises(FreezeError, match=r'early:5: wanted a stride.*, one of 4, 8'):
        apply_freeze(detector, detector.stages, 'early:5')


def test_early_is_refused_where_layers_cannot_be_told_apart():
    stage = Stage(nn.Conv2d(3, 4, 3), pretrained=True)
    with pytest.raises(FreezeError, match='runs as a whole'):
        apply_freeze(stage, {'first_stage': stage}, 'early:8')


def test_random_weights_are_not_frozen():
    detector = RCNN(detector_config(weights='none'), CLASSES)
    with pytest.raises(FreezeError, match='random weights of first_stage'):
        apply_freeze(detector, detector.stages, 'first_stage')


def test_unknown_policy_lists_the_choices():
    with pytest.raises(FreezeError, match='none, early:<stride>, first_stage'):
        apply_freeze(nn.Identity(), {}, 'half')


def test_frozen_stage_keeps_no_activations():
    stage = Stage(nn.Conv2d(3, 4, 3), pretrained=True)
    stage.freeze()
    image = torch.rand(1, 3, 8, 8)
    assert not stage(image).requires_grad
    stage.module.weight.requires_grad_(True)  # whatever happens inside
    assert not stage(image).requires_grad


def test_gradient_passes_through_a_frozen_stage_to_what_trains_before_it():
    torch.manual_seed(0)
    stage = Stage(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), pretrained=True)
    stage.freeze()
    image = torch.rand(1, 3, 8, 8)
    trained = image.clone().requires_grad_(True)
    torch.testing.assert_close(stage(trained), stage(image))
    stage(trained).square().sum().backward()
    assert trained.grad.any()
    assert all(p.grad is None for p in stage.parameters())


def test_random_batch_norm_learns_its_statistics():
    stage = Stage(nn.BatchNorm2d(3), pretrained=False)
    stage.train()
    stage(torch.rand(4, 3, 5, 5) + 3)
    assert stage.module.running_mean.abs().sum() > 0
