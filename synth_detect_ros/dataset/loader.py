"""Labelled images for training and validation: a stored synthetic set, or any COCO folder."""

from __future__ import annotations

import json
from collections.abc import Sequence, Sized
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from synth_detect_ros.config import AugmentConfig
from synth_detect_ros.dataset.augment import Change, Item, Target, draw_change
from synth_detect_ros.dataset.coco import by_image, read_coco
from synth_detect_ros.dataset.image_files import image_files, read_annotated
from synth_detect_ros.dataset.segmentations import decode_segmentation
from synth_detect_ros.errors import DatasetError
from synth_detect_ros.geometry.boxes import xyxy_from_xywh


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Image files and their boxes; a few arrays, whatever the number of images.

    Forked loader processes share arrays, but each touches, and so copies, Python objects
    (detectron2#887): names and masks are therefore kept as arrays of bytes.

    Attributes:
        folder: where the images lie.
        classes: class names.
        names: (I,) file names.
        sizes: (I, 2) int32 width and height of the images [px], as the annotations have them.
        first: (I + 1,) image i owns rows first[i] to first[i + 1] of the next arrays.
        labels: (N,) int64 class indices.
        boxes: (N, 4) float32 boxes [px, edges].
        masks: (B,) uint8 COCO segmentations as JSON, one behind the other.
        masks_first: (N + 1,) instance n owns bytes masks_first[n] to masks_first[n + 1], or none.
    """

    folder: Path
    classes: tuple[str, ...]
    names: NDArray[np.bytes_]
    sizes: NDArray[np.int32]
    first: NDArray[np.int64]
    labels: NDArray[np.int64]
    boxes: NDArray[np.float32]
    masks: NDArray[np.uint8]
    masks_first: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.names)

    @property
    def has_masks(self) -> bool:
        """Whether every instance has a mask."""
        return len(self.labels) > 0 and bool((np.diff(self.masks_first) > 0).all())

    def mask(self, row: int, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Return the mask of an instance as (H, W) uint8, 0 or 1.

        Args:
            row: of the instance.
            size: (height, width) of its image [px].
        """
        text = self.masks[slice(*self.masks_first[row : row + 2])].tobytes()
        return decode_segmentation(json.loads(text), size)


def read_labelled(images: Path, annotations: Path) -> LabelledImages:
    """Read a COCO annotation file; crowds are left out.

    Args:
        images: folder of the image files.
        annotations: COCO JSON; its categories in the order of their ids are the classes.

    Raises:
        DatasetError: see `coco.read_coco`; or an image is missing or leads out of the folder
            around `images`.
    """
    content = read_coco(annotations, within=annotations.parent)
    names = [image['file_name'] for image in content['images']]
    image_files(images, names, within=images.parent)
    categories = sorted(content['categories'], key=lambda category: category['id'])
    labels = {category['id']: label for label, category in enumerate(categories)}
    rows = by_image(row for row in content['annotations'] if not row['iscrowd'])
    groups = [rows[image['id']] for image in content['images']]
    flat = [row for group in groups for row in group]
    masks = [json.dumps(r['segmentation']).encode() if 'segmentation' in r else b'' for r in flat]
    return LabelledImages(
        folder=images,
        classes=tuple(category['name'] for category in categories),
        names=np.array([name.encode() for name in names]),
        sizes=np.array([[i['width'], i['height']] for i in content['images']], np.int32),
        first=_starts(groups),
        labels=np.array([labels[r['category_id']] for r in flat], np.int64),
        boxes=xyxy_from_xywh([r['bbox'] for r in flat]).astype(np.float32),
        masks=np.frombuffer(b''.join(masks), np.uint8),
        masks_first=_starts(masks),
    )


def _starts(parts: Sequence[Sized]) -> NDArray[np.int64]:
    """Return where each part begins when they lie behind each other, and where the last ends."""
    return np.cumsum([0, *map(len, parts)], dtype=np.int64)


class TrainingSet(Dataset[Item]):
    """Images with targets as the detector takes them, augmented.

    Args:
        images: what to read.
        indices: which of them, in the order of this set.
        augment: changes of an image.
        seed: item k of epoch e depends on (seed, e, k) alone, or with `augment.variants` N on
            (seed, e % N, k).
        masks: whether targets hold masks.

    Raises:
        DatasetError: masks are asked for, and an instance has none.
    """

    def __init__(
        self,
        images: LabelledImages,
        indices: Sequence[int],
        augment: AugmentConfig,
        seed: int,
        *,
        masks: bool = False,
    ) -> None:
        bare = np.flatnonzero(np.diff(images.masks_first) == 0).tolist()
        if masks and bare:
            name = bytes(images.names[(images.first <= bare[0]).nonzero()[0][-1]]).decode()
            raise DatasetError(
                f'{images.folder}: {len(bare)} of {len(images.labels)} annotations have no mask, '
                f'the first is one of {name}. Give all of them one, or train a detector of boxes.'
            )
        self.images = images
        self.indices = np.asarray(indices, np.int64)
        self.augment, self.seed, self.masks = augment, seed, masks

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.indices)

    def __getitem__(self, key: int) -> Item:
        """Return image and target; `key` counts on through the epochs: key = e * len + k."""
        image = self._read(key)
        target = self.target(key, (image.shape[0], image.shape[1]))
        return self._change(key).image(image), target

    def _read(self, key: int) -> NDArray[np.uint8]:
        return read_annotated(self.path(key), self.images.sizes[self._row(key)].tolist())

    def path(self, key: int) -> Path:
        """Return the file of an image."""
        return self.images.folder / self.images.names[self._row(key)].decode()

    def variant(self, key: int) -> int:
        """Return which variant of its image an item is: the epoch, or its number of a cycle."""
        epoch, cycle = key // len(self), self.augment.variants
        return epoch % cycle if cycle else epoch

    def target(self, key: int, size: tuple[int, int]) -> Target:
        """Return the target of an item without reading its image.

        Args:
            key: see `__getitem__`.
            size: (height, width) of the image [px].
        """
        row = self._row(key)
        rows = range(*self.images.first[row : row + 2].tolist())
        part = slice(rows.start, rows.stop)
        target = {
            'boxes': torch.from_numpy(self.images.boxes[part].copy()),
            'labels': torch.from_numpy(self.images.labels[part].copy()),
        }
        if self.masks:
            masks = [self.images.mask(i, size) for i in rows]
            shape = len(masks), *size
            target['masks'] = torch.from_numpy(np.array(masks, np.uint8).reshape(shape))
        return self._change(key).target(target, size[1])

    def _row(self, key: int) -> int:
        return int(self.indices[key % len(self)])

    def _change(self, key: int) -> Change:
        rng = np.random.default_rng([self.seed, self.variant(key), self._row(key)])
        return draw_change(self.augment, rng)
