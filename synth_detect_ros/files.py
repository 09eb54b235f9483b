"""Files that are whole or absent: atomic writes, and images that are refused when cut off."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.documents import limit
from synth_detect_ros.errors import (
    DatasetError,
    ImageLimitError,
    StorageError,
    SynthDetectError,
)
from synth_detect_ros.images.depth import BitDepth, to_8_bits
from synth_detect_ros.images.headers import JPEG_START, image_size, is_deep, jpeg_length
from synth_detect_ros.images.places import IMAGE_SUFFIXES

# Read in one piece [bytes].
_BLOCK = 1 << 20
# 100 megapixels take 300 MB as RGB; cameras of robots have at most some tens.
MEGAPIXELS, DEFAULT_MEGAPIXELS = 'SYNTH_DETECT_MAX_MEGAPIXELS', 128
_OPENCV_PIXELS = 1 << 30
# Of images, CAD files and what these name. A scan of ten million triangles as text has 500 MB.
FILE_MB, DEFAULT_FILE_MB = 'SYNTH_DETECT_MAX_FILE_MB', 512


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that gets its name, and takes the place of another, when the block has ended.

    Readers, and a crash at any moment, see all of it or none. Several processes may write the
    same file; the last one counts.

    Raises:
        StorageError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    partial = None
    try:
        partial, file = _open_partial(path.parent)
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            partial.replace(path)
        sync_folder(path.parent)
    except BaseException as error:
        if partial is not None:
            with suppress(OSError):
                partial.unlink()
        if isinstance(error, OSError):
            raise not_written(path, error) from error
        raise


def write_atomic(path: Path, data: bytes | memoryview) -> None:
    """Write a file whole or not at all, see `whole_file`.

    Raises:
        StorageError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    with whole_file(path) as file:
        file.write(data)


def append_line(path: Path, line: bytes) -> None:
    """Add a line, with its end, to a file; a crash leaves a cut last line at worst.

    Raises:
        StorageError: it cannot be written; the file is as before.
    """
    try:
        with path.open('ab', buffering=0) as file:
            size = file.tell()
            try:
                if file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            except BaseException:
                file.truncate(size)
                raise
        if not size:
            sync_folder(path.parent)
    except OSError as error:
        raise not_written(path, error) from error


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where its file system can be told to."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:  # files may be made in it, but not listed
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


def sha256_of(path: Path, length: int | None = None) -> str:
    """Return the SHA-256 of a file, or of its first bytes, as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open('rb') as file:
        left = os.fstat(file.fileno()).st_size if length is None else length
        while left > 0 and (block := file.read(min(left, _BLOCK))):
            digest.update(block)
            left -= len(block)
    return digest.hexdigest()


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, if they are missing.

    Raises:
        StorageError: the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(error.errno, f'{folder}: cannot be made ({error.strerror})') from error


def partial_in(folder: Path) -> Path:
    """Return a name of its own for what is being written; it may replace the longest name."""
    return folder / f'.{uuid.uuid4().hex}.partial'


def _open_partial(folder: Path) -> tuple[Path, BinaryIO]:
    """Open a new file under a name of its own, held so that nobody takes it for a leftover."""
    while True:
        path = partial_in(folder)
        file = path.open('x+b')
        if hold(file.fileno()) and os.fstat(file.fileno()).st_nlink:
            return path, file
        file.close()  # `remove_leftovers` was faster


def hold(descriptor: int) -> bool:
    """Say that something is being written; False when it is being removed at this moment."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return True


def not_written(path: Path, error: OSError) -> StorageError:
    """Return the error for a file or folder that cannot be written, and why."""
    return StorageError(
        error.errno,
        f'{path} cannot be written ({error.strerror or error}). What was written before is '
        'intact: free the disk or give another folder, and start again to continue',
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


def check_size(width: int, height: int) -> None:
    """Refuse an image of so many pixels that one of another size must be meant.

    Raises:
        ImageLimitError: it has more than the limit, or than OpenCV takes.
    """
    most = limit(MEGAPIXELS, DEFAULT_MEGAPIXELS)
    if width * height > most * 10**6:
        raise ImageLimitError(
            f'{width}x{height} pixels are more than the limit. If that is right, raise '
            f'{MEGAPIXELS} (now {most:g}).'
        )
    if width * height > _OPENCV_PIXELS:
        raise ImageLimitError(f'{width}x{height} pixels are more than OpenCV decodes.')


def decode_image(data: bytes, depth: BitDepth | None = None) -> NDArray[np.uint8] | None:
    """Decode the content of a PNG or JPEG file.

    Behind a JPEG may lie what cameras and phones put there: padding, a film, another picture.

    Args:
        data: content of the file.
        depth: of the images it is one of, if they have 16 bits; None: they use all of them.

    Returns:
        (H, W, 3) uint8 RGB; None when the data are no image or end too early, which some
        decoders would fill up with grey.

    Raises:
        ImageLimitError: it has more pixels than the limit; it is not decoded.
    """
    if data.startswith(JPEG_START):
        data = data[: jpeg_length(data) or 0]
    size = image_size(data)
    if size is None:
        return None
    check_size(*size)
    array = np.frombuffer(data, np.uint8)
    try:
        image: NDArray[Any] | None = None
        if depth is not None and is_deep(data):
            image = cv2.imdecode(array, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
            if image is not None and image.dtype == np.uint16:
                bits = depth.of(np.asarray(image, np.uint16), 'a PNG')
                image = to_8_bits(image, bits) if bits < 16 else None
        if image is None:
            image = cv2.imdecode(array, cv2.IMREAD_COLOR)
    except cv2.error:  # a size of zero, or beyond what OpenCV takes
        return None
    return None if image is None else np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def read_image_data(path: Path) -> bytes:
    """Read the content of an image file; one that is too large is refused by its beginning.

    Raises:
        ImageLimitError: the image has more pixels, or the file more bytes, than the limit.
        OSError: it is missing, cannot be read, or is no regular file.
    """
    if not path.is_file() and path.exists():  # a pipe would wait, a device never end
        raise OSError(errno.EINVAL, 'not a regular file')
    most = limit(FILE_MB, DEFAULT_FILE_MB)
    with path.open('rb') as file:
        data = file.read(_BLOCK)
        if size := image_size(data):
            check_size(*size)
        data += file.read(max(int(most * 10**6) + 1 - len(data), 0))
    if len(data) > most * 10**6:
        raise ImageLimitError(
            f'the file is larger than the limit of {most:g} MB. If that is right, raise {FILE_MB}.'
        )
    return data


def read_image(
    path: Path, error: type[SynthDetectError] = DatasetError, depth: BitDepth | None = None
) -> NDArray[np.uint8]:
    """Read an image file as (H, W, 3) uint8 RGB.

    Args:
        path: PNG or JPEG file.
        error: raised when the file is missing, broken, cut off or larger than the limit.
        depth: see `decode_image`.
    """
    try:
        data = read_image_data(path)
        image = decode_image(data, depth)
    except OSError as reason:
        raise error(f'{path}: cannot be read: {reason.strerror}') from reason
    except ImageLimitError as reason:
        raise error(f'{path}: {reason}') from reason
    if image is None and data and not image_size(data) and not data.startswith(JPEG_START):
        raise error(f'{path}: is no image (wanted {", ".join(IMAGE_SUFFIXES)})')
    if image is None:
        raise error(
            f'{path}: no complete image ({len(data)} bytes). Delete the file, or copy it again '
            'from its source.'
        )
    return image
