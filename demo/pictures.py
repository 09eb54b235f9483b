"""Pictures of every stage, as (caption, RGB image) pairs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.dataset.backgrounds import spread
from synth_detect_ros.dataset.coco import read_coco
from synth_detect_ros.geometry.boxes import iou, xyxy_from_xywh
from synth_detect_ros.inference.predictor import Predictor
from synth_detect_ros.report.overlay import GREEN, draw_boxes, draw_detections
from synth_detect_ros.report.pages import Picture
from synth_detect_ros.report.show import dataset_pictures
from synth_detect_ros.structures import Detections

# Detections below are not drawn, except an object's best one when nothing reaches it.
SHOWN_SCORE = 0.5


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Read an image file as (H, W, 3) uint8 RGB."""
    return np.ascontiguousarray(cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1])


def some(items: list[Any], count: int) -> list[Any]:
    """Return at most `count` items, evenly spread over the list."""
    return [items[i] for i in spread(len(items), count)]


def captured(backgrounds: Path, count: int) -> list[Picture]:
    """Return some of the captured background frames."""
    frames = some(sorted((backgrounds / 'frames').iterdir()), count)
    return [(path.stem, read_rgb(path)) for path in frames]


def synthetic(dataset: Path, count: int) -> list[Picture]:
    """Return some synthetic images with their masks and boxes."""
    content = read_coco(dataset / 'annotations.json')
    drawn = dataset_pictures(dataset / 'images', content, count)
    return [
        (f'image {image["id"]}', picture)
        for image, picture in zip(some(content['images'], count), drawn, strict=True)
    ]


def real(
    model: Path, facts: Mapping[str, Any], content: Mapping[str, Any], frames: int, shown: int
) -> tuple[list[Picture], list[Picture]]:
    """Run a detector over some real labelled frames; return the best and the worst found.

    Args:
        model: bundle.
        facts: of the labelled set, as in the settings: images, class and perhaps exclude.
        content: its COCO mapping.
        frames: how many are looked at.
        shown: how many are returned, best first and worst first.
    """
    names = {row['name']: row['id'] for row in content['categories']}
    files = {row['id']: row['file_name'] for row in content['images']}
    exclude = facts.get('exclude', '')
    truth = [
        row
        for row in content['annotations']
        if row['category_id'] == names[facts['class']] and not (exclude and row.get(exclude))
    ]
    predictor = Predictor(model)
    scored = []
    for row in some(truth, frames):
        image = read_rgb(Path(facts['images']) / files[row['image_id']])
        found = predictor.detect(image)
        box = xyxy_from_xywh(np.array([row['bbox']], np.float64))
        overlap, score = _best(found, predictor.classes.index(facts['class']), box)
        draw_boxes(image, box, [''], GREEN)
        drawn = draw_detections(image, _to_show(found), predictor.classes)
        caption = f'IoU {overlap:.2f}, score {score:.2f}' if score else 'missed'
        scored.append((overlap, score, caption, drawn))
    scored.sort(key=lambda row: row[:2])
    pictures = [(caption, drawn) for _, _, caption, drawn in scored]
    return pictures[: -shown - 1 : -1], pictures[:shown]


def _best(found: Detections, label: int, box: NDArray[np.float64]) -> tuple[float, float]:
    """Return (IoU, score) of the most certain detection of a class; zeros for none."""
    mine = np.flatnonzero(found.labels == label)
    if not len(mine):
        return 0.0, 0.0
    return float(iou(box, found.boxes[mine[:1]])[0, 0]), float(found.scores[mine[0]])


def _to_show(found: Detections) -> Detections:
    shown = found.above(SHOWN_SCORE)
    return shown if len(shown) or not len(found) else found.above(float(found.scores[0]))
