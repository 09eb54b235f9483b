"""Textures: any kind of image to RGB, and coordinates to those of a texture that repeats."""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.errors import MeshError
from synth_detect_ros.rendering.meshes.formats import limits

# Side of a texture [px] beyond which it costs memory and start-up, and shows nothing more.
LARGEST_TEXTURE = 4096
# Tiles on a side up to which a texture that does not repeat is laid out.
MOST_TILES = 16
# How far texture coordinates may lie outside of the texture and count as on its border.
BORDER = 1e-3

Texture = NDArray[np.uint8]
Chart = NDArray[np.float32]


def decode_texture(data: bytes, source: str) -> Texture:
    """Return an encoded image as (H, W, 3) uint8 RGB of at most LARGEST_TEXTURE.

    Alpha is left out. 16-bit images are scaled to 8 bits.

    Args:
        data: PNG, JPEG, WebP, TGA, BMP, TIFF and what else Pillow reads.
        source: begins the messages of errors.

    Raises:
        MeshError: the data are no complete image, or more pixels than the limit.
    """
    from PIL import Image  # noqa: PLC0415  slow to import

    bound, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # ours is checked instead
    try:
        image = Image.open(io.BytesIO(data))
        pixels = image.width * image.height
        limits.check(pixels / 1e6, limits.TEXTURE_MEGAPIXELS, source)
        return _pixels(image)
    except MeshError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever their formats are prone to
        reason = str(error) if isinstance(error, OSError) else repr(error)
        raise MeshError(f'{source}: no complete image ({reason[:120]})') from error
    finally:
        Image.MAX_IMAGE_PIXELS = bound


def _pixels(image: Any) -> Texture:
    """Return a PIL image as (H, W, 3) uint8 RGB of at most LARGEST_TEXTURE."""
    pixels = _wide(image) if image.mode[0] in 'IF' else np.asarray(image.convert('RGB'), np.uint8)
    scale = LARGEST_TEXTURE / max(pixels.shape)
    if scale >= 1:
        return pixels
    size = max(round(image.width * scale), 1), max(round(image.height * scale), 1)
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def _wide(image: Any) -> Texture:
    """Return grey values of 16 bits, or floats 0..1, as RGB."""
    values = np.asarray(image, np.float64)
    whole = 1.0 if image.mode == 'F' else 65535.0
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > whole:
        raise ValueError(f'wanted grey values from 0 to {whole:g}')
    grey = (values * (255 / whole)).round().astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def laid_out(uv: Chart, texture: Texture, wrap: tuple[str, str]) -> tuple[Chart, Texture]:
    """Return coordinates and texture that look the same where the texture repeats.

    Renderers here repeat every texture. One that is clamped or mirrored is laid out over all
    that its coordinates reach.

    Args:
        uv: (N, 2) coordinates, v upward.
        texture: (H, W, 3).
        wrap: of u and v: 'repeat', 'clamp' or 'mirror'.

    Raises:
        MeshError: coordinates reach over more than MOST_TILES tiles.
    """
    for axis, mode in enumerate(wrap):
        low, high = float(uv[:, axis].min()), float(uv[:, axis].max())
        if mode == 'repeat' or (low >= -BORDER and high <= 1 + BORDER):
            continue
        first, last = int(np.floor(low)), int(np.ceil(high))
        if last - first > MOST_TILES:
            raise MeshError(f'texture coordinates reach over {last - first} tiles of a texture '
                            f'that does not repeat; wanted at most {MOST_TILES}')  # fmt: skip
        texture = _shrunk(texture, axis, LARGEST_TEXTURE // (last - first))
        size = texture.shape[1 - axis]
        # Pixels of all tiles from the first; v goes upward, rows downward.
        place = np.arange(first * size, last * size)
        if mode == 'clamp':
            pixel = place.clip(0, size - 1)
        else:
            pixel = np.where(place // size % 2 == 0, place % size, size - 1 - place % size)
        if axis == 1:
            pixel = (size - 1 - pixel)[::-1]
        texture = np.take(texture, pixel, axis=1 - axis)
        uv = uv.copy()
        uv[:, axis] = (uv[:, axis] - first) / (last - first)
    return uv, np.ascontiguousarray(texture)


def _shrunk(texture: Texture, axis: int, most: int) -> Texture:
    """Return a texture of at most `most` pixels along u (axis 0) or v (axis 1)."""
    height, width, _ = texture.shape
    size = (min(width, most), height) if axis == 0 else (width, min(height, most))
    if size == (width, height):
        return texture
    return np.asarray(cv2.resize(texture, size, interpolation=cv2.INTER_AREA), np.uint8)
