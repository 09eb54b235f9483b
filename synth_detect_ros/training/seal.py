"""A checksum in a file of PyTorch, which itself would not notice a flipped bit.

The file is a ZIP archive, whose last bytes may be a comment: the SHA-256 of all before it. Every
program that reads ZIP archives, and every version of this package, reads it as before.
ZIP: APPNOTE.TXT of PKWARE, sec. 4.3.16.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import BinaryIO

from synth_detect_ros.errors import TrainingError
from synth_detect_ros.files import sha256_of

_TAG = b'sha256:'
_COMMENT = len(_TAG) + 2 * hashlib.sha256().digest_size
# The record at the end of an archive without a comment; its last two bytes are the comment's
# length.
_END, _END_SIZE = b'PK\x05\x06', 22


def seal(file: BinaryIO) -> None:
    """Add the checksum to an archive that is written, has no comment, and can be read back."""
    file.seek(-2, io.SEEK_END)
    file.write(_COMMENT.to_bytes(2, 'little'))
    file.flush()
    digest = sha256_of(Path(f'/proc/self/fd/{file.fileno()}'))
    file.seek(0, io.SEEK_END)
    file.write(_TAG + digest.encode())


def check_seal(path: Path) -> None:
    """Compare a file with its checksum; one that an earlier version wrote has none.

    Raises:
        OSError: there is no such file.
        TrainingError: they differ, or the file is cut off.
    """
    with path.open('rb') as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(max(size - _COMMENT, 0))
        tail = file.read()
    end = tail[-_END_SIZE:]
    if end.startswith(_END) and end.endswith(b'\0\0'):
        return
    if tail != _TAG + sha256_of(path, size - _COMMENT).encode():
        raise TrainingError('it is cut off or damaged: its checksum is not that of its content')
