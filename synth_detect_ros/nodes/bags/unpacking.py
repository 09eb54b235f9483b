"""What is compressed in a bag, unpacked up to a limit: a small file may hold terabytes."""

from __future__ import annotations

import bz2
import logging
import os
import shutil
import sys
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import lz4.frame

from synth_detect_ros.documents import limit
from synth_detect_ros.errors import BagError, BagLimitError, StorageError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

logger = logging.getLogger(__name__)

ZSTD_START = b'\x28\xb5\x2f\xfd'
LIMIT_VARIABLE = 'SYNTH_DETECT_MAX_MESSAGE_MB'
# An image of 8000x6000 pixels with three colours of 16 bits takes 288 MB.
_DEFAULT_LIMIT_MB = 512
# Files are unpacked in pieces, and a disk is never filled to its end [bytes].
_PIECE, _SPARE = 1 << 22, 1 << 28
_DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    'zstd': zstd.ZstdDecompressor,
    'lz4': lz4.frame.LZ4FrameDecompressor,
    'bz2': bz2.BZ2Decompressor,
}


def message_limit() -> int:
    """Return how many bytes a message, or a chunk of them, may have.

    Raises:
        ConfigError: the environment variable is no positive number.
    """
    return int(limit(LIMIT_VARIABLE, _DEFAULT_LIMIT_MB) * 10**6)


def check_size(size: int, source: str) -> None:
    """Refuse a message or chunk before it is read or unpacked.

    Raises:
        BagLimitError: it has more bytes than the limit.
    """
    if size > message_limit():
        raise BagLimitError(
            f'{source}: a message or chunk of {size / 1e6:.0f} MB is larger than the limit. If '
            f'that is right, raise {LIMIT_VARIABLE} (now {message_limit() / 1e6:g}).'
        )


def unpack(data: bytes, method: str, source: str) -> bytes:
    """Return the content of compressed data; where they end early, what they hold.

    Args:
        data: bytes.
        method: 'zstd', 'lz4', 'bz2'; '' or 'none' for data as they are.
        source: file, for messages.

    Raises:
        BagError: another method, or broken data.
        BagLimitError: the content is larger than the limit.
    """
    if method in ('', 'none'):
        return data
    if method not in _DECOMPRESSORS:
        raise BagError(
            f'{source}: compression {method!r} is not known. Choose one of '
            f'{", ".join(_DECOMPRESSORS)}.'
        )
    most, parts, size = message_limit(), [], 0
    while data:
        decompressor = _DECOMPRESSORS[method]()
        try:
            parts.append(decompressor.decompress(data, most + 1 - size))
        except (EOFError, OSError, RuntimeError, ValueError, zstd.ZstdError) as error:
            raise BagError(f'{source}: {method} data are broken: {error}') from error
        size += len(parts[-1])
        check_size(size, source)
        data = (decompressor.unused_data or b'') if decompressor.eof else b''
    return b''.join(parts)


def end_of_content(file: BinaryIO) -> int:
    """Return where a file ends without the zeros behind it.

    After a loss of power a file system may have made room for what never came.
    """
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(end - _PIECE, 0)
        file.seek(start)
        piece = file.read(end - start).rstrip(b'\0')
        if piece:
            return start + len(piece)
        end = start
    return 0


def folder_for(owner: object) -> Path:
    """Return a new folder that goes when its owner goes, or the process ends."""
    folder = tempfile.mkdtemp(prefix='bag_')
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def unpack_file(path: Path, out: Path) -> None:
    """Unpack a file of zstd, piece by piece; where it ends early, what it holds.

    Raises:
        BagError: it is broken from its start, or the disk would be full.
        StorageError: the result cannot be written.
    """
    try:
        with path.open('rb') as packed, out.open('wb') as file:
            try:
                with zstd.open(packed, 'rb') as content:
                    while piece := content.read(_PIECE):
                        if shutil.disk_usage(out.parent).free < _SPARE + len(piece):
                            raise BagError(
                                f'{path}: no room in {out.parent} to unpack it. Set TMPDIR to a '
                                'folder on a larger disk.'
                            )
                        file.write(piece)
            except (EOFError, zstd.ZstdError) as error:
                logger.warning('%s: read as far as it is whole: %s', path, error)
    except OSError as error:
        raise StorageError(error.errno, f'{path} cannot be unpacked: {error.strerror}') from error
