"""Gradient descent: a schedule that never rises again, layers that join in late, precision."""

import numpy as np
import pytest
import torch
from tiny import CLASSES, detector_config

from synth_detect_ros.config import OptimizerConfig
from synth_detect_ros.detectors.rcnn import RCNN
from synth_detect_ros.training.optimizer import (
    build_optimizer,
    has_bfloat16,
    learning_rate,
    set_learning_rate,
)


@pytest.mark.parametrize('schedule', ['cosine', 'steps', 'constant'])
def test_learning_rate_warms_up_and_never_rises_again(schedule):
    config = OptimizerConfig(schedule=schedule, warmup_steps=10)
    rates = [learning_rate(config, step, step / 100) for step in range(100)]
    assert rates[0] == pytest.approx(config.lr / 10)
    assert (np.diff(rates[10:]) <= 1e-12).all()


def test_toolchain_divides_by_ten_at_its_two_steps():
    config = OptimizerConfig(lr=3e-4, schedule='steps', milestones=(0.6, 0.8), warmup_steps=0)
    steps = (0, 899_999, 900_000, 1_199_999, 1_200_000, 1_499_999)
    rates = [learning_rate(config, step, step / 1_500_000) for step in steps]
    assert rates == pytest.approx([3e-4, 3e-4, 3e-5, 3e-5, 3e-6, 3e-6])


def test_extractor_has_a_learning_rate_of_its_own():
    config = OptimizerConfig(extractor_lr=0.1, weight_decay=0.0)
    detector = RCNN(detector_config(), CLASSES)
    optimizer = build_optimizer(config, detector)
    set_learning_rate(optimizer, config, 0.5)
    before = {name: p.detach().clone() for name, p in detector.named_parameters()}
    for parameter in detector.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    extractor = {id(p) for p in detector.stages['first_stage'].parameters()}
    for name, parameter in detector.named_parameters():
        moved = 0.05 if id(parameter) in extractor else 0.5
        wanted = torch.full_like(parameter, moved)
        torch.testing.assert_close(before[name] - parameter, wanted, atol=1e-5, rtol=0, msg=name)


def test_layers_that_thaw_later_train_with_the_others():
    detector = RCNN(detector_config(), CLASSES)
    optimizer = build_optimizer(OptimizerConfig(weight_decay=0.0), detector)
    first = next(detector.stages['first_stage'].parameters())
    last = detector.roi_heads.box_predictor.cls_score.bias
    grouped = [p for group in optimizer.param_groups for p in group['params']]
    assert {id(p) for p in grouped} == {id(p) for p in detector.parameters()}
    assert len(grouped) == len({id(p) for p in grouped})
    before = first.detach().clone(), last.detach().clone()
    for parameters in ([last], [last, first]):
        for parameter in parameters:
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
    lr = OptimizerConfig().lr
    assert torch.allclose(before[0] - first, torch.full_like(first, lr), atol=1e-6)
    assert torch.allclose(before[1] - last, torch.full_like(last, lr * 2.9), atol=1e-6)


@pytest.mark.parametrize(
    'found', [{}, {'amx_bf16': False, 'avx512_bf16': True}, {'amx_bf16': True}]
)
def test_precision_follows_what_the_processor_has(monkeypatch, found):
    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: found, raising=False)
    assert has_bfloat16(torch.device('cpu')) == any(found.values())
    monkeypatch.delattr(torch.cpu, 'get_capabilities')
    assert not has_bfloat16(torch.device('cpu'))
    assert not has_bfloat16(torch.device('meta'))
