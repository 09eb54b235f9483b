"""Real labelled frames split by time: the first ones to train on, the others to test on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from synth_detect_ros.dataset.coco import read_coco
from synth_detect_ros.dataset.image_files import image_files, read_annotated
from synth_detect_ros.errors import DatasetError
from synth_detect_ros.experiments.grid import RealSet
from synth_detect_ros.files import make_folder, write_atomic

Coco = dict[str, Any]


def split_by_time(content: Mapping[str, Any], share: float) -> tuple[Coco, Coco]:
    """Return a COCO mapping of the first images and one of the others, in their order.

    Args:
        content: COCO mapping, images in the order in which they were taken.
        share: of the images that come first, 0..1.

    Raises:
        DatasetError: one of the parts would be empty.
    """
    images = content['images']
    count = round(share * len(images))
    if not 0 < count < len(images):
        raise DatasetError(f'{len(images)} real images are too few to split at {share:.0%}')
    first = {image['id'] for image in images[:count]}
    return (
        _keep(content, 'images', 'image_id', lambda image: image['id'] in first),
        _keep(content, 'images', 'image_id', lambda image: image['id'] not in first),
    )


def only_classes(content: Mapping[str, Any], classes: Sequence[str], source: str) -> Coco:
    """Return a COCO mapping without the categories that are not in `classes`.

    Raises:
        DatasetError: none of the classes is there.
    """
    kept = _keep(content, 'categories', 'category_id', lambda row: row['name'] in classes)
    if not kept['categories']:
        raise DatasetError(f'{source}: none of the classes {", ".join(classes)} is in it')
    return kept


def _keep(
    content: Mapping[str, Any], part: str, key: str, wanted: Callable[[Mapping[str, Any]], bool]
) -> Coco:
    """Return a COCO mapping with some rows of a part, and the annotations that name them."""
    rows = [row for row in content[part] if wanted(row)]
    ids = {row['id'] for row in rows}
    annotations = [row for row in content['annotations'] if row[key] in ids]
    images, categories = content['images'], content['categories']
    return {'images': images, 'annotations': annotations, 'categories': categories, part: rows}


def write_split(
    real: Sequence[RealSet], classes: Sequence[str], share: float, folder: Path
) -> dict[str, Path]:
    """Write the split of a camera: a data set of the first frames, COCO files of the others.

    Args:
        real: sets of the camera.
        classes: that count; annotations of others are left out.
        share: of each set that is trained on, 0..1.
        folder: gets train/images, train/annotations.json and test/<set>.json.

    Returns:
        The COCO file of the test frames, by name of the set.

    Raises:
        DatasetError: a set cannot be read, has too few images, or one that is missing, broken or
            of another size than its annotations say.
    """
    tests: dict[str, Path] = {}
    parts: list[tuple[RealSet, Coco]] = []
    make_folder(folder / 'test')
    for item in real:
        content = only_classes(read_coco(Path(item.annotations)), classes, item.annotations)
        first, rest = split_by_time(content, share)
        tests[item.name] = folder / 'test' / f'{item.name}.json'
        write_atomic(tests[item.name], json.dumps(rest).encode())
        parts.append((item, first))
    train = folder / 'train'
    if not (train / 'annotations.json').is_file():
        _write_training_set(parts, classes, train)
    return tests


def _write_training_set(
    parts: Sequence[tuple[RealSet, Coco]], classes: Sequence[str], folder: Path
) -> None:
    """Write the parts as one data set; file names are those of the sets, numbered.

    Images with an excluded annotation are left out: an object without its box would be learnt as
    background.
    """
    make_folder(folder / 'images')
    category_ids = {name: label for label, name in enumerate(classes, start=1)}
    images: list[Coco] = []
    annotations: list[Coco] = []
    for item, content in parts:
        names = {row['id']: row['name'] for row in content['categories']}
        excluded = {
            row['image_id']
            for row in content['annotations']
            if item.exclude and row.get(item.exclude)
        }
        new_ids: dict[int, int] = {}
        files = image_files(Path(item.images), [row['file_name'] for row in content['images']])
        for row, file in zip(content['images'], files, strict=True):
            if row['id'] not in excluded:
                read_annotated(file, (row['width'], row['height']))
                name = f'{item.name}_{len(images):06d}{file.suffix}'
                write_atomic(folder / 'images' / name, file.read_bytes())
                new_ids[row['id']] = len(images)
                images.append({**row, 'id': len(images), 'file_name': name})
        for row in content['annotations']:
            if row['image_id'] in new_ids:
                ids = {'id': len(annotations) + 1, 'image_id': new_ids[row['image_id']]}
                category = category_ids[names[row['category_id']]]
                annotations.append({**row, **ids, 'category_id': category})
    categories = [{'id': label, 'name': name} for name, label in category_ids.items()]
    content = {'images': images, 'annotations': annotations, 'categories': categories}
    write_atomic(folder / 'annotations.json', json.dumps(content).encode())
