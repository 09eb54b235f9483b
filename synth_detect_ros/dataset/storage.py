"""The data set on disk: images, COCO annotations, and what they were made from.

    dataset.yaml        resolved configuration, camera, classes, versions, fingerprint of inputs,
                        and what the run took
    images/             000000.jpg ...
    annotations.json    COCO, written last: where it is, the data set is complete
    parts/              annotations of the shards that are done, while the run lasts

A shard is `SHARD` images in a row: the unit of work and of resuming. Each file is either whole or
absent, so a run that is killed at any moment continues.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from pycocotools import mask as rle

from synth_detect_ros.compute.timing import Stopwatch, Timing
from synth_detect_ros.config import OutputConfig
from synth_detect_ros.dataset.coco import encode_mask, read_coco
from synth_detect_ros.dataset.files import decode_image, encode_image, write_atomic
from synth_detect_ros.errors import DatasetError, StorageError
from synth_detect_ros.geometry.boxes import xywh_from_xyxy, xyxy_from_xywh
from synth_detect_ros.structures import Instances, Sample

logger = logging.getLogger(__name__)

SHARD = 16
INFO_FILE, COCO_FILE = 'dataset.yaml', 'annotations.json'
IMAGES_FOLDER, PARTS_FOLDER = 'images', 'parts'


class DatasetWriter:
    """Writes a data set; any number of processes may each hold one for different shards.

    Args:
        folder: of the data set.
        count: images of the whole data set.
        output: image format and quality.
    """

    def __init__(self, folder: Path, count: int, output: OutputConfig) -> None:
        self.folder, self.count, self._output = folder, count, output

    @property
    def complete(self) -> bool:
        """Whether all images and annotations are there."""
        return (self.folder / COCO_FILE).exists()

    def begin(self, info: Mapping[str, Any]) -> None:
        """Make the folder, or check that it was made from the same inputs.

        Args:
            info: content of dataset.yaml; its `fingerprint` decides.

        Raises:
            DatasetError: the folder holds something else.
            StorageError: the folder cannot be written.
        """
        path = self.folder / INFO_FILE
        if path.exists():
            found = read_info(self.folder).get('fingerprint')
            if found != info['fingerprint']:
                raise DatasetError(
                    f'{self.folder} holds a data set of another configuration, camera, objects or '
                    'backgrounds. Give another folder, or delete this one to start afresh.'
                )
            return
        if self.folder.exists() and any(self.folder.iterdir()):
            raise DatasetError(
                f'{self.folder} is not empty and holds no {INFO_FILE}. Give a new folder.'
            )
        try:
            for name in (IMAGES_FOLDER, PARTS_FOLDER):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                error.errno, f'{self.folder}: cannot be made a data set ({error.strerror})'
            ) from error
        self._write_info(info)

    def missing(self) -> list[range]:
        """Return the shards that are not there yet, as ranges of image indices."""
        shards = (
            range(first, min(first + SHARD, self.count)) for first in range(0, self.count, SHARD)
        )
        return [shard for shard in shards if not self._part(shard.start).exists()]

    def write_image(
        self, index: int, sample: Sample, watch: Stopwatch | None = None
    ) -> dict[str, Any]:
        """Write one image; return its record for `write_shard`.

        Args:
            index: of the image.
            sample: its pixels and ground truth.
            watch: told what encoding and writing take.

        Raises:
            StorageError: the disk is full or the folder cannot be written.
        """
        watch = watch or Stopwatch()
        name = f'{index:06d}.{self._output.format}'
        with watch.stage('encode'):
            data = encode_image(sample.image, self._output.format, self._output.jpeg_quality)
            height, width = sample.ids.shape
            image = {'id': index, 'file_name': name, 'width': width, 'height': height}
            record = {'image': image, 'annotations': list(_annotations(index, sample))}
        with watch.stage('write'):
            write_atomic(self.folder / IMAGES_FOLDER / name, data)
        return record

    def write_shard(self, shard: range, records: Sequence[Mapping[str, Any]]) -> None:
        """Record a shard as done; its images must be written."""
        lines = ''.join(json.dumps(record) + '\n' for record in records)
        write_atomic(self._part(shard.start), lines.encode())

    def finish(self, classes: Sequence[str], timing: Timing | None = None) -> NDArray[np.int64]:
        """Merge all shards into annotations.json; add what the run took to dataset.yaml.

        Args:
            classes: names of the target objects.
            timing: of the run that made the last shards.

        Returns:
            (len(classes),) number of objects of each class.

        Raises:
            DatasetError: a shard is missing.
        """
        missing = self.missing()
        if missing:
            raise DatasetError(f'{self.folder}: {sum(map(len, missing))} images are not made yet')
        images: list[Any] = []
        annotations: list[Any] = []
        for first in range(0, self.count, SHARD):
            for line in self._part(first).read_text().splitlines():
                record = json.loads(line)
                images.append(record['image'])
                for row in record['annotations']:
                    annotations.append({'id': len(annotations) + 1, **row})
        coco = {
            'info': {'description': 'synthetic images made by synth_detect_ros'},
            'categories': [{'id': i + 1, 'name': name} for i, name in enumerate(classes)],
            'images': images,
            'annotations': annotations,
        }
        if timing is not None:
            self._write_info({**read_info(self.folder), 'timing': timing.to_mapping()})
        write_atomic(self.folder / COCO_FILE, json.dumps(coco).encode())
        shutil.rmtree(self.folder / PARTS_FOLDER)
        labels = np.array([row['category_id'] - 1 for row in annotations], np.int64)
        return np.bincount(labels, minlength=len(classes))

    def _write_info(self, info: Mapping[str, Any]) -> None:
        text = yaml.safe_dump(dict(info), sort_keys=False)
        write_atomic(self.folder / INFO_FILE, text.encode())

    def _part(self, first: int) -> Path:
        return self.folder / PARTS_FOLDER / f'{first:08d}.jsonl'


def _annotations(index: int, sample: Sample) -> Iterator[dict[str, Any]]:
    """Yield the COCO annotations of one sample, without ids."""
    truth = sample.instances
    for i in range(len(truth)):
        x0, y0, x1, y1 = map(int, truth.boxes[i])
        mask = sample.ids[y0:y1, x0:x1] == i + 1
        yield {
            'image_id': index,
            'category_id': int(truth.labels[i]) + 1,
            'bbox': xywh_from_xyxy(truth.boxes[i])[0].tolist(),
            'area': int(np.count_nonzero(mask)),
            'iscrowd': 0,
            'segmentation': encode_mask(mask, x0, y0, sample.ids.shape),
            'pose': truth.poses[i].tolist(),
            'visib_fract': float(truth.visib_fract[i]),
            'amodal_bbox': xywh_from_xyxy(truth.amodal_boxes[i])[0].tolist(),
        }


def read_info(folder: Path) -> dict[str, Any]:
    """Read dataset.yaml.

    Raises:
        DatasetError: it is missing or broken.
    """
    path = folder / INFO_FILE
    try:
        info = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise DatasetError(f'{folder} is no data set: it has no {INFO_FILE}') from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DatasetError(f'{path}: cannot be read: {error}') from error
    if not isinstance(info, dict):
        raise DatasetError(f'{path}: wanted a mapping; the file is empty or broken')
    return info


@dataclass(frozen=True, eq=False)
class StoredDataset:
    """A complete data set, opened by `open_dataset`.

    Attributes:
        folder: where it lies.
        info: content of dataset.yaml.
        coco: content of annotations.json.
    """

    folder: Path
    info: dict[str, Any]
    coco: dict[str, Any]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.coco['images'])

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; label i is classes[i]."""
        return tuple(category['name'] for category in self.coco['categories'])

    def annotations(self, index: int) -> list[dict[str, Any]]:
        """Return the annotations of image `index`, in the order of the sample's instances."""
        return [row for row in self.coco['annotations'] if row['image_id'] == index]

    def sample(self, index: int) -> Sample:
        """Read image `index` with its ground truth.

        Raises:
            DatasetError: the image file is missing or broken.
        """
        entry = self.coco['images'][index]
        path = self.folder / IMAGES_FOLDER / entry['file_name']
        try:
            image = decode_image(path.read_bytes())
        except OSError as error:
            raise DatasetError(f'{path}: cannot be read: {error.strerror}') from error
        if image is None:
            raise DatasetError(f'{path}: no complete image; delete the data set and make it again')
        rows = self.annotations(index)
        ids = np.zeros((entry['height'], entry['width']), np.uint8)
        for number, row in enumerate(rows):
            ids[rle.decode(row['segmentation']) > 0] = number + 1
        return Sample(image, ids, _instances(rows))


def _instances(rows: Sequence[Mapping[str, Any]]) -> Instances:
    def boxes(key: str) -> NDArray[np.float64]:
        return xyxy_from_xywh([row[key] for row in rows])

    return Instances(
        labels=np.array([row['category_id'] - 1 for row in rows], np.int64),
        boxes=boxes('bbox'),
        amodal_boxes=boxes('amodal_bbox'),
        visib_fract=np.array([row['visib_fract'] for row in rows], np.float64),
        poses=np.array([row['pose'] for row in rows], np.float64).reshape(-1, 4, 4),
    )


def open_dataset(folder: Path) -> StoredDataset:
    """Open a complete data set.

    Raises:
        DatasetError: it is missing, broken, or its run was interrupted.
    """
    info = read_info(folder)
    if not (folder / COCO_FILE).exists():
        raise DatasetError(
            f'{folder}: the run that makes it was interrupted. Start it again with the same '
            'configuration to continue.'
        )
    return StoredDataset(folder, info, read_coco(folder / COCO_FILE))
