"""Codes of boxes, where they lie as seen from anchors, proposals or default boxes; their loss.

With centres x, y, widths w and heights h of a box and, with index a, of its reference, the code is

    (s_x (x - x_a) / w_a,  s_y (y - y_a) / h_a,  s_w log(w / w_a),  s_h log(h / h_a))

Ren et al. 2015, eq. 2; the scales s bring all four to about the same spread.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.nn import functional

# Largest logarithm that is decoded: a box of 1000 pixels from a reference of 16.
MAX_LOG = math.log(1000 / 16)


class BoxCoder:
    """Turns boxes into codes and back; the methods are those that torchvision's networks call.

    Attributes:
        scales: s_x, s_y, s_w and s_h.
    """

    def __init__(self, scales: Sequence[float]) -> None:
        self.scales = tuple(scales)

    def encode_single(self, boxes: torch.Tensor, references: torch.Tensor) -> torch.Tensor:
        """Return the (N, 4) codes of (N, 4) boxes, xyxy edges [px], seen from as many others."""
        centres, sizes = _centres_and_sizes(boxes)
        origins, units = _centres_and_sizes(references)
        codes = torch.cat([centres - origins, torch.log(sizes / units)], dim=1)
        codes = torch.stack([s * c for s, c in zip(self.scales, codes.unbind(1), strict=True)], 1)
        return torch.cat([codes[:, :2] / units, codes[:, 2:]], dim=1)

    def encode(
        self, boxes: Sequence[torch.Tensor], references: Sequence[torch.Tensor]
    ) -> list[torch.Tensor]:
        """Return the codes of each image; see `encode_single`."""
        return [self.encode_single(b, r) for b, r in zip(boxes, references, strict=True)]

    def decode_single(self, codes: torch.Tensor, references: torch.Tensor) -> torch.Tensor:
        """Return the (N, 4) boxes, xyxy edges [px], of (N, 4) codes."""
        origins, units = _centres_and_sizes(references.to(codes.dtype))
        codes = torch.stack([c / s for s, c in zip(self.scales, codes.unbind(1), strict=True)], 1)
        centres = codes[:, :2] * units + origins
        halves = 0.5 * (torch.exp(codes[:, 2:].clamp(max=MAX_LOG)) * units)
        return torch.cat([centres - halves, centres + halves], dim=1)

    def decode(self, codes: torch.Tensor, references: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the (N, 1, 4) boxes of all images of (N, 4) codes; see `decode_single`."""
        return self.decode_single(codes, torch.cat(list(references)))[:, None]


def _centres_and_sizes(boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (N, 2) centres and (N, 2) sizes of (N, 4) boxes."""
    sizes = boxes[:, 2:] - boxes[:, :2]
    return boxes[:, :2] + 0.5 * sizes, sizes


def box_loss(
    deltas: torch.Tensor, targets: torch.Tensor, beta: float, sampled: int
) -> torch.Tensor:
    """Return the sum of the smooth L1 losses of positive boxes, over the size of the minibatch.

    With e = deltas - targets, the loss of a coordinate is e^2 / (2 beta) for |e| < beta, otherwise
    |e| - beta / 2 (Girshick 2015, eq. 3, where beta is 1).

    Args:
        deltas: (P, 4) predicted codes of the positive boxes.
        targets: (P, 4) codes of the objects they belong to.
        beta: error at which the square turns into a line, in the unit of the codes.
        sampled: boxes in the minibatch, negative ones included.
    """
    total = functional.smooth_l1_loss(deltas, targets, beta=beta, reduction='sum')
    return total / sampled
