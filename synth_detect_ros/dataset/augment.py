"""Random changes of a training image when it is loaded: colours, and a flip with its target."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from synth_detect_ros.config import AugmentConfig

# Boxes, labels and perhaps masks of an image; see `detectors.detector.Target`.
Target = dict[str, torch.Tensor]
Item = tuple[NDArray[np.uint8], Target]


@dataclass(frozen=True)
class Change:
    """What is changed in one image.

    Attributes:
        hue: shift [steps of OpenCV's colour circle of 180].
        saturation: factor.
        contrast: factor around middle grey.
        brightness: offset [grey levels].
        flip: left becomes right.
    """

    hue: int
    saturation: float
    contrast: float
    brightness: float
    flip: bool

    def image(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the changed image; (H, W, 3) uint8 RGB, like the argument."""
        levels = np.arange(256)
        if self.hue or self.saturation != 1:
            hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
            hue = ((levels + self.hue) % 180).astype(np.uint8)
            saturation = np.clip(levels * self.saturation, 0, 255).astype(np.uint8)
            table = np.stack([hue, saturation, levels.astype(np.uint8)], axis=1)[None]
            image = np.asarray(cv2.cvtColor(cv2.LUT(hsv, table), cv2.COLOR_HSV2RGB), np.uint8)
        grey = (levels - 128) * self.contrast + 128 + self.brightness
        image = np.asarray(cv2.LUT(image, np.clip(grey, 0, 255).astype(np.uint8)), np.uint8)
        return np.ascontiguousarray(image[:, ::-1]) if self.flip else image

    def target(self, target: Target, width: int) -> Target:
        """Return the target of the changed image.

        Args:
            target: `boxes` (N, 4) [px, edges], `labels` (N,), and perhaps `masks` (N, H, W).
            width: of the image [px].
        """
        if not self.flip:
            return target
        flipped = {**target, 'boxes': target['boxes'].clone()}
        flipped['boxes'][:, [0, 2]] = width - target['boxes'][:, [2, 0]]
        if 'masks' in target:
            flipped['masks'] = target['masks'].flip(2)
        return flipped


def draw_change(augment: AugmentConfig, rng: np.random.Generator) -> Change:
    """Draw the change of an image within the limits of a configuration."""
    hue, saturation = 0, 1.0
    if augment.hue or augment.saturation:
        hue = int(rng.uniform(-augment.hue, augment.hue) * 180)
        saturation = 1 + rng.uniform(-augment.saturation, augment.saturation)
    contrast = 1 + rng.uniform(-augment.contrast, augment.contrast)
    brightness = 255 * rng.uniform(-augment.brightness, augment.brightness) / 2
    flip = augment.flip and rng.random() < 0.5
    return Change(hue, saturation, contrast, brightness, flip)
