"""The feature cache on disk: maps of a frozen extractor, a file for each image and variant.

A folder is named after all that its features depend on. A file gets its name when its content is
on the disk, so that there are whole entries only, whether a run is killed or several runs share
the folder. Nothing is ever deleted: remove the folders of features that no run uses any more.
"""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

from synth_detect_ros.errors import StorageError
from synth_detect_ros.files import make_folder, write_atomic
from synth_detect_ros.folders import remove_leftovers

logger = logging.getLogger(__name__)

SUFFIX = '.features'
GB = 1e9


class FeatureCache:
    """Entries of feature maps on disk, by number.

    Args:
        folder: of this cache; made when it is missing.
        shapes: (C, H, W) of each map of an entry.
        dtype: of the maps on disk.
        entries: how many there will be.

    Raises:
        StorageError: the disk cannot hold what is missing.
    """

    def __init__(
        self, folder: Path, shapes: Sequence[tuple[int, ...]], dtype: torch.dtype, entries: int
    ) -> None:
        self.folder, self.shapes, self.dtype = folder, tuple(shapes), dtype
        self._sizes = [math.prod(shape) for shape in shapes]
        self._entry_bytes = sum(self._sizes) * dtype.itemsize
        make_folder(folder)
        remove_leftovers(folder)
        missing = entries - sum(entry in self for entry in range(entries))
        logger.info(
            'feature cache %s: %d entries of %.2f MB, %.2f GB, %d to be computed',
            folder,
            entries,
            self._entry_bytes / 1e6,
            entries * self._entry_bytes / GB,
            missing,
        )
        needed, free = missing * self._entry_bytes, shutil.disk_usage(folder).free
        if free < needed:
            raise StorageError(
                f'{folder}: the feature cache needs {needed / GB:.1f} GB, but {free / GB:.1f} GB '
                'are free. Make room, give cache.folder on another disk, take fewer '
                'augment.variants or a smaller detector.min_side, or set cache.enabled: false.'
            )

    def __contains__(self, entry: int) -> bool:
        """Return whether an entry is there."""
        try:
            return self._path(entry).stat().st_size == self._entry_bytes
        except FileNotFoundError:
            return False

    def get(self, entry: int) -> list[torch.Tensor]:
        """Return the (C, H, W) maps of an entry that is there, in the precision of the disk."""
        path, length = str(self._path(entry)), sum(self._sizes)
        values = torch.from_file(path, shared=False, size=length, dtype=self.dtype)
        parts = zip(torch.split(values, self._sizes), self.shapes, strict=True)
        return [part.view(shape) for part, shape in parts]

    def put(self, entry: int, maps: Sequence[torch.Tensor]) -> None:
        """Keep the maps of an entry, from any device and in any precision.

        Raises:
            StorageError: writing failed; the other entries are intact.
        """
        flat = torch.cat([m.detach().cpu().float().flatten() for m in maps]).to(self.dtype)
        write_atomic(self._path(entry), flat.view(torch.uint8).numpy().data)

    def _path(self, entry: int) -> Path:
        return self.folder / f'{entry:08d}{SUFFIX}'
