"""Data sets for other tools; our own format is COCO already.

YOLO: https://docs.ultralytics.com/datasets/detect, one text file of boxes an image.
BOP: poses and masks, docs/bop_datasets_format.md of https://github.com/thodan/bop_toolkit.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from synth_detect_ros.config import ExportConfig
from synth_detect_ros.dataset.coco import quiet_coco, read_coco
from synth_detect_ros.dataset.storage import COCO_FILE, IMAGES_FOLDER, read_info
from synth_detect_ros.errors import DatasetError, StorageError
from synth_detect_ros.geometry.camera import Camera

BOP_SCENE = 1000  # images a scene folder holds, as in the data sets of the BOP challenge
MM_PER_M = 1000.0

Row = dict[str, Any]


def export(config: ExportConfig) -> Path:
    """Write a data set in the format of another tool.

    Args:
        config: what to write; `dataset` and `out` are needed.

    Returns:
        The new folder.

    Raises:
        ConfigError: an option that is needed is empty.
        DatasetError: the data set is missing or incomplete, lacks what the format needs, or `out`
            is there already.
        StorageError: writing failed; nothing is left behind.
    """
    config.require('dataset', 'out')
    folder, out = Path(config.dataset), Path(config.out)
    coco = read_coco(folder / COCO_FILE)
    if out.exists():
        raise DatasetError(f'{out} exists already. Give a new folder.')
    partial = out.with_name(f'.{out.name}.partial')
    shutil.rmtree(partial, ignore_errors=True)
    try:
        if config.format == 'bop':
            write_bop(folder, coco, partial)
        else:
            write_yolo(folder / IMAGES_FOLDER, coco, partial, config.val_share)
        partial.rename(out)
    except OSError as error:
        raise StorageError(error.errno, f'{out} cannot be written: {error}') from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out


def write_yolo(images: Path, coco: Row, out: Path, val_share: float) -> None:
    """Write images, boxes as `class x y width height` (centre, all 0..1), and data.yaml.

    Raises:
        DatasetError: an image is missing, or two share a name in different folders.
    """
    if len({Path(entry['file_name']).stem for entry in coco['images']}) < len(coco['images']):
        raise DatasetError(f'{images}: images that share a name cannot lie in one folder for YOLO')
    (out / 'images').mkdir(parents=True)
    (out / 'labels').mkdir()
    index = {row['id']: label for label, row in enumerate(coco['categories'])}
    rows = _by_image(coco)
    names = []
    for entry in coco['images']:
        names.append(_copy(images / entry['file_name'], out / 'images').name)
        size = np.array([entry['width'], entry['height']], np.float64)
        lines = [_yolo_line(index[row['category_id']], row['bbox'], size) for row in rows(entry)]
        (out / 'labels' / names[-1]).with_suffix('.txt').write_text(''.join(lines))
    first_val = len(names) - round(val_share * len(names))
    for part, chosen in (('train', names[:first_val]), ('val', names[first_val:])):
        (out / f'{part}.txt').write_text(''.join(f'./images/{name}\n' for name in chosen))
    classes = {label: row['name'] for label, row in enumerate(coco['categories'])}
    # Without `path` YOLO takes the folder of this file.
    data = {'train': 'train.txt', 'val': 'val.txt', 'names': classes}
    (out / 'data.yaml').write_text(yaml.safe_dump(data, sort_keys=False))


def _yolo_line(label: int, bbox: Sequence[float], size: NDArray[np.float64]) -> str:
    corner, extent = np.array(bbox[:2]), np.array(bbox[2:])
    values = np.concatenate([(corner + extent / 2) / size, extent / size])
    return ' '.join([str(label), *(f'{value:.6f}' for value in values)]) + '\n'


def write_bop(folder: Path, coco: Row, out: Path) -> None:
    """Write train_synth/<scene>/ with rgb, mask_visib and the three JSON files of each scene.

    Object ids are category ids; translations are in mm. There are no depth images, so
    `px_count_valid` is 0.

    Raises:
        DatasetError: the set holds no poses, or its camera has lens distortion, which BOP lacks.
    """
    if not all('pose' in row for row in coco['annotations']):
        raise DatasetError(f'{folder}: has annotations without a pose; BOP needs them')
    camera = Camera.from_calibration(read_info(folder)['camera'], str(folder))
    if camera.distorted:
        raise DatasetError(
            f'{folder}: its camera has lens distortion, which the BOP format cannot hold. Render '
            'for the rectified image.'
        )
    cam = {'cam_K': camera.K.reshape(-1).tolist(), 'depth_scale': 1.0}
    masks, rows = quiet_coco(coco), _by_image(coco)
    for scene, entries in enumerate(_chunks(coco['images'], BOP_SCENE)):
        place = out / 'train_synth' / f'{scene:06d}'
        for name in ('rgb', 'mask_visib'):
            (place / name).mkdir(parents=True)
        tables: dict[str, Row] = {'scene_camera': {}, 'scene_gt': {}, 'scene_gt_info': {}}
        for number, entry in enumerate(entries):
            _copy(folder / IMAGES_FOLDER / entry['file_name'], place / 'rgb', f'{number:06d}')
            found = rows(entry)
            tables['scene_camera'][str(number)] = cam
            tables['scene_gt'][str(number)] = [_bop_pose(row) for row in found]
            tables['scene_gt_info'][str(number)] = [_bop_info(row) for row in found]
            for i, row in enumerate(found):
                _, data = cv2.imencode('.png', masks.annToMask(row) * 255)
                (place / 'mask_visib' / f'{number:06d}_{i:06d}.png').write_bytes(data.tobytes())
        for name, table in tables.items():
            (place / f'{name}.json').write_text(json.dumps(table))
    ids = {row['id']: row['name'] for row in coco['categories']}
    (out / 'object_names.json').write_text(json.dumps(ids))


def _bop_pose(row: Row) -> Row:
    pose = np.array(row['pose'], np.float64)
    return {
        'obj_id': row['category_id'],
        'cam_R_m2c': pose[:3, :3].reshape(-1).tolist(),
        'cam_t_m2c': (MM_PER_M * pose[:3, 3]).tolist(),
    }


def _bop_info(row: Row) -> Row:
    return {
        'bbox_obj': [round(v) for v in row['amodal_bbox']],
        'bbox_visib': [round(v) for v in row['bbox']],
        'px_count_all': round(row['area'] / row['visib_fract']),
        'px_count_valid': 0,
        'px_count_visib': row['area'],
        'visib_fract': row['visib_fract'],
    }


def _by_image(coco: Row) -> Any:
    """Return a function of an image's entry that returns its annotations."""
    groups: dict[Any, list[Row]] = {}
    for row in coco['annotations']:
        groups.setdefault(row['image_id'], []).append(row)
    return lambda entry: groups.get(entry['id'], [])


def _chunks(rows: list[Row], size: int) -> Iterator[list[Row]]:
    for first in range(0, len(rows), size):
        yield rows[first : first + size]


def _copy(file: Path, folder: Path, stem: str = '') -> Path:
    """Copy an image, renamed if a stem is given.

    Raises:
        DatasetError: it is missing.
    """
    target = folder / (stem + file.suffix if stem else file.name)
    try:
        shutil.copyfile(file, target)
    except FileNotFoundError:
        raise DatasetError(f'{file}: no such image, but annotations of it') from None
    return target
