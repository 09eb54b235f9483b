"""The loss of boxes, which all stages of all detectors have."""

from __future__ import annotations

import torch
from torch.nn import functional


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
