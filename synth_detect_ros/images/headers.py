"""What the bytes of an image file say before it is decoded: its size, and where a JPEG ends."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BytesIO

from PIL import Image

from synth_detect_ros.errors import ImageLimitError

JPEG_START, _JPEG_END = b'\xff\xd8', b'\xd9'
# A marker is 0xff, as often as one likes, and its code. In compressed pixels 0 follows a 0xff that
# is a value, and 0xd0 to 0xd7 only count the parts (ITU-T T.81, sec. B.1.1). The pattern begins
# with one byte alone: then it is found twenty times as fast.
_JPEG_MARKER = re.compile(rb'\xff([^\x00\xd0-\xd7\xff])')
# Has no length behind it, as start and end.
_JPEG_TEMPORARY = b'\x01'
# Starts of a frame, with its size: all of 0xc0 to 0xcf but three that mean something else.
_JPEG_FRAMES = {bytes([code]) for code in range(0xC0, 0xD0)} - {b'\xc4', b'\xc8', b'\xcc'}
_PNG_START = b'\x89PNG\r\n\x1a\n'


def image_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height [px] of an image as its header says, undecoded and unturned.

    Returns:
        None when the data are no image.
    """
    if data.startswith(_PNG_START):
        return int.from_bytes(data[16:20], 'big'), int.from_bytes(data[20:24], 'big')
    if data.startswith(JPEG_START):
        for code, at in _jpeg_markers(data):
            if code in _JPEG_FRAMES:  # length, bits, height, width
                height, width = data[at + 3 : at + 5], data[at + 5 : at + 7]
                return int.from_bytes(width, 'big'), int.from_bytes(height, 'big')
        return None
    try:
        with Image.open(BytesIO(data)) as image:
            return image.size
    except Image.DecompressionBombError as error:
        raise ImageLimitError(f'{error} It is neither PNG nor JPEG: save it as one.') from error
    except Exception:  # whatever Pillow meets in data of unknown kind
        return None


def is_grey(data: bytes) -> bool:
    """Return whether the bytes begin a PNG or JPEG of one channel without transparency."""
    if data.startswith(_PNG_START):
        return data[25:26] == b'\0'
    sizes = (at for code, at in _jpeg_markers(data) if code in _JPEG_FRAMES)
    at = next(sizes, len(data))
    return data[at + 7 : at + 8] == b'\x01'


def is_deep(data: bytes) -> bool:
    """Return whether the bytes begin a PNG of 16 bits a colour."""
    return data.startswith(_PNG_START) and data[24:25] == b'\x10'


def jpeg_length(data: bytes) -> int | None:
    """Return how many bytes the JPEG at the start of the data takes, its end marker included.

    Segments are stepped over, so that the end of a picture inside of them, a thumbnail, does not
    count.

    Returns:
        The number of bytes; None when the data end first, or begin with no JPEG.
    """
    return next((at for code, at in _jpeg_markers(data) if code == _JPEG_END), None)


def _jpeg_markers(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield the markers of a JPEG and where what follows them begins."""
    position = len(JPEG_START) if data.startswith(JPEG_START) else len(data)
    while marker := _JPEG_MARKER.search(data, position):
        code, position = marker[1], marker.end()
        if code == JPEG_START[1:]:  # another picture begins
            return
        yield code, position
        if code != _JPEG_TEMPORARY:
            position += int.from_bytes(data[position : position + 2], 'big')
