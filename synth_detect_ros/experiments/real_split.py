"""Real labelled frames split by time: the first ones to train on, the others to test on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synth_detect_ros.dataset.coco import read_coco
from synth_detect_ros.dataset.files import write_atomic
from synth_detect_ros.errors import DatasetError
from synth_detect_ros.experiments.grid import RealSet

Coco = dict[str, Any]


def split_by_time(content: Mapping[str, Any], share: float) -> tuple[Coco, Coco]:
    """Return a COCO mapping of the first images and one of the others, in their order.

    Args:
        content: COCO mapping, images in the order in which they were taken.
        share: of the images that come first.

    Raises:
        DatasetError: one of the parts would be empty.
    """
    count = round(share * len(content['images']))
    if not 0 < count < len(content['images']):
        raise DatasetError(
            f'{len(content["images"])} real images are too few to split at {share:.0%}'
        )
    images = content['images']
    return _part(content, images[:count]), _part(content, images[count:])


def _part(content: Mapping[str, Any], images: Sequence[Mapping[str, Any]]) -> Coco:
    ids = {image['id'] for image in images}
    rows = [row for row in content['annotations'] if row['image_id'] in ids]
    return {'images': list(images), 'annotations': rows, 'categories': content['categories']}


def only_classes(content: Mapping[str, Any], classes: Sequence[str], source: str) -> Coco:
    """Return a COCO mapping without the categories that are not in `classes`.

    Raises:
        DatasetError: none of the classes is there.
    """
    kept = [row for row in content['categories'] if row['name'] in classes]
    if not kept:
        raise DatasetError(f'{source}: none of the classes {", ".join(classes)} is in it')
    ids = {row['id'] for row in kept}
    rows = [row for row in content['annotations'] if row['category_id'] in ids]
    return {'images': content['images'], 'annotations': rows, 'categories': kept}


def write_split(
    real: Sequence[RealSet], classes: Sequence[str], share: float, folder: Path
) -> dict[str, Path]:
    """Write the split of a camera: a data set of the first frames, COCO files of the others.

    Args:
        real: sets of the camera.
        classes: that count; annotations of others are left out.
        share: of each set that is trained on.
        folder: gets train/images, train/annotations.json and test/<set>.json.

    Returns:
        The COCO file of the test frames, by name of the set.
    """
    tests: dict[str, Path] = {}
    parts: list[tuple[RealSet, Coco]] = []
    for item in real:
        content = only_classes(read_coco(Path(item.annotations)), classes, item.annotations)
        first, rest = split_by_time(content, share)
        tests[item.name] = folder / 'test' / f'{item.name}.json'
        tests[item.name].parent.mkdir(parents=True, exist_ok=True)
        write_atomic(tests[item.name], json.dumps(rest).encode())
        parts.append((item, first))
    train = folder / 'train'
    if not (train / 'annotations.json').is_file():
        _write_training_set(parts, classes, train)
    return tests


def _excluded(row: Mapping[str, Any], item: RealSet) -> bool:
    return bool(item.exclude and row.get(item.exclude))


def _write_training_set(
    parts: Sequence[tuple[RealSet, Coco]], classes: Sequence[str], folder: Path
) -> None:
    """Write the parts as one data set; file names are prefixed with the set's.

    Images with an excluded annotation are left out.
    """
    (folder / 'images').mkdir(parents=True, exist_ok=True)
    ids = {name: label for label, name in enumerate(classes, start=1)}
    images: list[Coco] = []
    annotations: list[Coco] = []
    for item, content in parts:
        names = {row['id']: row['name'] for row in content['categories']}
        numbers: dict[int, int] = {}
        poor = {row['image_id'] for row in content['annotations'] if _excluded(row, item)}
        for row in content['images']:
            if row['id'] in poor:  # an object without its box would be learnt as background
                continue
            name = f'{item.name}_{row["file_name"].replace("/", "_")}'
            shutil.copyfile(Path(item.images) / row['file_name'], folder / 'images' / name)
            numbers[row['id']] = len(images)
            images.append({**row, 'id': numbers[row['id']], 'file_name': name})
        for row in content['annotations']:
            if row['image_id'] not in poor:
                where = {'image_id': numbers[row['image_id']], 'id': len(annotations) + 1}
                category = ids[names[row['category_id']]]
                annotations.append({**row, **where, 'category_id': category})
    categories = [{'id': label, 'name': name} for name, label in ids.items()]
    content = {'images': images, 'annotations': annotations, 'categories': categories}
    write_atomic(folder / 'annotations.json', json.dumps(content).encode())
