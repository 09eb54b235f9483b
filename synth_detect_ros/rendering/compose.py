"""Rendering over real background: noise, blur, blending, and a camera model on the whole image.

After Hinterstoisser et al. 2017, sec. 3.1: what a renderer leaves too clean is made as unclean as
the photo around it. All steps but the camera model touch the objects' own region only.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from statistics import NormalDist
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.config import BackgroundConfig, ComposeConfig
from synth_detect_ros.geometry.boxes import box_of_mask
from synth_detect_ros.rendering.renderer import Canvas, Window

Image = NDArray[np.uint8]
# Standard deviations after which a Gaussian is cut off.
BLUR_REACH = 3.0
# OpenCV's codes of one to three quarter turns to the left, and of (up-down, left-right) flips.
QUARTER_TURNS = (cv2.ROTATE_90_COUNTERCLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_CLOCKWISE)
FLIPS = {(1, 0): 0, (0, 1): 1, (1, 1): -1}


def vary_background(
    frame: Image, size: tuple[int, int], config: BackgroundConfig, rng: np.random.Generator
) -> Image:
    """Turn, flip, crop, resize and recolour a background frame.

    Args:
        frame: (h, w, 3) uint8.
        size: width and height of the result [px].
        config: which of the steps are on.
        rng: as many numbers are drawn whatever is switched on.

    Returns:
        (size[1], size[0], 3) uint8.
    """
    turns, flips, share = int(rng.integers(4)), rng.integers(2, size=2), rng.uniform(*config.crop)
    corner, channels = rng.random(2), rng.permutation(3)
    turns = turns if config.rotate else 0
    wanted = size[::-1] if turns % 2 else size  # before the turn
    h, w = frame.shape[:2]
    scale = min(w / wanted[0], h / wanted[1]) * share
    width, height = max(round(wanted[0] * scale), 1), max(round(wanted[1] * scale), 1)
    x, y = int(corner[0] * (w - width + 1)), int(corner[1] * (h - height + 1))
    image: NDArray[Any] = frame[y : y + height, x : x + width]
    # OpenCV takes a crop as it lies and is several times faster than NumPy's views of an image.
    if (width, height) != wanted:
        how = cv2.INTER_AREA if width > wanted[0] else cv2.INTER_LINEAR
        image = cv2.resize(image, wanted, interpolation=how)
    if turns:
        image = cv2.rotate(image, QUARTER_TURNS[turns - 1])
    if config.flip and flips.any():
        image = cv2.flip(image, FLIPS[int(flips[0]), int(flips[1])])
    if config.swap_channels:
        planes = cv2.split(image)
        image = cv2.merge([planes[k] for k in channels])
    return np.ascontiguousarray(image, np.uint8)


def compose(
    background: Image, canvas: Canvas, config: ComposeConfig, rng: np.random.Generator
) -> Image:
    """Put the objects of a canvas on a background.

    Args:
        background: (H, W, 3) uint8.
        canvas: the rendered objects, of the same size.
        config: which of the steps are on.
        rng: source of the noise and of the strengths drawn from their ranges.

    Returns:
        (H, W, 3) uint8; away from the objects it is the background.
    """
    noise = rng.uniform(*config.noise_sigma) if config.noise else 0.0
    blur = rng.uniform(*config.blur_sigma_px) if config.blur else 0.0
    feather = config.feather_px if config.blending == 'gaussian' else 0.0
    image = background.copy()
    margin = 2 * int(np.ceil(BLUR_REACH * max(blur, feather))) + 2
    for window in _windows(canvas, margin):
        front = canvas.colour[window]
        if noise:
            front = add_noise(front, noise, rng)
        merged = _blend(image[window], front, config)
        if blur:
            merged = _blur_objects(merged, _alpha(front), blur)
        image[window] = merged
    return image


def add_noise(front: Image, sigma: float, rng: np.random.Generator) -> Image:
    """Add Gaussian noise of `sigma` grey levels to the covered part of premultiplied RGBA.

    The noise of a pixel is in proportion to its alpha, and rounded to whole grey levels.
    """
    noisy = front.copy()
    pixels = noisy.reshape(-1, 4).view(np.uint32)  # one number a pixel: fast to pick
    covered = np.flatnonzero(_alpha(noisy))
    if not len(covered):
        return noisy
    chosen = pixels[covered].view(np.uint8)
    noise = _grey_noise(3 * len(covered), sigma, rng).reshape(1, -1, 3)
    outline = np.flatnonzero(chosen[:, 3] < 255)
    alpha = chosen[outline, 3:]
    noise[0, outline] = np.rint(noise[0, outline] * (alpha.astype(np.float32) / 255))
    colour = cv2.add(cv2.cvtColor(chosen[None], cv2.COLOR_RGBA2RGB), noise, dtype=cv2.CV_8U)
    chosen = cv2.cvtColor(colour, cv2.COLOR_RGB2RGBA)[0]  # alpha 255 everywhere
    chosen[outline] = np.minimum(chosen[outline], alpha)
    pixels[covered] = chosen.view(np.uint32)
    return noisy


def _alpha(front: Image) -> NDArray[np.uint8]:
    return np.asarray(cv2.extractChannel(front, 3), np.uint8)


@cache
def _normal_quantiles() -> NDArray[np.float32]:
    """Return the normal distribution cut into 2^16 equally likely values, up to 4.3 sigma."""
    normal = NormalDist()
    return np.array([normal.inv_cdf((i + 0.5) / 2**16) for i in range(2**16)], np.float32)


def _grey_noise(count: int, sigma: float, rng: np.random.Generator) -> NDArray[np.int16]:
    """Return `count` normal numbers of standard deviation `sigma`, rounded.

    Looked up by 16 random bits each, several times faster than drawing and rounding floats.
    """
    levels = np.rint(_normal_quantiles() * np.float32(sigma)).astype(np.int16)
    return levels.take(np.frombuffer(rng.bytes(2 * count), '<u2'), mode='wrap')


def _windows(canvas: Canvas, margin: int) -> Iterable[Window]:
    """Return disjoint windows of the image that hold all layers and a margin around them."""
    height, width = canvas.ids.shape
    boxes = []
    for layer in canvas.layers:
        y, x = layer.window(width, height)[0]
        box = np.array([x.start - margin, y.start - margin, x.stop + margin, y.stop + margin])
        boxes.append(np.clip(box, 0, [width, height, width, height]))
    return [(slice(y0, y1), slice(x0, x1)) for x0, y0, x1, y1 in merge_boxes(boxes)]


def merge_boxes(boxes: Iterable[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    """Return disjoint (4,) xyxy boxes that cover all `boxes`; empty ones are dropped."""
    merged: list[NDArray[np.int64]] = []
    for box in boxes:
        grown, rest = box, merged
        while True:
            touching = [b for b in rest if (b[:2] < grown[2:]).all() and (grown[:2] < b[2:]).all()]
            if not touching:
                break
            rest = [b for b in rest if not any(b is t for t in touching)]
            corners = np.array([grown, *touching])
            grown = np.concatenate([corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)])
        if (grown[:2] < grown[2:]).all():
            merged = [*rest, grown]
    return merged


def _blend(back: Image, front: Image, config: ComposeConfig) -> Image:
    if config.blending == 'poisson':
        return _poisson(back, front)
    if config.blending == 'gaussian':
        front = _feather(front, config.feather_px)
    through = cv2.merge([255 - _alpha(front)] * 3)
    dimmed = cv2.multiply(back, through, scale=1 / 255)
    return np.asarray(cv2.add(cv2.cvtColor(front, cv2.COLOR_RGBA2RGB), dimmed), np.uint8)


def _feather(front: Image, width: float) -> Image:
    """Let alpha rise over `width` pixels inside the outline."""
    alpha = front[..., 3].astype(np.float32) / 255
    inside = np.clip(2 * cv2.GaussianBlur(alpha, (0, 0), width) - 1, 0, alpha)
    factor = np.divide(inside, alpha, out=np.zeros_like(alpha), where=alpha > 0)
    return np.asarray(np.rint(front * factor[..., None]), np.uint8)


def _poisson(back: Image, front: Image) -> Image:
    """Keep the gradients of the objects and take the level of the surroundings.

    Source: Pérez, Gangnet & Blake 2003, "Poisson image editing".
    """
    mask = np.where(front[..., 3] >= 128, np.uint8(255), np.uint8(0))
    if not mask.any():
        return back
    pad = 2  # the solver needs background on all sides
    padded = cv2.copyMakeBorder(back, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
    alpha = np.maximum(front[..., 3:], 1).astype(np.float32)
    plain = np.clip(front[..., :3] * (255 / alpha), 0, 255).astype(np.uint8)
    source = np.where(mask[..., None] > 0, plain, back)
    source = cv2.copyMakeBorder(source, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
    mask = cv2.copyMakeBorder(mask, pad, pad, pad, pad, cv2.BORDER_CONSTANT)
    box = box_of_mask(mask > 0).astype(int)
    centre = int(box[0] + (box[2] - box[0]) // 2), int(box[1] + (box[3] - box[1]) // 2)
    clone = cv2.seamlessClone(source, padded, mask.copy(), centre, cv2.NORMAL_CLONE)
    # OpenCV writes into the mask, and its solver leaves traces of rounding outside.
    return np.asarray(np.where(mask[..., None] > 0, clone, padded)[pad:-pad, pad:-pad], np.uint8)


def _blur_objects(image: Image, alpha: NDArray[np.uint8], sigma: float) -> Image:
    """Blur the objects and, as far as the blur reaches, the background beside them."""
    reach = int(np.ceil(BLUR_REACH * sigma))
    near = cv2.dilate(alpha, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    blurred = cv2.GaussianBlur(image, (2 * reach + 1, 2 * reach + 1), sigma)
    return np.asarray(cv2.copyTo(blurred, near, image), np.uint8)
