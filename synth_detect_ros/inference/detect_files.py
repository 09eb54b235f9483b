"""Detections in image files: an overlay of each image, and one COCO file."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from synth_detect_ros.dataset.coco import coco_results
from synth_detect_ros.documents import is_line
from synth_detect_ros.errors import DatasetError
from synth_detect_ros.files import (
    encode_image,
    make_folder,
    read_image,
    write_atomic,
)
from synth_detect_ros.folders import remove_leftovers
from synth_detect_ros.images.places import IMAGE_SUFFIXES, images_in
from synth_detect_ros.inference.model import Model
from synth_detect_ros.report.overlay import draw_detections

RESULTS_FILE = 'detections.json'

logger = logging.getLogger(__name__)


def detect_files(
    model: Model,
    images: Sequence[Path],
    out: Path,
    score_threshold: float,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Detect objects in image files.

    Args:
        model: the trained model.
        images: image files, and folders of them.
        out: folder of the overlays, named like the images, and of `detections.json`.
        score_threshold: detections below are left out.
        progress: called with (images done, images in all) after each image.

    Returns:
        The COCO file: images, categories, and annotations with a score each. Its names are
        relative to the folder that all images lie in.

    Raises:
        DatasetError: an image is missing; or broken: then the others are finished first.
        StorageError: the results cannot be written.
    """
    files = _find_images(images)
    make_folder(out)
    remove_leftovers(out)
    content, broken = _detect_all(model, files, out, score_threshold, progress)
    if len(broken) < len(files):
        write_atomic(out / RESULTS_FILE, (json.dumps(content) + '\n').encode())
    if broken:
        others = f'; the others are in {out}' if len(broken) < len(files) else ''
        raise DatasetError(
            f'{len(broken)} of {len(files)} images cannot be read and were left out, the first is '
            f'{broken[0]}{others}'
        )
    return out / RESULTS_FILE


def _detect_all(
    model: Model,
    files: Sequence[Path],
    out: Path,
    score_threshold: float,
    progress: Callable[[int, int], None] | None,
) -> tuple[dict[str, Any], list[Path]]:
    """Write the overlays; return the COCO mapping of the detections, and the broken files."""
    ids = {label: label + 1 for label in range(len(model.classes))}
    images: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    broken: list[Path] = []
    folder = os.path.commonpath([os.path.abspath(file.parent) for file in files])
    for number, (file, name) in enumerate(zip(files, _overlay_names(files), strict=True), start=1):
        try:
            image = read_image(file)
        except DatasetError as error:
            logger.warning('%s', error)
            broken.append(file)
            continue
        found = model.detect(image, score_threshold)
        height, width = image.shape[:2]
        file_name = os.path.relpath(file, folder)
        images.append({'id': number, 'file_name': file_name, 'width': width, 'height': height})
        rows += coco_results(found, number, ids, first_id=len(rows) + 1)
        overlay = draw_detections(image, found, model.classes)
        write_atomic(out / name, encode_image(overlay, 'jpg'))
        if progress is not None:
            progress(number, len(files))
    categories = [{'id': ids[i], 'name': name} for i, name in enumerate(model.classes)]
    return {'images': images, 'categories': categories, 'annotations': rows}, broken


def _find_images(paths: Sequence[Path]) -> list[Path]:
    """Return image files, each once, folders replaced by the images in them, sorted by name.

    Raises:
        DatasetError: a path is missing, or a folder holds no image, or one that leads outside; or
            a name is no text.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            if not (inside := images_in(path)):
                below = [p.name for p in sorted(path.iterdir()) if p.is_dir() and images_in(p)]
                also = f'; there are some in {", ".join(below)}' if below else ''
                raise DatasetError(f'{path}: no images ({", ".join(IMAGE_SUFFIXES)}) in it{also}')
            files += inside
        elif path.is_file():
            files.append(path)
        else:
            raise DatasetError(f'{path}: no such image file or folder')
    for file in files:
        if not is_line(file.name):
            raise DatasetError(
                f'{str(file)!a}: its name is not text in one line. Rename the file.'
            )
    return list({os.path.abspath(file): file for file in files}.values())


def _overlay_names(files: Sequence[Path]) -> list[str]:
    """Return one name for each file; images of the same name get a number."""
    names: dict[str, None] = {}
    numbers: dict[str, int] = {}
    for file in files:
        name, number = f'{file.stem}.jpg', numbers.get(file.stem, 1)
        while name in names:
            number += 1
            name = f'{file.stem}_{number}.jpg'
        names[name], numbers[file.stem] = None, number
    return list(names)
