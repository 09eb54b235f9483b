"""Files that are whole or absent: atomic writes, and images that are refused when cut off."""

from __future__ import annotations

import os
import re
import uuid
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.errors import DatasetError, StorageError, SynthDetectError

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg')
_JPEG_START, _JPEG_END = b'\xff\xd8', b'\xd9'
# A marker is 0xff, as often as one likes, and its code. In compressed pixels 0 follows a 0xff that
# is a value, and 0xd0 to 0xd7 only count the parts (ITU-T T.81, sec. B.1.1).
_JPEG_MARKER = re.compile(rb'\xff+([^\x00\xd0-\xd7\xff])')
# Has no length behind it, as start and end.
_JPEG_TEMPORARY = b'\x01'


def write_atomic(path: Path, data: bytes | memoryview) -> None:
    """Write a file so that readers, and a crash at any moment, see all of it or none.

    Several processes may write the same file; the last one counts.

    Raises:
        StorageError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    partial = path.with_name(f'.{path.name}.{uuid.uuid4().hex}.partial')
    try:
        with partial.open('wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StorageError(
            error.errno,
            f'{path} cannot be written ({error.strerror}). What was written before is intact: '
            'free the disk or give another folder, and start again to continue',
        ) from error


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, if they are missing.

    Raises:
        StorageError: the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(error.errno, f'{folder}: cannot be made ({error.strerror})') from error


def images_in(folder: Path) -> list[Path]:
    """Return the PNG and JPEG files in a folder by name, without hidden ones; [] for no folder."""
    files = folder.iterdir() if folder.is_dir() else ()
    return sorted(
        file
        for file in files
        if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith('.')
    )


def encode_image(image: NDArray[np.uint8], format: str, quality: int = 95) -> bytes:
    """Encode an image as the content of a file.

    Args:
        image: (H, W, 3) uint8 RGB.
        format: 'png' or 'jpg'.
        quality: of jpg, 0..100.
    """
    flags = [cv2.IMWRITE_JPEG_QUALITY, quality] if format == 'jpg' else []
    _, data = cv2.imencode(f'.{format}', cv2.cvtColor(image, cv2.COLOR_RGB2BGR), flags)
    return data.tobytes()


def decode_image(data: bytes) -> NDArray[np.uint8] | None:
    """Decode the content of a PNG or JPEG file.

    Behind a JPEG may lie what cameras and phones put there: padding, a film, another picture.

    Returns:
        (H, W, 3) uint8 RGB; None when the data are no image or end too early, which some
        decoders would fill up with grey.
    """
    if data.startswith(_JPEG_START):
        data = data[: jpeg_length(data) or 0]
    if not data:
        return None
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return None if image is None else np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def jpeg_length(data: bytes) -> int | None:
    """Return how many bytes the JPEG at the start of the data takes, its end marker included.

    Segments are stepped over, so that the end of a picture inside of them, a thumbnail, does not
    count.

    Returns:
        The number of bytes; None when the data end first, or begin with no JPEG.
    """
    position = len(_JPEG_START) if data.startswith(_JPEG_START) else len(data)
    while marker := _JPEG_MARKER.search(data, position):
        code, position = marker[1], marker.end()
        if code == _JPEG_END:
            return position
        if code == _JPEG_START[1:]:  # another picture begins
            return None
        if code != _JPEG_TEMPORARY:
            position += int.from_bytes(data[position : position + 2], 'big')
    return None


def read_image(path: Path, error: type[SynthDetectError] = DatasetError) -> NDArray[np.uint8]:
    """Read an image file as (H, W, 3) uint8 RGB.

    Args:
        path: PNG or JPEG file.
        error: raised when the file is missing, broken or cut off.
    """
    try:
        data = path.read_bytes()
    except OSError as reason:
        raise error(f'{path}: cannot be read: {reason.strerror}') from reason
    image = decode_image(data)
    if image is None:
        raise error(
            f'{path}: no complete image ({len(data)} bytes). Delete the file, or copy it again '
            'from its source.'
        )
    return image
