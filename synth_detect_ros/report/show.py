"""What lies in a folder: contact sheets of data and background sets, facts of a trained model."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.bundle import MODEL, read_bundle_info
from synth_detect_ros.dataset.backgrounds import BackgroundSet, read_background_set, spread
from synth_detect_ros.dataset.coco import quiet_coco, read_coco
from synth_detect_ros.dataset.image_files import image_files, read_annotated
from synth_detect_ros.dataset.storage import COCO_FILE, IMAGES_FOLDER, INFO_FILE
from synth_detect_ros.dataset.values import is_finite
from synth_detect_ros.errors import DatasetError
from synth_detect_ros.files import encode_image, make_folder, write_atomic
from synth_detect_ros.geometry.boxes import xyxy_from_xywh
from synth_detect_ros.report.overlay import class_colour, draw_boxes, draw_mask

Image = NDArray[np.uint8]
TILE_WIDTH, GAP = 400, 6  # [px]; four tiles fill a screen


def show(folder: Path, out: Path, count: int) -> str:
    """Describe a data set, a background set or a bundle; picture the first two.

    Args:
        folder: what to look at.
        out: PNG file of the contact sheet; not written for a bundle.
        count: images on the sheet, spread evenly over the set.

    Returns:
        Lines of text.

    Raises:
        DatasetError, BackgroundError, BundleError: the folder is none of the three, or broken.
        StorageError: the picture cannot be written.
    """
    if not folder.is_dir():
        raise DatasetError(f'{folder}: no such folder. Give a data set, background set or bundle.')
    if (folder / MODEL).is_file():
        return describe_bundle(read_bundle_info(folder))
    if any((folder / name).is_file() for name in (COCO_FILE, INFO_FILE)):
        coco = read_coco(folder / COCO_FILE, within=folder)
        text = describe_dataset(coco)
        pictures = dataset_pictures(folder / IMAGES_FOLDER, coco, count)
    else:
        backgrounds = read_background_set(folder)
        text = describe_backgrounds(backgrounds)
        pictures = [backgrounds.read(i) for i in spread(len(backgrounds), count)]
    make_folder(out.parent)
    write_atomic(out, encode_image(contact_sheet(pictures), 'png'))
    return f'{text}\npicture: {out}'


def contact_sheet(images: Sequence[Image]) -> Image:
    """Arrange images in a grid about as wide as high.

    Args:
        images: at least one (H, W, 3) uint8 RGB, of any sizes.

    Returns:
        (H, W, 3) uint8 RGB; each image is scaled to the tile width, rows as high as the highest.
    """
    tiles = []
    for image in images:
        height = max(1, round(image.shape[0] * TILE_WIDTH / image.shape[1]))
        tiles.append(cv2.resize(image, (TILE_WIDTH, height), interpolation=cv2.INTER_AREA))
    columns = math.ceil(math.sqrt(len(tiles)))
    rows, highest = math.ceil(len(tiles) / columns), max(map(len, tiles))
    size = (rows * (highest + GAP) + GAP, columns * (TILE_WIDTH + GAP) + GAP, 3)
    sheet = np.full(size, 255, np.uint8)
    for k, tile in enumerate(tiles):
        y = GAP + k // columns * (highest + GAP)
        x = GAP + k % columns * (TILE_WIDTH + GAP)
        sheet[y : y + len(tile), x : x + TILE_WIDTH] = tile
    return sheet


def dataset_pictures(images: Path, coco: dict[str, Any], count: int) -> list[Image]:
    """Return pictures of a COCO data set with masks, boxes, names and visible shares.

    Args:
        images: folder that `file_name` is relative to, in that of the data set.
        coco: COCO mapping.
        count: of pictures at most, spread evenly over the set.

    Returns:
        (H, W, 3) uint8 RGB pictures.
    """
    index = quiet_coco(coco)
    files = image_files(images, [row['file_name'] for row in coco['images']], images.parent)
    labels = {row['id']: label for label, row in enumerate(coco['categories'])}
    pictures = []
    for i in spread(len(coco['images']), count):
        entry = coco['images'][i]
        canvas = read_annotated(files[i], (entry['width'], entry['height']))
        for row in index.imgToAnns[entry['id']]:
            colour = class_colour(labels[row['category_id']])
            if row.get('segmentation'):
                draw_mask(canvas, index.annToMask(row).astype(bool), colour)
            name = index.cats[row['category_id']]['name']
            share = row.get('visib_fract')
            visible = f' {share:.0%} visible' if is_finite(share) else ''
            draw_boxes(canvas, xyxy_from_xywh(row['bbox']), [f'{name}{visible}'], colour)
        pictures.append(canvas)
    return pictures


def describe_dataset(coco: dict[str, Any]) -> str:
    """Return the numbers of images and instances in a COCO mapping, and the visible share.

    Crowds are no instances.
    """
    names = {row['id']: row['name'] for row in coco['categories']}
    rows = [row for row in coco['annotations'] if not row['iscrowd']]
    counts = Counter(names[row['category_id']] for row in rows)
    sizes = Counter(f'{row["width"]}x{row["height"]}' for row in coco['images'])
    lines = [f'data set: {len(coco["images"])} images of {", ".join(sizes)} pixels']
    lines += [f'  {name}: {counts[name]} instances' for name in names.values()]
    visible = [
        row['visib_fract'] for row in coco['annotations'] if is_finite(row.get('visib_fract'))
    ]
    if visible:
        low, middle = np.quantile(visible, [0.05, 0.5])
        lines.append(f'  visible share: median {middle:.2f}, 5 % are below {low:.2f}')
    return '\n'.join(lines)


def describe_backgrounds(backgrounds: BackgroundSet) -> str:
    """Return number of frames and intrinsics of a background set."""
    camera = backgrounds.camera
    if camera is None:
        return f'background set: {len(backgrounds)} frames, no camera.yaml'
    lens = f'lens {camera.distortion_model}' if camera.distorted else 'no lens distortion'
    return (
        f'background set: {len(backgrounds)} frames, camera {camera.name!r} '
        f'{camera.width}x{camera.height}, focal length {camera.K[0, 0]:.0f} px, {lens}'
    )


def describe_bundle(info: dict[str, Any]) -> str:
    """Return what a bundle is and where it came from."""
    detector = info['detector']
    lines = [
        f'trained model: {detector["architecture"]}, {detector["neck"]}, {detector["extractor"]}',
        f'  classes: {", ".join(info["classes"])}',
    ]
    for key in ('code_sha256', 'extractor_weights', 'freeze', 'training', 'dataset', 'metrics'):
        value = info.get(key)
        if key == 'metrics':
            value = _metrics(value or {})
        elif isinstance(value, dict):
            value = ', '.join(f'{name} {entry}' for name, entry in value.items())
        if value:
            lines.append(f'  {key.replace("_", " ")}: {value}')
    return '\n'.join(lines)


def _metrics(metrics: dict[str, Any]) -> str:
    parts = [f'on {metrics["validated_on"]} images'] if 'validated_on' in metrics else []
    for kind, title in (('bbox', 'boxes'), ('segm', 'masks')):
        scores = [(k, v) for k, v in metrics.get(kind, {}).items() if isinstance(v, float)]
        parts += [f'{title} ' + ' '.join(f'{k} {v:.3f}' for k, v in scores)] if scores else []
    return ', '.join(parts)
