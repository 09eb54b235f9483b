"""The data set on disk: images, COCO annotations, and what they were made from.

    dataset.yaml        resolved configuration, camera, classes, versions, fingerprint of inputs,
                        and how long the run took
    images/             000000.jpg ...
    annotations.json    COCO, written last: where it is, the data set is complete
    parts/              annotations of the shards that are done, while the run lasts

A shard is `SHARD` images in a row: the unit of work and of resuming. Each file is either whole or
absent, so a run that is killed at any moment continues.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from synth_detect_ros.compute.timing import Stopwatch, Timing
from synth_detect_ros.config import OutputConfig
from synth_detect_ros.config.options import differences
from synth_detect_ros.dataset.coco import PARTS_FOLDER, encode_mask
from synth_detect_ros.documents import DEFAULT_JSON_MB, JSON_MB, parse_json, read_text, read_yaml
from synth_detect_ros.errors import DatasetError
from synth_detect_ros.files import encode_image, make_folder, write_atomic
from synth_detect_ros.folders import LOCK, remove_leftovers
from synth_detect_ros.geometry.boxes import xywh_from_xyxy
from synth_detect_ros.images.places import inside
from synth_detect_ros.structures import Sample

SHARD = 16
# Of dataset.yaml; others are refused.
FORMAT = 1
# Options that say where something lies, or who makes it: they do not change a data set.
PLACES = ('out', 'workers', 'objects', 'distractors', 'backgrounds', 'camera')
INFO_FILE, COCO_FILE, IMAGES_FOLDER = 'dataset.yaml', 'annotations.json', 'images'


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
    def settled(self) -> bool:
        """Whether the data set is complete and there is nothing to tidy up, or no right to."""
        left = any((self.folder / name).exists() for name in (PARTS_FOLDER, LOCK))
        return self.complete and not (left and os.access(self.folder, os.W_OK))

    @property
    def complete(self) -> bool:
        """Whether all images and annotations are there."""
        file = self.folder / COCO_FILE
        return file.exists() and file.stat().st_size > 0

    def begin(self, info: Mapping[str, Any]) -> None:
        """Make the folder, or check that it was made from the same inputs.

        Args:
            info: content of dataset.yaml; its `fingerprint` decides.

        Raises:
            DatasetError: the folder holds something else.
            StorageError: the folder cannot be written.
        """
        if self._begun():
            there = read_info(self.folder)
            if there.get('fingerprint') != info['fingerprint']:
                raise DatasetError(
                    f'{self.folder} holds another data set: {_what_differs(there, info)}. Give '
                    'another folder, or delete this one to start afresh.'
                )
        else:
            make_folder(self.folder)
            self._write_info(info)
        if self.complete:
            shutil.rmtree(self.folder / PARTS_FOLDER, ignore_errors=True)  # it may be left over
            return
        for name in (IMAGES_FOLDER, PARTS_FOLDER):
            make_folder(self.folder / name)
            remove_leftovers(self.folder / name)

    def _begun(self) -> bool:
        """Return whether there is a data set; not if a run ended before its first image.

        Raises:
            DatasetError: the folder holds something else.
        """
        names = {path.name for path in self.folder.iterdir()} if self.folder.exists() else set()
        parts = (self.folder / name for name in (IMAGES_FOLDER, PARTS_FOLDER))
        empty = {LOCK, INFO_FILE} | {part.name for part in parts if not _has_files(part)}
        if INFO_FILE in names and names - empty:
            return True
        if names - empty:
            raise DatasetError(
                f'{self.folder} is not empty and holds no {INFO_FILE}. Give a new folder.'
            )
        return False

    def missing(self) -> list[range]:
        """Return the shards that are not there yet, as ranges of image indices."""
        return [shard for shard in self._shards() if self._records(shard) is None]

    def _records(self, shard: range) -> list[dict[str, Any]] | None:
        """Return the records of a shard; None when it, or an image of it, is not there whole."""
        path = self._part(shard)
        try:
            lines = read_text(path, DatasetError, JSON_MB, DEFAULT_JSON_MB).splitlines()
            records = [parse_json(line, str(path), DatasetError) for line in lines]
            for index, record in zip(shard, records, strict=True):
                name = self._image_name(index)
                if record['image']['file_name'] != name or not all(
                    isinstance(row['category_id'], int) for row in record['annotations']
                ):
                    return None
                if not (self.folder / IMAGES_FOLDER / name).stat().st_size:
                    return None
        except (FileNotFoundError, DatasetError, ValueError, KeyError, TypeError):
            return None
        return records

    def write_image(self, index: int, sample: Sample, watch: Stopwatch) -> dict[str, Any]:
        """Write one image; return its record for `write_shard`.

        Args:
            index: of the image.
            sample: its pixels and ground truth.
            watch: measures how long encoding and writing take.

        Raises:
            StorageError: the disk is full or the folder cannot be written.
        """
        name = self._image_name(index)
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
        write_atomic(self._part(shard), lines.encode())

    def finish(self, classes: Sequence[str], timing: Timing) -> NDArray[np.int64]:
        """Merge all shards into annotations.json; add `timing` to dataset.yaml.

        Args:
            classes: names of the target objects.
            timing: of the run that made the last shards.

        Returns:
            (len(classes),) number of objects of each class.

        Raises:
            DatasetError: a shard is missing.
        """
        parts = {shard: self._records(shard) for shard in self._shards()}
        if missing := [shard for shard, found in parts.items() if found is None]:
            raise DatasetError(f'{self.folder}: {sum(map(len, missing))} images are not made yet')
        records = [record for found in parts.values() for record in found or ()]
        rows = [row for record in records for row in record['annotations']]
        coco = {
            'info': {'description': 'synthetic images made by synth_detect_ros'},
            'categories': [{'id': i + 1, 'name': name} for i, name in enumerate(classes)],
            'images': [record['image'] for record in records],
            'annotations': [{'id': i + 1, **row} for i, row in enumerate(rows)],
        }
        self._write_info({**read_info(self.folder), 'timing': timing.to_mapping()})
        write_atomic(self.folder / COCO_FILE, json.dumps(coco).encode())
        shutil.rmtree(self.folder / PARTS_FOLDER, ignore_errors=True)
        labels = np.array([row['category_id'] - 1 for row in rows], np.int64)
        return np.bincount(labels, minlength=len(classes))

    def _write_info(self, info: Mapping[str, Any]) -> None:
        text = yaml.safe_dump(dict(info), sort_keys=False)
        write_atomic(self.folder / INFO_FILE, text.encode())

    def _shards(self) -> Iterator[range]:
        for first in range(0, self.count, SHARD):
            yield range(first, min(first + SHARD, self.count))

    def _image_name(self, index: int) -> str:
        return f'{index:06d}.{self._output.format}'

    def _part(self, shard: range) -> Path:
        return self.folder / PARTS_FOLDER / f'{shard.start:08d}.jsonl'


def _has_files(folder: Path) -> bool:
    return folder.is_dir() and any(not path.name.startswith('.') for path in folder.iterdir())


def _annotations(index: int, sample: Sample) -> Iterator[dict[str, Any]]:
    """Yield the COCO annotations of one sample, without ids."""
    truth = sample.instances
    boxes, amodal = xywh_from_xyxy(truth.boxes), xywh_from_xyxy(truth.amodal_boxes)
    for i, (x0, y0, x1, y1) in enumerate(truth.boxes.astype(int)):
        mask = sample.ids[y0:y1, x0:x1] == i + 1
        yield {
            'image_id': index,
            'category_id': int(truth.labels[i]) + 1,
            'bbox': boxes[i].tolist(),
            'area': int(np.count_nonzero(mask)),
            'iscrowd': 0,
            'segmentation': encode_mask(mask, x0, y0, sample.ids.shape),
            'pose': truth.poses[i].tolist(),
            'visib_fract': float(truth.visib_fract[i]),
            'amodal_bbox': amodal[i].tolist(),
        }


def _what_differs(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """Return what makes two data sets different, from their dataset.yaml."""
    options = [
        {k: v for k, v in (info.get('config') or {}).items() if k not in PLACES}
        for info in (there, here)
    ]
    changes = list(differences(*options).values())
    inputs = [info.get('inputs') or {} for info in (there, here)]
    if there.get('camera') != here.get('camera'):
        changes.append('its camera differs')
    for key, name in (('models', 'CAD models or their limits'), ('backgrounds', 'backgrounds')):
        if inputs[0].get(key) != inputs[1].get(key):
            changes.append(f'its {name} differ')
    return ', '.join(changes) or 'it is of another version of synth_detect_ros'


def read_info(folder: Path) -> dict[str, Any]:
    """Read dataset.yaml.

    Raises:
        DatasetError: it is missing, broken, or of another format.
    """
    path = folder / INFO_FILE
    if not path.exists():
        raise DatasetError(
            f'{folder} is no data set: it has no {INFO_FILE}. synth-detect synthesize makes one.'
        )
    info = read_yaml(inside(path, folder, DatasetError), DatasetError)
    if not isinstance(info, dict):
        raise DatasetError(f'{path}: wanted a mapping; the file is empty or broken')
    if info.get('format', FORMAT) != FORMAT:
        raise DatasetError(
            f'{path}: format {info["format"]}, but this version of synth_detect_ros reads '
            f'{FORMAT}; make the data set again or install the matching version'
        )
    return info
