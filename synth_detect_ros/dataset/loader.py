"""Labelled images for training and validation: a stored synthetic set, or any COCO folder."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as rle
from torch.utils.data import Dataset

from synth_detect_ros.config import AugmentConfig
from synth_detect_ros.dataset.coco import read_coco
from synth_detect_ros.dataset.files import decode_image
from synth_detect_ros.errors import DatasetError
from synth_detect_ros.geometry.boxes import xyxy_from_xywh

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Image files and their boxes; a few arrays, whatever the number of images.

    Forked loader processes share arrays, but each touches, and so copies, Python objects
    (detectron2#887): names and masks are therefore kept as arrays of bytes.

    Attributes:
        folder: where the images lie.
        classes: class names.
        names: (I,) file names.
        first: (I + 1,) image i owns rows first[i] to first[i + 1] of the next arrays.
        labels: (N,) int64 class indices.
        boxes: (N, 4) float32 boxes [px, edges].
        masks: (N,) COCO run-length encodings as JSON bytes; empty text where there is none.
    """

    folder: Path
    classes: tuple[str, ...]
    names: NDArray[np.bytes_]
    first: NDArray[np.int64]
    labels: NDArray[np.int64]
    boxes: NDArray[np.float32]
    masks: NDArray[np.bytes_]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.names)

    @property
    def has_masks(self) -> bool:
        """Whether every instance has a mask."""
        return bool(len(self.masks)) and bool((self.masks != b'').all())


def read_labelled(
    images: Path, annotations: Path, classes: Sequence[str] | None = None
) -> LabelledImages:
    """Read a COCO annotation file.

    Args:
        images: folder of the image files.
        annotations: COCO JSON.
        classes: class names to keep, in this order; None takes those of the file by their id.

    Raises:
        DatasetError: the file is no COCO, or holds none of the classes.
    """
    content = read_coco(annotations)
    names = {c['id']: c['name'] for c in sorted(content['categories'], key=lambda c: c['id'])}
    wanted = tuple(classes) if classes is not None else tuple(names.values())
    if not set(wanted) & set(names.values()):
        raise DatasetError(
            f'{annotations}: none of the classes {", ".join(wanted)} is in it; it has '
            f'{", ".join(names.values()) or "no categories"}'
        )
    index = {id_: wanted.index(name) for id_, name in names.items() if name in wanted}
    rows: dict[int, list[dict[str, Any]]] = {image['id']: [] for image in content['images']}
    for row in content['annotations']:
        if row['category_id'] in index and not row.get('iscrowd') and min(row['bbox'][2:]) > 0:
            rows[row['image_id']].append(row)
    flat = [row for image in content['images'] for row in rows[image['id']]]
    counts = [len(rows[image['id']]) for image in content['images']]
    masks = [json.dumps(r['segmentation']) if r.get('segmentation') else '' for r in flat]
    return LabelledImages(
        folder=images,
        classes=wanted,
        names=np.array([image['file_name'] for image in content['images']], dtype=np.bytes_),
        first=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        labels=np.array([index[r['category_id']] for r in flat], np.int64),
        boxes=xyxy_from_xywh([r['bbox'] for r in flat]).astype(np.float32),
        masks=np.array(masks, dtype=np.bytes_),
    )


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image file as (H, W, 3) uint8 RGB.

    Raises:
        DatasetError: the file is missing or broken.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f'{path}: cannot be read: {error.strerror}') from error
    image = decode_image(data)
    if image is None:
        raise DatasetError(f'{path}: broken or no image ({len(data)} bytes); remove or restore it')
    return image


class TrainingSet(Dataset[tuple[NDArray[np.uint8], dict[str, torch.Tensor]]]):
    """Images with targets as the detector takes them, augmented.

    Args:
        images: what to read.
        indices: which of them, in the order of this set.
        augment: changes of an image; None for none.
        seed: item k of epoch e depends on (seed, e, k) alone, or with `augment.variants` N on
            (seed, e % N, k).
        masks: whether targets hold masks.
    """

    def __init__(
        self,
        images: LabelledImages,
        indices: Sequence[int],
        augment: AugmentConfig | None,
        seed: int,
        *,
        masks: bool = False,
    ) -> None:
        if masks and not images.has_masks:
            raise DatasetError(
                f'{images.folder}: has instances without masks; mask_rcnn needs them'
            )
        self.images = images
        self.indices = np.asarray(indices, np.int64)
        self.augment = augment
        self.seed = seed
        self.masks = masks

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.indices)

    def __getitem__(self, key: int) -> tuple[NDArray[np.uint8], dict[str, torch.Tensor]]:
        """Return image and target; `key` counts on through the epochs: key = e * len + k."""
        image = read_image(self.path(key))
        target = self.target(key, (image.shape[0], image.shape[1]))
        if self.augment is not None:
            change = self._change(key)
            image = jitter_colours(image, change)
            if change.flip:
                image = np.ascontiguousarray(image[:, ::-1])
        return image, target

    def path(self, key: int) -> Path:
        """Return the file of an image."""
        return self.images.folder / self.images.names[self._row(key)].decode()

    def variant(self, key: int) -> int:
        """Return which variant of its image an item is: the epoch, or its number of a cycle."""
        epoch = key // len(self)
        cycle = self.augment.variants if self.augment is not None else 1
        return epoch % cycle if cycle else epoch

    def target(self, key: int, size: tuple[int, int]) -> dict[str, torch.Tensor]:
        """Return the target of an item without reading its image.

        Args:
            key: see `__getitem__`.
            size: (height, width) of the image [px].
        """
        row = self._row(key)
        part = slice(*self.images.first[row : row + 2])
        boxes = self.images.boxes[part].copy()
        masks = _decode(self.images.masks[part], size) if self.masks else None
        if self.augment is not None and self._change(key).flip:
            boxes[:, [0, 2]] = size[1] - boxes[:, [2, 0]]
            masks = None if masks is None else np.ascontiguousarray(masks[:, :, ::-1])
        target = {
            'boxes': torch.from_numpy(boxes),
            'labels': torch.from_numpy(self.images.labels[part].copy()),
        }
        if masks is not None:
            target['masks'] = torch.from_numpy(masks)
        return target

    def _row(self, key: int) -> int:
        return int(self.indices[key % len(self)])

    def _change(self, key: int) -> Change:
        assert self.augment is not None
        rng = np.random.default_rng([self.seed, self.variant(key), self._row(key)])
        return draw_change(self.augment, rng)


def _decode(encoded: NDArray[np.bytes_], size: tuple[int, int]) -> NDArray[np.uint8]:
    masks = [rle.decode(_as_rle(json.loads(e), size)) for e in encoded]
    return np.stack(masks) if masks else np.zeros((0, *size), np.uint8)


def _as_rle(segmentation: Any, size: tuple[int, int]) -> Any:
    """Return a compressed run-length encoding of any COCO segmentation."""
    if isinstance(segmentation, list):
        return rle.merge(rle.frPyObjects(segmentation, *size))
    if isinstance(segmentation['counts'], list):
        return rle.frPyObjects(segmentation, *size)
    return segmentation


@dataclass(frozen=True)
class Change:
    """What is changed in one image.

    Attributes:
        hue: shift [steps of OpenCV's colour circle of 180].
        saturation: factor.
        contrast: factor around middle grey.
        brightness: offset [grey levels].
        flip: left becomes right.
    """

    hue: int = 0
    saturation: float = 1.0
    contrast: float = 1.0
    brightness: float = 0.0
    flip: bool = False


def draw_change(augment: AugmentConfig, rng: np.random.Generator) -> Change:
    """Draw the change of an image within the limits of a configuration."""
    hue, saturation = 0, 1.0
    if augment.hue or augment.saturation:
        hue = int(rng.uniform(-augment.hue, augment.hue) * 180)
        saturation = 1 + rng.uniform(-augment.saturation, augment.saturation)
    contrast = 1 + rng.uniform(-augment.contrast, augment.contrast)
    brightness = 255 * rng.uniform(-augment.brightness, augment.brightness) / 2
    flip = augment.flip and rng.random() < 0.5
    return Change(hue, saturation, contrast, brightness, flip)


def jitter_colours(image: NDArray[np.uint8], change: Change) -> NDArray[np.uint8]:
    """Change hue, saturation, contrast and brightness of a (H, W, 3) RGB image."""
    out, levels = image, np.arange(256)
    if change.hue or change.saturation != 1:
        hsv = cv2.cvtColor(out, cv2.COLOR_RGB2HSV)
        hue = ((levels + change.hue) % 180).astype(np.uint8)
        saturation = np.clip(levels * change.saturation, 0, 255).astype(np.uint8)
        table = np.stack([hue, saturation, levels.astype(np.uint8)], axis=1)[None]
        out = np.asarray(cv2.cvtColor(cv2.LUT(hsv, table), cv2.COLOR_HSV2RGB), np.uint8)
    grey = (levels - 128) * change.contrast + 128 + change.brightness
    return np.asarray(cv2.LUT(out, np.clip(grey, 0, 255).astype(np.uint8)), np.uint8)
