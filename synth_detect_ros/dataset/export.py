"""Data sets for other tools; our own format is COCO already.

YOLO: https://docs.ultralytics.com/datasets/detect, one text file of boxes an image.
BOP: poses and masks, docs/bop_datasets_format.md of https://github.com/thodan/bop_toolkit.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray
from pycocotools.coco import COCO

from synth_detect_ros.config import ExportConfig
from synth_detect_ros.dataset.coco import by_image, quiet_coco, read_coco
from synth_detect_ros.dataset.coco_rows import check_pose
from synth_detect_ros.dataset.image_files import image_files, read_annotated
from synth_detect_ros.dataset.storage import COCO_FILE, IMAGES_FOLDER, read_info
from synth_detect_ros.errors import DatasetError
from synth_detect_ros.folders import whole_folder
from synth_detect_ros.geometry.calibration import camera_from_calibration
from synth_detect_ros.geometry.camera import Camera

BOP_SCENE = 1000  # images a scene folder holds, as in the data sets of the BOP challenge
MM_PER_M = 1000.0


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
    config.require()
    folder, out = Path(config.dataset), Path(config.out)
    coco = read_coco(folder / COCO_FILE, within=folder)
    # Neither format knows crowds.
    coco['annotations'] = [row for row in coco['annotations'] if not row['iscrowd']]
    if out.exists():
        raise DatasetError(f'{out} exists already. Give a new folder.')
    with whole_folder(out) as partial:
        if config.format == 'bop':
            _write_bop(folder, coco, partial)
        else:
            _write_yolo(folder / IMAGES_FOLDER, coco, partial, config.val_share)
    return out


def _write_yolo(images: Path, coco: dict[str, Any], out: Path, val_share: float) -> None:
    """Write images, boxes as `class x y width height` (centre, all 0..1), and data.yaml.

    Raises:
        DatasetError: an image cannot be copied, see `_copy`, or two share a name in different
            folders.
    """
    stems: dict[str, str] = {}
    for name in (entry['file_name'] for entry in coco['images']):
        if (other := stems.setdefault(Path(name).stem, name)) != name:
            raise DatasetError(
                f'{images}: {other} and {name} share a name, but YOLO has one folder of labels. '
                'Rename one of them.'
            )
    for folder in ('images', 'labels'):
        (out / folder).mkdir(parents=True)
    labels = {row['id']: label for label, row in enumerate(coco['categories'])}
    rows = by_image(coco['annotations'])
    names = []
    for entry, file in zip(coco['images'], _files(images, coco['images']), strict=True):
        names.append(file.name)
        _copy(file, entry, out / 'images' / file.name)
        size = np.array([entry['width'], entry['height']], np.float64)
        lines = [_yolo_line(labels[r['category_id']], r['bbox'], size) for r in rows[entry['id']]]
        (out / 'labels' / file.name).with_suffix('.txt').write_text(''.join(lines))
    first_val = len(names) - round(val_share * len(names))
    for part, chosen in (('train', names[:first_val]), ('val', names[first_val:])):
        (out / f'{part}.txt').write_text(
            ''.join(f'./images/{name}\n' for name in chosen), encoding='utf-8'
        )
    classes = {label: row['name'] for label, row in enumerate(coco['categories'])}
    # Without `path` YOLO takes the folder of this file.
    data = {'train': 'train.txt', 'val': 'val.txt', 'names': classes}
    (out / 'data.yaml').write_text(yaml.safe_dump(data, sort_keys=False))


def _yolo_line(label: int, bbox: Sequence[float], size: NDArray[np.float64]) -> str:
    corner, extent = np.array(bbox[:2]), np.array(bbox[2:])
    values = np.concatenate([(corner + extent / 2) / size, extent / size])
    return ' '.join([str(label), *(f'{value:.8f}' for value in values)]) + '\n'


def _write_bop(folder: Path, coco: dict[str, Any], out: Path) -> None:
    """Write object_names.json and the scenes train_synth/000000, ...

    Object ids are category ids; translations are in mm. There are no depth images, so
    `px_count_valid` is 0.

    Raises:
        DatasetError: the set holds no poses, masks or camera, or its camera has lens distortion,
            which BOP lacks.
    """
    for row in coco['annotations']:
        check_pose(row, f'{folder}: annotation {row["id"]}')
    camera = camera_from_calibration(read_info(folder).get('camera') or {}, str(folder))
    if camera.distorted:
        raise DatasetError(
            f'{folder}: its camera has lens distortion, which the BOP format cannot hold. Render '
            'for the rectified image.'
        )
    entries = coco['images']
    other = [e['file_name'] for e in entries if (e['width'], e['height']) != camera.size]
    if other:
        raise DatasetError(
            f'{folder}: {other[0]} has another size than the camera, {camera.width}x'
            f'{camera.height} px. Give a data set of one camera.'
        )
    index = quiet_coco(coco)
    files = _files(folder / IMAGES_FOLDER, entries)
    for scene, first in enumerate(range(0, len(entries), BOP_SCENE)):
        scene_folder = out / 'train_synth' / f'{scene:06d}'
        part = slice(first, first + BOP_SCENE)
        _write_scene(scene_folder, camera, files[part], entries[part], index)
    names = {row['id']: row['name'] for row in coco['categories']}
    (out / 'object_names.json').write_text(json.dumps(names))


def _write_scene(
    folder: Path, camera: Camera, files: Sequence[Path], entries: Sequence[Any], index: COCO
) -> None:
    """Write the images, masks and three JSON files of one BOP scene.

    Args:
        folder: of the scene.
        camera: of the images.
        files: the images.
        entries: their rows of COCO.
        index: of all annotations.
    """
    for name in ('rgb', 'mask_visib'):
        (folder / name).mkdir(parents=True)
    rows = [index.imgToAnns[entry['id']] for entry in entries]
    for number, (file, entry, found) in enumerate(zip(files, entries, rows, strict=True)):
        _copy(file, entry, folder / 'rgb' / f'{number:06d}{file.suffix}')
        for i, row in enumerate(found):
            mask = index.annToMask(row)
            row['area'] = int(np.count_nonzero(mask))
            _, data = cv2.imencode('.png', mask * 255)
            (folder / 'mask_visib' / f'{number:06d}_{i:06d}.png').write_bytes(data.tobytes())
    cam = {'cam_K': camera.K.reshape(-1).tolist(), 'depth_scale': 1.0}
    tables: dict[str, list[Any]] = {
        'scene_camera': [cam] * len(files),
        'scene_gt': [[_bop_pose(row) for row in found] for found in rows],
        'scene_gt_info': [[_bop_info(row) for row in found] for found in rows],
    }
    for name, values in tables.items():
        table = {str(number): value for number, value in enumerate(values)}
        (folder / f'{name}.json').write_text(json.dumps(table))


def _bop_pose(row: dict[str, Any]) -> dict[str, Any]:
    pose = np.array(row['pose'], np.float64)
    return {
        'obj_id': row['category_id'],
        'cam_R_m2c': pose[:3, :3].reshape(-1).tolist(),
        'cam_t_m2c': (MM_PER_M * pose[:3, 3]).tolist(),
    }


def _bop_info(row: dict[str, Any]) -> dict[str, Any]:
    return {
        'bbox_obj': [round(v) for v in row['amodal_bbox']],
        'bbox_visib': [round(v) for v in row['bbox']],
        'px_count_all': round(row['area'] / row['visib_fract']),
        'px_count_valid': 0,
        'px_count_visib': row['area'],
        'visib_fract': row['visib_fract'],
    }


def _files(images: Path, entries: Sequence[Mapping[str, Any]]) -> list[Path]:
    return image_files(images, [entry['file_name'] for entry in entries], images.parent)


def _copy(file: Path, entry: Mapping[str, Any], target: Path) -> None:
    """Copy an image.

    Raises:
        DatasetError: it is broken, or of another size than its row says.
    """
    read_annotated(file, (entry['width'], entry['height']))
    shutil.copyfile(file, target)
