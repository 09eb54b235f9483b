"""Losses that the stages of a detector have in common, and their weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn import functional

from synth_detect_ros.config import LossConfig


def box_loss(
    deltas: torch.Tensor, targets: torch.Tensor, beta: float, sampled: int
) -> torch.Tensor:
    """Return the sum of the smooth L1 losses of positive boxes, over the size of the minibatch.

    With e = deltas - targets, a coordinate costs e^2 / (2 beta) for |e| < beta, otherwise
    |e| - beta / 2 (Girshick 2015, eq. 3, where beta is 1).

    Args:
        deltas: (P, 4) predicted codes of the positive boxes.
        targets: (P, 4) codes of the objects they belong to.
        beta: error at which the square turns into a line, in the unit of the codes.
        sampled: boxes in the minibatch, negative ones included.
    """
    total = functional.smooth_l1_loss(deltas, targets, beta=beta, reduction='sum')
    return total / sampled


def weigh(losses: Mapping[str, torch.Tensor], config: LossConfig) -> dict[str, torch.Tensor]:
    """Return the losses of a detector, by torchvision's names, times their weights."""
    weights = {
        'loss_objectness': config.objectness,
        'loss_rpn_box_reg': config.rpn_box,
        'loss_classifier': config.classes,
        'loss_box_reg': config.box,
        'loss_mask': config.mask,
    }
    return {name: weights[name] * loss for name, loss in losses.items()}
