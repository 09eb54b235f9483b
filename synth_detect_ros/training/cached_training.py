"""Training on cached features: those of the frozen first stage are computed once and then read.

A step sees the same numbers in both cases: features that were just computed are read back in the
precision of the cache, and each image is computed alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from synth_detect_ros.config.options import to_mapping
from synth_detect_ros.dataset.loader import TrainingSet
from synth_detect_ros.detectors.detector import Detector, to_tensor
from synth_detect_ros.errors import DatasetError
from synth_detect_ros.files import read_image
from synth_detect_ros.training.batches import to_device
from synth_detect_ros.training.feature_cache import FeatureCache

# Of the entries; raise it when the same key would mean other features.
FORMAT = 2


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
        cache: of its features.
    """

    def __init__(self, images: TrainingSet, size: tuple[int, int], cache: FeatureCache) -> None:
        self.images, self.size, self.cache = images, size, cache

    def __getitem__(self, key: int) -> CachedItem:
        """Return an item of `TrainingSet` with its entry."""
        entry = self.images.variant(key) * len(self.images) + key % len(self.images)
        if entry in self.cache:
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
    """The features that a run trains on while the first stage is frozen.

    Args:
        detector: on its device, its first stage frozen.
        images: what it trains on; `augment.variants` is 1 or more.
        folder: of all caches.
        dtype: of the maps on disk.
        amp: whether autocast is on while the first stage runs.

    Attributes:
        frame: sizes of all images.
        cache: of the features.
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
        first = read_image(images.path(0))
        maps, self.frame = detector.features(to_tensor(first, self._device))
        self.cache = FeatureCache(
            folder / features_key(detector, images, dtype, amp=amp),
            shapes=[tuple(m.shape[1:]) for m in maps],
            dtype=getattr(torch, dtype),
            entries=images.augment.variants * len(images),
        )
        self.set = CachedSet(images, self.frame.image, self.cache)

    def read_batch(self, items: Sequence[CachedItem]) -> FeatureBatch:
        """Bring the targets of a batch to the device, and its maps where all of them are there.

        May be called in any thread.
        """
        cached = all(item.image is None for item in items)
        maps = self._read(items) if cached else None
        return FeatureBatch(items, maps, [to_device(item.target, self._device) for item in items])

    def compute(self, items: Sequence[CachedItem]) -> list[torch.Tensor]:
        """Return the maps of a batch, computing and keeping those that are missing.

        Returns:
            (B, C_i, H_i, W_i) float32 each.

        Raises:
            StorageError: the disk is full.
        """
        for item in items:
            if item.image is not None and item.entry not in self.cache:
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
    """Return the name of a cache: it changes with all that the features depend on.

    Raises:
        DatasetError: an image cannot be read.
    """
    config, stage = detector.config, detector.first_stage
    facts: dict[str, Any] = {
        'format': FORMAT,
        'network': repr(stage),
        'own_code': detector.own_code.sha256 if detector.own_code else None,
        'sides': [config.min_side, config.max_side, *(config.fixed_size or ())],
        'mean': list(detector.transform.image_mean),
        'std': list(detector.transform.image_std),
        'augment': to_mapping(images.augment),
        'seed': images.seed,
        'dtype': dtype,
        'amp': amp,
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, weights in sorted(stage.state_dict().items()):
        digest.update(name.encode())
        digest.update(weights.cpu().contiguous().numpy().tobytes())
    for row, path in ((images.indices[key], images.path(key)) for key in range(len(images))):
        digest.update(f'{row} {path.name} '.encode())
        try:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError as error:
            raise DatasetError(f'{path}: cannot be read: {error.strerror}') from error
    return digest.hexdigest()[:24]
