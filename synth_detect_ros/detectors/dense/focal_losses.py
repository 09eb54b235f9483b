"""Losses of scores, boxes and masks; sums over all cells of a batch, for one normaliser."""

from __future__ import annotations

import torch
from torch.nn import functional
from torchvision.ops import generalized_box_iou_loss


def quality_focal_loss(logits: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
    """Return the summed quality focal loss, -|y - s|^2 ((1 - y) log(1 - s) + y log s).

    Li et al. 2020, eq. 5, with beta = 2.

    Args:
        logits: of the scores s.
        quality: the scores y that they are to have, in [0, 1]; same shape.
    """
    entropy = functional.binary_cross_entropy_with_logits(logits, quality, reduction='none')
    return (entropy * (quality - logits.sigmoid()).square()).sum()


def distribution_focal_loss(
    codes: torch.Tensor, wanted: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Return the weighted sum of the distribution focal losses of cells.

    -((i + 1 - y) log S_i + (y - i) log S_{i+1}) for a distance y in [i, i + 1] (Li et al. 2020,
    eq. 6), the mean over the four sides of a box.

    Args:
        codes: (P, 4 (bins + 1)) logits of the distances.
        wanted: (P, 4) distances; those beyond the range of the bins are brought into it [strides].
        weights: (P,) of the cells.
    """
    logits = codes.reshape(len(codes), 4, codes.shape[1] // 4).transpose(1, 2)
    last = logits.shape[1] - 1
    wanted = wanted.clamp(0, last - 1e-3)
    below = wanted.long()
    share = wanted - below
    entropies = [functional.cross_entropy(logits, below + i, reduction='none') for i in (0, 1)]
    loss = entropies[0] * (1 - share) + entropies[1] * share
    return (loss.mean(dim=1) * weights).sum()


def box_loss(boxes: torch.Tensor, wanted: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the weighted sum of 1 - GIoU (Rezatofighi et al. 2019).

    Args:
        boxes: (P, 4) xyxy edges [px].
        wanted: (P, 4) likewise.
        weights: (P,) of the cells.
    """
    return (generalized_box_iou_loss(boxes, wanted) * weights).sum()
