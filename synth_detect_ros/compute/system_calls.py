"""What Linux does and Python has no name for: exchange two files, sync a disk, follow a parent."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
# See rename(2), prctl(2).
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_PR_SET_PDEATHSIG = 1
# Old kernels, other C libraries; NFS and exFAT; folders of a lower layer of overlayfs.
_CANNOT = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EXDEV)


def exchange(first: Path, second: Path) -> bool:
    """Exchange two files or folders of one file system: at no moment is one of the names free.

    Returns:
        Whether it was done; False where the system or the file system cannot do it.

    Raises:
        OSError: it could, but something is missing or not permitted.
    """
    call = getattr(_LIBC, 'renameat2', None)
    if call is None:
        return False
    names = os.fsencode(first), os.fsencode(second)
    if call(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _CANNOT:
        return False
    raise OSError(number, os.strerror(number), str(first), None, str(second))


def sync_file_system(descriptor: int) -> None:
    """Bring all that was written to the file system of an open file to the disk.

    Raises:
        OSError: it cannot hold it.
    """
    call = getattr(_LIBC, 'syncfs', None)
    if call is None:
        os.sync()
    elif call(descriptor) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def follow_parent(parent: int, then: signal.Signals) -> None:
    """Get a signal as soon as the parent process has ended, whatever ended it.

    The kernel goes by the thread that started this process: that one has to live as long as this
    process is needed. Programs that this one starts do not inherit it.

    Args:
        parent: id of the parent process.
        then: the signal.
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, int(then), 0, 0, 0)
    if os.getppid() != parent:  # it ended before
        os.kill(os.getpid(), then)
