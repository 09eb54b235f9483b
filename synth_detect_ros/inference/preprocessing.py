"""An image on its way into the network when it runs on one image at a time.

The values are those that `to_tensor` and torchvision's `GeneralizedRCNNTransform` prepare for
`Detector.detect`: normalised, resized, padded. A table and OpenCV make them several times as fast.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from synth_detect_ros.detectors.detector import Detector


class Preprocessing:
    """Turns an image into the network's input.

    Args:
        mean: of RGB in [0, 1].
        std: likewise.
        min_side: shorter side the network sees [px], unless the longer one would exceed
        max_side: [px].
        fixed_size: width and height the network sees of every image instead [px].
        divisor: sides are padded to multiples of it [px].
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        min_side: int,
        max_side: int,
        fixed_size: Sequence[int] | None = None,
        divisor: int = 32,
    ) -> None:
        values = np.arange(256, dtype=np.float32)[:, None] / np.float32(255)
        table = (values - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
        self._table: NDArray[np.float32] = table.astype(np.float32)[None]
        self._min_side, self._max_side = min_side, max_side
        self._fixed_size, self._divisor = fixed_size, divisor

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width that the network sees of an image of this size [px]."""
        if self._fixed_size is not None:
            return self._fixed_size[1], self._fixed_size[0]
        scale = min(self._min_side / min(height, width), self._max_side / max(height, width))
        return math.floor(height * scale), math.floor(width * scale)

    def padding(self, height: int, width: int) -> tuple[int, int]:
        """Return how many zeros follow below and at the right of an image of this size [px]."""
        return -height % self._divisor, -width % self._divisor

    def __call__(self, image: NDArray[np.uint8]) -> tuple[torch.Tensor, tuple[int, int]]:
        """Prepare an image.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            (1, 3, H', W') float32, channels last, normalised, zeros below and right; and the
            height and width of the image in it [px].
        """
        height, width = self.size(*image.shape[:2])
        pixels = cv2.LUT(np.ascontiguousarray(image), self._table)
        if pixels.shape[:2] != (height, width):
            pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
        down, right = self.padding(height, width)
        if down or right:
            pixels = cv2.copyMakeBorder(pixels, 0, down, 0, right, cv2.BORDER_CONSTANT, value=0)
        return torch.from_numpy(pixels)[None].permute(0, 3, 1, 2), (height, width)


def preprocessing_of(detector: Detector) -> Preprocessing:
    """Return the preprocessing of a detector's images."""
    config = detector.config
    return Preprocessing(
        detector.transform.image_mean, detector.transform.image_std,
        config.min_side, config.max_side, config.fixed_size, detector.divisor,
    )  # fmt: skip
