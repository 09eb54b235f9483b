"""Pixels of raw images, in the encodings of ROS, to RGB; imports nothing of ROS."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.errors import MessageError
from synth_detect_ros.images.depth import FULL_RANGE, BitDepth, to_8_bits

# A new encoding is a line here, unless its chroma has a plane of its own: channels, bytes a
# channel, OpenCV's conversion to RGB (None: it is RGB). OpenCV names a Bayer pattern by its second
# row and column, ROS by its first.
ENCODINGS: dict[str, tuple[int, int, int | None]] = {
    'mono8': (1, 1, cv2.COLOR_GRAY2RGB),
    'mono16': (1, 2, cv2.COLOR_GRAY2RGB),
    '8UC1': (1, 1, cv2.COLOR_GRAY2RGB),
    '16UC1': (1, 2, cv2.COLOR_GRAY2RGB),
    'rgb8': (3, 1, None),
    'rgb16': (3, 2, None),
    'bgr8': (3, 1, cv2.COLOR_BGR2RGB),
    'bgr16': (3, 2, cv2.COLOR_BGR2RGB),
    '8UC3': (3, 1, cv2.COLOR_BGR2RGB),
    'rgba8': (4, 1, cv2.COLOR_RGBA2RGB),
    'bgra8': (4, 1, cv2.COLOR_BGRA2RGB),
    'bayer_rggb8': (1, 1, cv2.COLOR_BayerBG2RGB),
    'bayer_bggr8': (1, 1, cv2.COLOR_BayerRG2RGB),
    'bayer_gbrg8': (1, 1, cv2.COLOR_BayerGR2RGB),
    'bayer_grbg8': (1, 1, cv2.COLOR_BayerGB2RGB),
    'bayer_rggb16': (1, 2, cv2.COLOR_BayerBG2RGB),
    'bayer_bggr16': (1, 2, cv2.COLOR_BayerRG2RGB),
    'bayer_gbrg16': (1, 2, cv2.COLOR_BayerGR2RGB),
    'bayer_grbg16': (1, 2, cv2.COLOR_BayerGB2RGB),
    'yuv422': (2, 1, cv2.COLOR_YUV2RGB_UYVY),
    'uyvy': (2, 1, cv2.COLOR_YUV2RGB_UYVY),
    'yuv422_yuy2': (2, 1, cv2.COLOR_YUV2RGB_YUY2),
    'yuyv': (2, 1, cv2.COLOR_YUV2RGB_YUY2),
    'nv21': (1, 1, cv2.COLOR_YUV2RGB_NV21),
}
# Rows of bytes per two rows of pixels, where they are not two: NV21 appends a plane of chroma.
_ROWS_PER_TWO = {'nv21': 3}


class IncompleteImageError(MessageError):
    """Only part of an image arrived; the next one may be complete."""


class UnknownEncodingError(MessageError):
    """No image of this driver can be read, as it is set up."""


def decode_pixels(
    data: Any, width: int, height: int, step: int, encoding: str, *, big_endian: bool,
    depth: BitDepth = FULL_RANGE,
) -> NDArray[np.uint8]:  # fmt: skip
    """Convert the pixels of a raw image.

    Args:
        data: anything that has a buffer of bytes, at least step for each row, chroma included.
        width: of the image [px].
        height: of the image [px].
        step: bytes of a row, padding included.
        encoding: a key of `ENCODINGS`.
        big_endian: byte order of 16-bit pixels.
        depth: bits of 16-bit pixels that are scaled to 8, so that white stays white.

    Returns:
        (H, W, 3) uint8 RGB; for rgb8 without padding it shares the memory of the data.

    Raises:
        UnknownEncodingError: it is none of `ENCODINGS`.
        MessageError: sizes contradict one another.
        IncompleteImageError: the data end before the last row.

    Source: sensor_msgs/image_encodings.hpp.
    """
    rows = _rows(data, width, height, step, encoding)
    channels, size, to_rgb = ENCODINGS[encoding]
    words = rows.view(f'{">" if big_endian else "<"}u{size}')
    words = words.astype(words.dtype.newbyteorder('='), copy=False)
    bits = depth.of(words, encoding) if size == 2 else 8
    pixels = words.reshape((len(rows), width, channels)[: 2 if channels == 1 else 3])
    if to_rgb is not None:
        try:
            pixels = cv2.cvtColor(pixels, to_rgb)
        except cv2.error as error:
            raise MessageError(
                f'{width}x{height} pixels cannot be {encoding}: {error.err}'
            ) from error
    return to_8_bits(pixels, bits)


def _rows(data: Any, width: int, height: int, step: int, encoding: str) -> NDArray[np.uint8]:
    """Return the bytes of the pixels, (rows, bytes of a row), without padding."""
    if encoding not in ENCODINGS:
        raise UnknownEncodingError(
            f'image encoding {encoding!r} is not known. Choose one of {", ".join(ENCODINGS)} in '
            'the camera driver.'
        )
    channels, depth, _ = ENCODINGS[encoding]
    row = width * channels * depth
    if not height or not row or step < row:
        raise MessageError(
            f'an image of {width}x{height} {encoding} needs rows of {row} bytes and at least one '
            f'pixel; its step is {step}'
        )
    flat = np.frombuffer(data, np.uint8)
    n_rows = height * _ROWS_PER_TWO.get(encoding, 2) // 2
    if len(flat) < step * n_rows:
        raise IncompleteImageError(
            f'incomplete image: {len(flat)} of {step * n_rows} bytes came. Network cameras lose '
            'packets: raise the MTU and the socket buffers.'
        )
    return np.ascontiguousarray(flat[: step * n_rows].reshape(n_rows, step)[:, :row])
