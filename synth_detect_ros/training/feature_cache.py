"""The feature cache on disk: maps of a frozen extractor, one entry an image and variant.

A folder named after a key of all that the maps depend on holds `features.bin`, the entries one
behind the other, mapped into memory, and `ready.bin`, one byte an entry. Entries reach the disk
before their marks do: what an interrupted run leaves behind is whole, and the next run goes on.
Nothing is ever deleted: remove the folders of keys that no run uses any more.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from synth_detect_ros.errors import StorageError

logger = logging.getLogger(__name__)

FEATURES, READY, LOCK = 'features.bin', 'ready.bin', 'lock'
GB = 1e9


@dataclass(frozen=True)
class Layout:
    """Form of a cache.

    Attributes:
        shapes: (C, H, W) of each map of an entry.
        dtype: of the maps on disk.
        entries: how many there are.
    """

    shapes: tuple[tuple[int, ...], ...]
    dtype: torch.dtype
    entries: int

    @property
    def entry_bytes(self) -> int:
        """Size of one entry [bytes]."""
        return sum(map(math.prod, self.shapes)) * self.dtype.itemsize

    @property
    def total_bytes(self) -> int:
        """Size of all entries [bytes]."""
        return self.entries * self.entry_bytes


def cache_key(weights: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> str:
    """Return a name that changes with the weights and with any of the facts (JSON values)."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, value in sorted(weights.items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:24]


class FeatureCache:
    """Entries of feature maps on disk.

    Args:
        folder: of this cache, see `cache_key`; made when it is missing.
        layout: form of the entries.

    Attributes:
        ready: (entries,) bool, which entries are there; shared with loader processes.

    Raises:
        StorageError: the disk cannot hold the cache.
    """

    def __init__(self, folder: Path, layout: Layout) -> None:
        self.folder, self.layout = folder, layout
        self.ready = torch.zeros(layout.entries, dtype=torch.bool)
        self.ready.share_memory_()  # type: ignore[no-untyped-call]
        with self._alone():
            fresh = not self._is_whole()
            logger.info(
                'feature cache %s: %d entries of %.2f MB, %.2f GB%s',
                folder,
                layout.entries,
                layout.entry_bytes / 1e6,
                layout.total_bytes / GB,
                '' if fresh else ', there already',
            )
            if fresh:
                self._allocate()
        self.ready |= self._stored_marks()
        self._entries = np.memmap(
            folder / FEATURES, np.uint8, 'r+', shape=(layout.entries, layout.entry_bytes)
        )

    def get(self, entry: int) -> list[torch.Tensor]:
        """Return the (C, H, W) maps of an entry that is there, in the precision of the disk."""
        values = torch.from_numpy(self._entries[entry]).view(self.layout.dtype)
        sizes = [math.prod(shape) for shape in self.layout.shapes]
        parts = zip(torch.split(values, sizes), self.layout.shapes, strict=True)
        return [part.view(shape) for part, shape in parts]

    def put(self, entry: int, maps: Sequence[torch.Tensor]) -> None:
        """Keep the maps of an entry, from any device and in any precision."""
        flat = torch.cat([m.detach().cpu().float().flatten() for m in maps]).to(self.layout.dtype)
        self._entries[entry] = flat.view(torch.uint8).numpy()
        self.ready[entry] = True

    def sync(self) -> None:
        """Write what is new to the disk, then mark it there.

        Raises:
            StorageError: writing failed; what was marked before is intact.
        """
        marks = self.ready.clone()
        path = self.folder / READY
        try:
            self._entries.flush()
            temporary = path.with_suffix('.tmp')
            with temporary.open('wb') as file:
                file.write((marks | self._stored_marks()).numpy().tobytes())
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            raise StorageError(f'{path}: cannot be written: {error.strerror}') from error

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other runs from making the files at the same time."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / LOCK).open('w')
        except OSError as error:
            raise StorageError(f'{self.folder}: cannot be made: {error.strerror}') from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # given back when the file is closed
            yield

    def _is_whole(self) -> bool:
        files = {FEATURES: self.layout.total_bytes, READY: self.layout.entries}
        paths = {self.folder / name: size for name, size in files.items()}
        return all(path.is_file() and path.stat().st_size == paths[path] for path in paths)

    def _stored_marks(self) -> torch.Tensor:
        return torch.from_numpy(np.fromfile(self.folder / READY, np.bool_))

    def _allocate(self) -> None:
        """Reserve the disk space: a mapped file that cannot grow kills the process."""
        path = self.folder / FEATURES
        try:
            path.unlink(missing_ok=True)
            free = shutil.disk_usage(self.folder).free
            if free < self.layout.total_bytes:
                raise StorageError(self._too_large(free))
            with path.open('wb') as file:
                os.posix_fallocate(file.fileno(), 0, self.layout.total_bytes)
            (self.folder / READY).write_bytes(bytes(self.layout.entries))
        except StorageError:
            raise
        except OSError as error:
            path.unlink(missing_ok=True)
            raise StorageError(f'{path}: cannot be made: {error.strerror}') from error

    def _too_large(self, free: int) -> str:
        return (
            f'{self.folder}: the feature cache needs {self.layout.total_bytes / GB:.1f} GB, but '
            f'{free / GB:.1f} GB are free. Make room, give cache.folder on another disk, take '
            'fewer augment.variants or a smaller detector.min_side, or set cache.enabled: false.'
        )
