"""Gradient descent: a schedule that never rises again, layers that join in late, precision."""

import numpy as np
import pytest
import torch
from tiny import CLASSES, detector_config

from synth_detect_ros.config import OptimizerConfig
from synth_detect_ros.detectors.rcnn import RCNN
from synth_detect_ros.optimization import build_optimizer, has_bfloat16, learning_rate


@pytest.mark.parametrize('schedule', ['cosine', 'steps', 'constant'])
def test_learning_rate_warms_up_and_never_rises_again(schedule):
    config = OptimizerConfig(schedule=schedule, warmup_steps=10)
    rates = [learning_rate(config, step, step / 100) for step in range(100)]
    assert rates[0] == pytest.approx(config.lr / 10)
    assert (np.diff(rates[10:]) <= 1e-12).all()


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
