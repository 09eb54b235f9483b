"""Detections of image files: an overlay picture of each, and one COCO file."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as rle

from synth_detect_ros.dataset.files import IMAGE_SUFFIXES, encode_image, write_atomic
from synth_detect_ros.dataset.loader import read_image
from synth_detect_ros.detect import Predictor
from synth_detect_ros.errors import DatasetError
from synth_detect_ros.geometry.boxes import area, xywh_from_xyxy
from synth_detect_ros.overlay import draw_detections
from synth_detect_ros.structures import Detections

RESULTS_FILE = 'detections.json'

logger = logging.getLogger(__name__)


def annotate(
    predictor: Predictor,
    images: Sequence[Path],
    out: Path,
    score_threshold: float,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Detect in image files.

    Args:
        predictor: the trained model.
        images: image files, and folders of them.
        out: folder of the overlays, named like the images, and of `detections.json`.
        score_threshold: detections below are left out.
        progress: called with (images done, images in all) after each image.

    Returns:
        The COCO file: images, categories, and annotations with a score each.

    Raises:
        DatasetError: an image is missing; or broken: then the others are finished first.
        StorageError: the results cannot be written.
    """
    files = find_images(images)
    out.mkdir(parents=True, exist_ok=True)
    names = _overlay_names(files)
    rows: list[dict[str, Any]] = []
    entries, broken = [], []
    for number, (file, name) in enumerate(zip(files, names, strict=True), start=1):
        try:
            image = read_image(file)
        except DatasetError as error:
            logger.warning('%s', error)
            broken.append(file)
            continue
        found = predictor.detect(image, score_threshold)
        height, width = image.shape[:2]
        entries.append({'id': number, 'file_name': str(file), 'width': width, 'height': height})
        rows += coco_rows(found, number, first_id=len(rows) + 1)
        picture = draw_detections(image, found, predictor.classes)
        write_atomic(out / name, encode_image(picture, 'jpg'))
        if progress is not None:
            progress(number, len(files))
    categories = [{'id': i, 'name': n} for i, n in enumerate(predictor.classes, start=1)]
    content = {'images': entries, 'categories': categories, 'annotations': rows}
    write_atomic(out / RESULTS_FILE, (json.dumps(content) + '\n').encode())
    if broken:
        raise DatasetError(
            f'{len(broken)} of {len(files)} images are broken and were left out, the first is '
            f'{broken[0]}; the others are in {out}'
        )
    return out / RESULTS_FILE


def coco_rows(found: Detections, image_id: int, first_id: int = 1) -> list[dict[str, Any]]:
    """Return detections as COCO annotations with scores; category = label + 1."""
    boxes, areas = xywh_from_xyxy(found.boxes), area(found.boxes)
    rows = []
    for i in range(len(found)):
        row = {
            'id': first_id + i,
            'image_id': image_id,
            'category_id': int(found.labels[i]) + 1,
            'score': round(float(found.scores[i]), 5),
            'bbox': [round(float(v), 2) for v in boxes[i]],
            'area': round(float(areas[i]), 2),
            'iscrowd': 0,
        }
        if found.masks is not None:
            code = rle.encode(np.asfortranarray(found.masks[i], np.uint8))
            row['segmentation'] = code | {'counts': code['counts'].decode()}
        rows.append(row)
    return rows


def find_images(paths: Sequence[Path]) -> list[Path]:
    """Return image files, folders replaced by the images in them, sorted by name.

    Raises:
        DatasetError: a path is missing, or a folder holds no image.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
            if not inside:
                raise DatasetError(f'{path}: no images ({", ".join(IMAGE_SUFFIXES)}) in it')
            files += inside
        elif path.is_file():
            files.append(path)
        else:
            raise DatasetError(f'{path}: no such image file or folder')
    return files


def _overlay_names(files: Sequence[Path]) -> list[str]:
    """Return one name for each file; images of the same name get a number."""
    names: list[str] = []
    for file in files:
        name, number = f'{file.stem}.jpg', 1
        while name in names:
            number += 1
            name = f'{file.stem}_{number}.jpg'
        names.append(name)
    return names
