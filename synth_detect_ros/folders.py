"""Folders that are written: by one process at a time, and replaced at once or not at all."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import re
import shlex
import shutil
import socket
import sys
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from synth_detect_ros.compute.system_calls import exchange, sync_file_system
from synth_detect_ros.documents import read_json
from synth_detect_ros.errors import StorageError
from synth_detect_ros.files import hold, make_folder, not_written, partial_in, sync_folder

logger = logging.getLogger(__name__)

LOCK = '.lock'
_LEFTOVER = re.compile(r'\.(.*\.)?[0-9a-f]{32}\.partial')
# Where a file system has no locks, what nobody has written to for so long is left behind [s].
_STALE_S = 3600.0
# Of a command, in the message to others [characters].
_COMMAND = 200


class FolderLock:
    """Makes this process the only writer of a folder, which is made when it is missing.

    The kernel ends the lock with the process, whatever ends that; a lock file that a killed
    process left is taken over. Leftovers of killed processes are removed from the folder. Use it
    as a context manager, or call `release`.

    Args:
        folder: to be written.

    Raises:
        StorageError: another process writes the folder, the message says which; or the folder
            cannot be made or written.
    """

    def __init__(self, folder: Path) -> None:
        self._made = not folder.exists()
        make_folder(folder)
        self._folder, self._path = folder, folder / LOCK
        self._descriptor: int | None = None
        try:
            self._descriptor = self._take()
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            raise not_written(folder, error) from error
        _held.add(self)
        remove_leftovers(folder)

    def __enter__(self) -> FolderLock:
        """Return the lock itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Release the lock."""
        self.release()

    def release(self) -> None:
        """Let others write the folder; an empty one that was made for this goes."""
        if self._descriptor is None:
            return
        with suppress(OSError):
            self._path.unlink()
        self.forget()
        if self._made:
            with suppress(OSError):
                self._folder.rmdir()

    def forget(self) -> None:
        """Close the file without a word to others: in a forked child the lock is its parent's."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _take(self) -> int:
        while True:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                raise StorageError(errno.EBUSY, self._refusal()) from None
            except OSError as error:
                logger.warning(
                    '%s: its file system has no locks (%s); see to it that no other process '
                    'writes this folder',
                    self._folder,
                    error.strerror,
                )
            with suppress(FileNotFoundError):  # its holder removed it meanwhile
                if os.path.samestat(os.fstat(descriptor), self._path.stat()):
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, json.dumps(_myself()).encode(), 0)
                    return descriptor
            os.close(descriptor)

    def _refusal(self) -> str:
        """Return who holds the folder; what is written there may be cut or missing."""
        try:
            holder = read_json(self._path, StorageError)
            who = (
                f'process {holder["pid"]} on {holder["host"]} since {holder["since"]} '
                f'({holder["command"]})'
            )
        except (StorageError, KeyError, TypeError):
            who = 'another process'
        return (
            f'{self._folder} is being written by {who}. Wait until it is done, end it, or give '
            'another folder.'
        )


_held: weakref.WeakSet[FolderLock] = weakref.WeakSet()


def _forget_all() -> None:
    for lock in tuple(_held):
        lock.forget()


# A child that lives on would keep the lock of a parent that was killed.
os.register_at_fork(after_in_child=_forget_all)


def _myself() -> dict[str, object]:
    return {
        'pid': os.getpid(),
        'host': socket.gethostname(),
        'since': datetime.now().astimezone().isoformat(' ', 'seconds'),
        'command': shlex.join(sys.orig_argv)[:_COMMAND],
    }


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Make a folder that takes the place of another at once, when the block has ended.

    A reader finds the old folder or the new one at any moment. Where the file system cannot
    exchange two folders, the old one is called as `folder_before` says for a moment.

    Args:
        folder: what it will be called.

    Yields:
        Where its files are to be written.

    Raises:
        StorageError: it cannot be written; the old folder stands and nothing is left behind.
    """
    folder = Path(os.path.realpath(folder))  # what a link points at is replaced, not the link
    partial = partial_in(folder.parent)
    descriptor = None
    try:
        make_folder(folder.parent)
        partial.mkdir()
        descriptor = os.open(partial, os.O_RDONLY | os.O_DIRECTORY)
        hold(descriptor)
        yield partial
        sync_file_system(descriptor)
        _put_in_place(partial, folder)
        sync_folder(folder.parent)
    except StorageError:
        raise
    except OSError as error:
        raise not_written(folder, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


def folder_before(folder: Path) -> Path:
    """Return what a folder that is being replaced is called in between, see `whole_folder`."""
    return folder.with_name(f'.{folder.name}.before')


def settle_folder(folder: Path) -> None:
    """Put a folder back that a killed `whole_folder` moved out of the way; for its only writer."""
    before = folder_before(folder)
    with suppress(OSError):
        if folder.exists():
            shutil.rmtree(before, ignore_errors=True)
        elif before.is_dir():
            before.rename(folder)


def remove_leftovers(folder: Path, *, below: bool = False) -> None:
    """Remove what killed processes left half written in a folder, not what others write now.

    Args:
        folder: where to look; it may be missing.
        below: whether to look into the folders in it too.
    """
    for place, folders, files in os.walk(folder):
        for name in filter(_LEFTOVER.fullmatch, (*folders, *files)):
            path = Path(place, name)
            with suppress(OSError):
                if not _is_held(path):
                    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        if not below:
            return


def _is_held(path: Path) -> bool:
    """Return whether a process is writing a file or folder; by its age where there are no locks.

    A lock ends with its process, whatever ended that.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return time.time() - os.fstat(descriptor).st_mtime < _STALE_S
    finally:
        os.close(descriptor)
    return False


def _put_in_place(new: Path, folder: Path) -> None:
    """Give a folder its name; what had the name before is at `new` afterwards, or removed."""
    if not folder.exists():
        new.rename(folder)
    elif not exchange(new, folder):
        before = folder_before(folder)
        shutil.rmtree(before, ignore_errors=True)
        folder.rename(before)
        try:
            new.rename(folder)
        except OSError:
            before.rename(folder)
            raise
        shutil.rmtree(before, ignore_errors=True)
