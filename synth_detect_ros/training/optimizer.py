"""Gradient descent of a training run: its optimiser, learning rate and precision."""

from __future__ import annotations

import math

import torch

from synth_detect_ros.config import OptimizerConfig
from synth_detect_ros.detectors.detector import Detector


def build_optimizer(config: OptimizerConfig, detector: Detector) -> torch.optim.SGD:
    """Return SGD with two groups: the pre-trained extractor, which may thaw, is the second."""
    stages = [p for stage in detector.stages.values() for p in stage.pretrained_parameters()]
    known = set(map(id, stages))
    rest = [p for p in detector.parameters() if id(p) not in known]
    return torch.optim.SGD(
        [{'params': rest}, {'params': stages}],
        lr=config.lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        fused=stages[0].device.type in ('cpu', 'cuda'),
    )


def learning_rate(config: OptimizerConfig, step: int, share: float) -> float:
    """Return the learning rate of a step.

    Args:
        config: the schedule.
        step: steps done before.
        share: share of the run that is done, in [0, 1].
    """
    warmup = min((step + 1) / max(config.warmup_steps, 1), 1.0)
    if config.schedule == 'cosine':
        return config.lr * warmup * (1 + math.cos(math.pi * share)) / 2
    if config.schedule == 'steps':
        return config.lr * warmup * 0.1 ** sum(share >= m for m in config.milestones)
    return config.lr * warmup


def set_learning_rate(
    optimizer: torch.optim.Optimizer, config: OptimizerConfig, lr: float
) -> None:
    """Give the groups of `build_optimizer` the learning rate of a step, the extractor its own."""
    rest, stages = optimizer.param_groups
    rest['lr'], stages['lr'] = lr, lr * config.extractor_lr


def has_bfloat16(device: torch.device) -> bool:
    """Return whether a device computes in bfloat16 faster than in float32."""
    if device.type == 'cuda':
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != 'cpu' or not hasattr(torch.cpu, 'get_capabilities'):  # before PyTorch 2.10
        return False
    found = torch.cpu.get_capabilities()
    return bool(found.get('amx_bf16') or found.get('avx512_bf16'))
