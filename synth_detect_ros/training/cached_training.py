"""Features of the frozen first stage for training: read where they are known, else computed.

What a step sees does not depend on where it came from: also features that were just computed have
the precision of the cache, and each image is computed alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from synth_detect_ros.config.options import to_mapping
from synth_detect_ros.dataset.files import read_image
from synth_detect_ros.dataset.loader import TrainingSet
from synth_detect_ros.detectors.detector import Detector, to_tensor
from synth_detect_ros.errors import DatasetError
from synth_detect_ros.training.batches import to_device
from synth_detect_ros.training.feature_cache import FeatureCache, Layout, cache_key

# Of the entries; raise it when the same key would mean other features.
FORMAT = 1


@dataclass(frozen=True, eq=False)
class CachedItem:
    """An item of a batch.

    Attributes:
        entry: of the cache.
        image: (H, W, 3) uint8 RGB; None where the cache has the entry.
        target: see `Detector.forward`.
    """

    entry: int
    image: NDArray[np.uint8] | None
    target: dict[str, torch.Tensor]


@dataclass(frozen=True, eq=False)
class FeatureBatch:
    """A batch of items.

    Attributes:
        items: of the batch.
        maps: (B, C_i, H_i, W_i) float32 features; None where some have to be computed.
        targets: on the device of the detector, see `Detector.forward`.
    """

    items: Sequence[CachedItem]
    maps: list[torch.Tensor] | None
    targets: list[dict[str, torch.Tensor]]


class CachedSet(Dataset[CachedItem]):
    """A training set that reads images only where the cache has no features of them.

    Args:
        images: the set.
        size: (height, width) of its images [px].
        ready: which entries the cache has.
    """

    def __init__(self, images: TrainingSet, size: tuple[int, int], ready: torch.Tensor) -> None:
        self.images, self.size, self.ready = images, size, ready

    def __getitem__(self, key: int) -> CachedItem:
        """Return an item of `TrainingSet` with its entry."""
        entry = self.images.variant(key) * len(self.images) + key % len(self.images)
        if self.ready[entry]:
            return CachedItem(entry, None, self.images.target(key, self.size))
        image, target = self.images[key]
        if image.shape[:2] != self.size:
            raise DatasetError(
                f'{self.images.path(key)} has {image.shape[1]}x{image.shape[0]} pixels, others '
                f'{self.size[1]}x{self.size[0]}: the feature cache needs images of one size. '
                'Set cache.enabled: false.'
            )
        return CachedItem(entry, image, target)


class CachedFeatures:
    """The cache of a training run.

    Args:
        detector: on its device, its first stage frozen.
        images: what it trains on; `augment.variants` is 1 or more.
        folder: of all caches.
        dtype: of the maps on disk.
        amp: whether autocast is on while the first stage runs.

    Attributes:
        frame: sizes of all images.
        set: the images by entry.

    Raises:
        DatasetError: an image is missing or broken.
        StorageError: the disk cannot hold the cache.
    """

    def __init__(
        self, detector: Detector, images: TrainingSet, folder: Path, dtype: str, *, amp: bool
    ) -> None:
        self._detector = detector
        self._device = next(detector.parameters()).device
        assert images.augment is not None
        first = read_image(images.path(0))
        maps, self.frame = detector.features(to_tensor(first, self._device))
        layout = Layout(
            shapes=tuple(tuple(m.shape[1:]) for m in maps),
            dtype=getattr(torch, dtype),
            entries=images.augment.variants * len(images),
        )
        key = features_key(detector, images, dtype, amp=amp)
        self.cache = FeatureCache(folder / key, layout)
        self.set = CachedSet(images, self.frame.image, self.cache.ready)

    def read_batch(self, items: Sequence[CachedItem]) -> FeatureBatch:
        """Bring the targets of a batch to the device, and its maps where all of them are there.

        May be called in any thread.
        """
        cached = all(item.image is None for item in items)
        maps = self._read(items) if cached else None
        return FeatureBatch(items, maps, [to_device(item.target, self._device) for item in items])

    def compute(self, items: Sequence[CachedItem]) -> list[torch.Tensor]:
        """Return the maps of a batch, computing and keeping those that are missing."""
        for item in items:
            if item.image is not None and not self.cache.ready[item.entry]:
                maps, _ = self._detector.features(to_tensor(item.image, self._device))
                self.cache.put(item.entry, maps)
        return self._read(items)

    def _read(self, items: Sequence[CachedItem]) -> list[torch.Tensor]:
        """Return the (B, C_i, H_i, W_i) float32 maps of a batch."""
        levels = zip(*(self.cache.get(item.entry) for item in items), strict=True)
        with torch.autocast('cpu', enabled=False):  # there it refuses float16
            maps = {str(i): torch.stack(level) for i, level in enumerate(levels)}
        return [m.float() for m in to_device(maps, self._device).values()]


def features_key(detector: Detector, images: TrainingSet, dtype: str, *, amp: bool) -> str:
    """Return the name of a cache: it changes with all that the features depend on."""
    assert images.augment is not None
    stage = detector.first_stage
    facts: dict[str, Any] = {
        'format': FORMAT,
        'network': repr(stage),
        'neck': [detector.config.neck, detector.config.fpn_finest_stride],
        'min_side': detector.config.min_side,
        'max_side': detector.config.max_side,
        'mean': list(detector.transform.image_mean),
        'std': list(detector.transform.image_std),
        'images': _hash_images(images),
        'augment': to_mapping(images.augment),
        'seed': images.seed,
        'dtype': dtype,
        'amp': amp,
    }
    if detector.config.fixed_size:  # without, keys stay those of caches that are there
        facts['fixed_size'] = list(detector.config.fixed_size)
    return cache_key(stage.state_dict(), facts)


def _hash_images(images: TrainingSet) -> str:
    """Hash names, places in the set and content of the image files."""
    digest = hashlib.sha256()
    for key in range(len(images)):
        path = images.path(key)
        row = int(images.indices[key])
        digest.update(f'{row} {path.name} '.encode())
        try:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError as error:
            raise DatasetError(f'{path}: cannot be read: {error.strerror}') from error
    return digest.hexdigest()
