"""Masks of single objects between the frame of their box and that of the image."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

# A mask gets a border of zeros before it is enlarged, so that it can end inside its box.
BORDER = 1


def paste_masks(
    masks: NDArray[np.float32], boxes: NDArray[np.float64], height: int, width: int
) -> NDArray[np.bool_]:
    """Enlarge masks to their boxes in the image; only the pixels of each box are computed.

    The same pixels as torchvision's `paste_masks_in_image` at a threshold of 0.5, but for
    rounding where the interpolated value is 0.5.

    Args:
        masks: (N, M, M) probabilities over each box.
        boxes: (N, 4) [px, edges].
        height: of the image [px].
        width: of the image [px].

    Returns:
        (N, height, width) bool.
    """
    pasted = np.zeros((len(masks), height, width), bool)
    if not len(masks):
        return pasted
    side = masks.shape[-1]
    padded = np.pad(masks, ((0, 0), (BORDER, BORDER), (BORDER, BORDER)))
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]) / 2 * (side + 2 * BORDER) / side
    corners = np.concatenate([centre - half, centre + half], 1).astype(np.int64)
    for target, mask, (x1, y1, x2, y2) in zip(pasted, padded, corners.tolist(), strict=True):
        size = (max(x2 - x1 + 1, 1), max(y2 - y1 + 1, 1))
        region = cv2.resize(mask, size, interpolation=cv2.INTER_LINEAR) >= 0.5
        left, top = max(x1, 0), max(y1, 0)
        inside = region[top - y1 : height - y1, left - x1 : width - x1]
        target[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    return pasted


def bounding_slices(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the rows and columns of a (H, W) mask's pixels; empty ones for an empty mask."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return slice(y, y + height), slice(x, x + width)
