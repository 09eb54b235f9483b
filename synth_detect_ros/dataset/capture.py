"""Which frames of a live camera are worth keeping as backgrounds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.config import CaptureConfig

# Frames are compared at this size (width, height): large enough to see that the camera moved,
# small enough that noise averages out.
_THUMBNAIL = (32, 24)
# Sharpness is measured at this width at most, so that a threshold means the same for a 640x480
# and a 1600x1200 camera, and Bayer or sensor noise does not pass for detail.
_SHARPNESS_WIDTH = 640
# After so long without a frame worth keeping somebody is told [s].
STALL_S = 30.0
# Grey levels that count as clipped: lossy codecs and debayering blur the ends of the scale.
_BLACK, _WHITE = 5, 250


@dataclass(frozen=True)
class Judgement:
    """What was decided about one frame.

    Attributes:
        keep: whether the frame is worth keeping.
        reason: why not, in plain words; empty when it is.
        sharpness: variance of the Laplacian [grey levels^2].
    """

    keep: bool
    reason: str
    sharpness: float


class FrameSelector:
    """Keeps frames that are sharp, well exposed, new and not too close in time.

    `judge` decides and changes nothing; `add` says that a frame was kept.

    Args:
        config: the thresholds.
        kept: (H, W, 3) uint8 RGB frames that a former run kept.
    """

    def __init__(self, config: CaptureConfig, kept: Iterable[NDArray[np.uint8]] = ()) -> None:
        self._config = config
        self._thumbnails = [_thumbnail(_grey(image)) for image in kept]
        self._last_time: float | None = None

    def judge(self, image: NDArray[np.uint8], time_s: float) -> Judgement:
        """Decide about a frame.

        Args:
            image: (H, W, 3) uint8 RGB.
            time_s: when it came, on a clock that never jumps [s].

        Source: variance of the Laplacian as focus measure: Pech-Pacheco et al. 2000.
        """
        config, grey = self._config, _grey(image)
        sharpness = _sharpness(grey)
        clipped = float(np.mean((grey <= _BLACK) | (grey >= _WHITE)))
        difference = self._difference(grey)
        if self._last_time is not None and time_s - self._last_time < config.min_interval_s:
            reason = f'less than {config.min_interval_s:g} s after the last one'
        elif clipped > config.max_clipped:
            reason = (
                f'{clipped:.0%} of it is black or white, more than max_clipped, '
                f'{config.max_clipped:.0%}'
            )
        elif sharpness < config.min_sharpness:
            reason = f'blurred: sharpness {sharpness:.1f}, min_sharpness {config.min_sharpness:g}'
        elif difference < config.min_difference:
            reason = (
                f'like a frame that is kept: difference {difference:.1f}, min_difference '
                f'{config.min_difference:g}'
            )
        else:
            reason = ''
        return Judgement(not reason, reason, sharpness)

    def add(self, image: NDArray[np.uint8], time_s: float) -> None:
        """Take note of a frame that was kept, whatever the judgement on it."""
        self._thumbnails.append(_thumbnail(_grey(image)))
        self._last_time = time_s

    def _difference(self, grey: NDArray[np.uint8]) -> float:
        """Return the mean absolute difference from the most similar kept frame."""
        thumbnail = _thumbnail(grey)
        return min((float(np.abs(thumbnail - t).mean()) for t in self._thumbnails), default=np.inf)


def stall(seconds: float, reason: str) -> str:
    """Return what to tell where images come and none was kept for long; empty before that.

    Args:
        seconds: since the last frame was kept [s].
        reason: of the last judgement.
    """
    if seconds < STALL_S or not reason:
        return ''
    return (
        f'no frame was worth keeping for {seconds:.0f} s. Move the camera on, or change the '
        f'option that decides; the last one was left out: {reason}'
    )


def _grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)


def _thumbnail(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    return cv2.resize(grey, _THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32)


def _sharpness(grey: NDArray[np.uint8]) -> float:
    height, width = grey.shape
    if width > _SHARPNESS_WIDTH:
        size = (_SHARPNESS_WIDTH, max(1, round(height * _SHARPNESS_WIDTH / width)))
        grey = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var())
