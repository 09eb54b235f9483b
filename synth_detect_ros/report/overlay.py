"""Drawing detections and ground truth on images, for people."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from synth_detect_ros.geometry.boxes import pixels_from_edges
from synth_detect_ros.geometry.masks import bounding_slices
from synth_detect_ros.structures import Detections

Colour = tuple[int, int, int]
# Bright and far from one another (after Okabe & Ito 2008, for colour-blind readers), RGB.
PALETTE: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (213, 94, 0),
    (204, 121, 167),
    (240, 228, 66),
    (0, 114, 178),
)
GREEN: Colour = (0, 200, 80)
# Of masks: the object under them is still seen.
OPACITY = 0.4


def class_colour(label: int) -> Colour:
    """Return the RGB colour of a class; the palette repeats."""
    return PALETTE[label % len(PALETTE)]


def draw_detections(
    image: NDArray[np.uint8], detections: Detections, classes: Sequence[str]
) -> NDArray[np.uint8]:
    """Draw masks, boxes, names and scores.

    Args:
        image: (H, W, 3) uint8 RGB.
        detections: of this image, masks (N, H, W).
        classes: names of the labels.

    Returns:
        (H, W, 3) uint8 RGB copy; the best detection lies on top.
    """
    canvas = np.ascontiguousarray(image.copy())
    # Worst first, so that the best one is never covered.
    for i in reversed(range(len(detections))):
        label = int(detections.labels[i])
        colour = class_colour(label)
        if detections.masks is not None:
            draw_mask(canvas, detections.masks[i], colour)
        text = f'{classes[label]} {detections.scores[i]:.2f}'
        draw_boxes(canvas, detections.boxes[i : i + 1], [text], colour)
    return canvas


def draw_mask(canvas: NDArray[np.uint8], mask: NDArray[np.bool_], colour: Colour) -> None:
    """Tint the pixels of a (H, W) bool mask on an (H, W, 3) uint8 RGB image, in place."""
    region = bounding_slices(mask)
    if not mask[region].size:
        return
    part = canvas[region]
    tinted = cv2.addWeighted(part, 1 - OPACITY, np.full_like(part, colour), OPACITY, 0)
    np.copyto(part, tinted, where=mask[region][..., None])


def draw_boxes(
    canvas: NDArray[np.uint8], boxes: ArrayLike, labels: Sequence[str], colour: Colour
) -> None:
    """Draw boxes with a text each, in place; lines run along their outermost pixels, inwards.

    Args:
        canvas: (H, W, 3) uint8 RGB, contiguous.
        boxes: (N, 4) boxes [px, edges]; what lies outside the image is cut off.
        labels: N texts; empty ones are not drawn.
        colour: RGB.
    """
    thickness = line_width(canvas)
    corners = pixels_from_edges(np.asarray(boxes, np.float64).reshape(-1, 2, 2))
    inside = np.array([[0.5], [-0.5]])  # from the edges to the first and last pixel centre
    corners = np.round(corners + inside).astype(int)
    for (low, high), text in zip(corners, labels, strict=True):
        for inset in range(thickness):
            a, b = (low + inset).tolist(), (high - inset).tolist()
            cv2.rectangle(canvas, a, b, colour, 1)
        if text:
            _draw_text(canvas, text, low, colour)


def line_width(image: NDArray[np.uint8]) -> int:
    """Return the width of lines [px] that reads well at this image size."""
    return max(1, round(min(image.shape[:2]) / 240))


def _draw_text(
    canvas: NDArray[np.uint8], text: str, corner: NDArray[np.int_], colour: Colour
) -> None:
    """Write on a filled strip above a box's corner, moved to stay inside the image."""
    scale = max(0.35, min(canvas.shape[:2]) / 1100)
    stroke = max(1, round(scale * 1.6))
    (width, height), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, stroke)
    strip = height + base + 2
    x = int(np.clip(corner[0], 0, max(0, canvas.shape[1] - width)))
    y = int(np.clip(corner[1] - strip, 0, max(0, canvas.shape[0] - strip)))
    cv2.rectangle(canvas, (x, y), (x + width, y + strip), colour, cv2.FILLED)
    dark = sum(colour) > 382
    ink = (0, 0, 0) if dark else (255, 255, 255)
    place = (x, y + height + 1)
    cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, ink, stroke, cv2.LINE_AA)
