"""A camera model on the whole image: lens, exposure, noise, white balance, compression.

In the order in which light meets them, after Carlson, Skinner & Vasudevan 2018, "Modeling camera
effects to improve visual learning from synthetic data", with noise on linear light.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.config import SensorConfig

# Grey values to linear light and back, as the sRGB curve does up to 2 %.
GAMMA = 2.2
_LINEAR = (np.arange(256, dtype=np.float32) / 255) ** GAMMA


def apply_sensor(
    image: NDArray[np.uint8], config: SensorConfig, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Return the (H, W, 3) uint8 RGB image as a real camera might have delivered it."""
    shift = rng.uniform(*config.chromatic_aberration_px) * rng.choice((-1, 1))
    defocus, exposure = rng.uniform(*config.blur_sigma_px), rng.uniform(*config.exposure_ev)
    shot, read = rng.uniform(*config.shot_noise), rng.uniform(*config.read_noise)
    gains = np.clip(rng.normal(1, config.white_balance, 3), 0.2, 5).astype(np.float32)
    low, high = config.jpeg_quality
    quality = int(rng.integers(low, high + 1))
    if shift:
        image = chromatic_aberration(image, shift)
    if defocus > 0:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), defocus), np.uint8)
    light = _LINEAR[image] * np.float32(2**exposure)
    sigma = np.sqrt(shot * light + np.float32(read**2))
    light += sigma * rng.standard_normal(light.shape, np.float32)
    light = np.clip(light, 0, 1) * gains
    grey = np.rint(255 * np.clip(light, 0, 1) ** (1 / GAMMA)).astype(np.uint8)
    _, code = cv2.imencode(
        '.jpg', cv2.cvtColor(grey, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    delivered = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.uint8)
    return np.asarray(cv2.cvtColor(delivered, cv2.COLOR_BGR2RGB), np.uint8)


def chromatic_aberration(image: NDArray[np.uint8], shift_px: float) -> NDArray[np.uint8]:
    """Enlarge red and shrink blue about the centre, by `shift_px` at the corners."""
    height, width = image.shape[:2]
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    channels = list(cv2.split(image))
    for channel, sign in ((0, 1), (2, -1)):
        scale = 1 + sign * shift_px / np.linalg.norm(centre + 0.5)
        matrix = np.hstack([np.eye(2) * scale, (centre * (1 - scale))[:, None]])
        channels[channel] = cv2.warpAffine(
            channels[channel], matrix, (width, height), borderMode=cv2.BORDER_REPLICATE
        )
    return np.asarray(cv2.merge(channels), np.uint8)
