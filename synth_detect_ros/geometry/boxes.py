"""Boxes: THE convention, and everything computed on them.

A box is `x_min, y_min, x_max, y_max` in *edge* coordinates: the pixel in column u covers
[u, u + 1), so a box of one pixel has unit size and x_max = last column + 1. COCO and
torchvision's detectors agree with this. *Pixel* coordinates (OpenCV, ROS, `geometry.camera`) put
integers at pixel centres instead, half a pixel away; `edges_from_pixels` and `pixels_from_edges`
are the only two functions that cross between the frames.
"""

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Boxes = NDArray[np.float64]


def edges_from_pixels(pixels: ArrayLike) -> NDArray[np.float64]:
    """Pixel coordinates (integers at pixel centres) to edge coordinates (integers at edges)."""
    return np.asarray(pixels, np.float64) + 0.5


def pixels_from_edges(edges: ArrayLike) -> NDArray[np.float64]:
    """Edge coordinates (integers at pixel edges) to pixel coordinates (integers at centres)."""
    return np.asarray(edges, np.float64) - 0.5


def box_of_mask(mask: NDArray[np.bool_]) -> Boxes:
    """Return the tight box of a mask.

    Args:
        mask: (H, W) bool.

    Returns:
        (4,) float64 x_min, y_min, x_max, y_max [px, edges]; all zero for an empty mask.
    """
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return np.array([x, y, x + width, y + height], np.float64)


def boxes_of_ids(ids: NDArray[np.integer], count: int) -> Boxes:
    """Return the tight box of each instance in an id image.

    Args:
        ids: (H, W) integer, 0 for background and 1..count for instances.
        count: number of instances.

    Returns:
        (count, 4) float64 boxes [px, edges]; a row of zeros for an instance without pixels.
    """
    return np.array([box_of_mask(ids == i + 1) for i in range(count)]).reshape(count, 4)


def area(boxes: ArrayLike) -> NDArray[np.float64]:
    """Return the areas (N,) [px^2] of (N, 4) boxes; an inverted box has area 0."""
    b = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.prod(np.clip(b[:, 2:] - b[:, :2], 0, None), axis=1)


def iou(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Return intersection over union of all pairs.

    Args:
        a: (N, 4) boxes.
        b: (M, 4) boxes.

    Returns:
        (N, M) float64 in [0, 1]; 0 where both boxes are empty.
    """
    a_boxes = np.asarray(a, np.float64).reshape(-1, 4)
    b_boxes = np.asarray(b, np.float64).reshape(-1, 4)
    low = np.maximum(a_boxes[:, None, :2], b_boxes[None, :, :2])
    high = np.minimum(a_boxes[:, None, 2:], b_boxes[None, :, 2:])
    inter = np.prod(np.clip(high - low, 0, None), axis=2)
    union = area(a_boxes)[:, None] + area(b_boxes)[None] - inter
    return np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)


def xywh_from_xyxy(boxes: ArrayLike) -> Boxes:
    """(N, 4) x_min, y_min, x_max, y_max to COCO's x, y, width, height."""
    b = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.concatenate([b[:, :2], b[:, 2:] - b[:, :2]], axis=1)


def xyxy_from_xywh(boxes: ArrayLike) -> Boxes:
    """(N, 4) COCO x, y, width, height to x_min, y_min, x_max, y_max."""
    b = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.concatenate([b[:, :2], b[:, :2] + b[:, 2:]], axis=1)
