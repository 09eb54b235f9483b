"""Masks as sums of prototypes: learning and cropping them (Bolya et al. 2019, sec. 3)."""

from __future__ import annotations

import torch
from torch.nn import functional
from torchvision.ops import roi_align

from synth_detect_ros.detectors.one_stage import is_traced

# Side of the masks that are cut out, each over its box.
SIDE = 64


def mask_loss(
    coefficients: torch.Tensor,
    prototypes: torch.Tensor,
    objects: torch.Tensor,
    masks: torch.Tensor,
    boxes: torch.Tensor,
    stride: int,
) -> torch.Tensor:
    """Return the losses of the masks of some cells, (P,).

    Binary cross entropy within the box, over its area, and dice loss (Milletari et al. 2016) of
    the same cells. A cell that the object covers in part is to have that part as its value: the
    contour then lies where interpolation says one half.

    Args:
        coefficients: (P, M) of the cells.
        prototypes: (M, h, w) of the image.
        objects: (P,) index of the object of each cell.
        masks: (N, H, W) of the objects, in the frame of the network's image, without padding.
        boxes: (N, 4) of the objects, xyxy edges [px].
        stride: of the prototypes [px].
    """
    height, width = prototypes.shape[1:]
    logits = torch.einsum('pm,mhw->phw', coefficients, prototypes)
    wanted = shrink_masks(masks, (height, width), stride)[objects]
    inside = box_cells(boxes, (height, width), stride)[objects]
    cells = inside.sum(dim=(1, 2)).clamp_min(1)
    entropy = functional.binary_cross_entropy_with_logits(logits, wanted, reduction='none')
    values = logits.sigmoid() * inside
    wanted = wanted * inside
    common = (values * wanted).sum(dim=(1, 2))
    both = values.square().sum(dim=(1, 2)) + wanted.square().sum(dim=(1, 2))
    dice = 1 - (2 * common + 1) / (both + 1)
    return (entropy * inside).sum(dim=(1, 2)) / cells + dice


def shrink_masks(masks: torch.Tensor, size: tuple[int, int], stride: int) -> torch.Tensor:
    """Return (N, h, w) float shares of each cell that masks (N, H, W) cover."""
    height, width = size
    padded = masks.new_zeros((len(masks), height * stride, width * stride), dtype=torch.float32)
    padded[:, : masks.shape[1], : masks.shape[2]] = masks
    return functional.avg_pool2d(padded[:, None], stride)[:, 0]


def box_cells(boxes: torch.Tensor, size: tuple[int, int], stride: int) -> torch.Tensor:
    """Return (N, h, w) bool: cells that a box touches."""
    y = torch.arange(size[0], device=boxes.device)[None, :, None] * stride
    x = torch.arange(size[1], device=boxes.device)[None, None] * stride
    x1, y1, x2, y2 = (side[:, None, None] for side in boxes.unbind(dim=1))
    return (x + stride > x1) & (x < x2) & (y + stride > y1) & (y < y2)


def crop_masks(
    coefficients: torch.Tensor, prototypes: torch.Tensor, boxes: torch.Tensor, stride: int
) -> torch.Tensor:
    """Return (N, 1, SIDE, SIDE) probabilities over each box.

    Args:
        coefficients: (N, M) of the detections.
        prototypes: (M, h, w) of the image.
        boxes: (N, 4) of the detections, xyxy edges [px].
        stride: of the prototypes [px].
    """
    if not is_traced() and not len(boxes):
        return boxes.new_zeros((0, 1, SIDE, SIDE))
    logits = torch.unflatten(coefficients @ prototypes.flatten(1), 1, (1, *prototypes.shape[1:]))
    index = torch.arange(boxes.shape[0], dtype=boxes.dtype, device=boxes.device)[:, None]
    rois = torch.cat([index, boxes], dim=1)
    return roi_align(logits, rois, SIDE, 1 / stride, sampling_ratio=1, aligned=True).sigmoid()
