"""How good a trained model is: COCO metrics on labelled images, pictures of the worst frames."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.config import DetectConfig, EvaluateConfig
from synth_detect_ros.dataset.coco import read_coco
from synth_detect_ros.dataset.image_files import image_files, read_annotated
from synth_detect_ros.evaluation.diagnosis import MATCH, diagnose, diagnosis_table, judge_image
from synth_detect_ros.evaluation.metrics import METRICS, number, score
from synth_detect_ros.evaluation.selection import (
    Annotation,
    Selection,
    box_array,
    grouped,
    select,
)  # fmt: skip
from synth_detect_ros.files import encode_image, make_folder, read_image, write_atomic
from synth_detect_ros.inference.model import Model, open_model
from synth_detect_ros.report.overlay import GREEN, draw_boxes, draw_detections
from synth_detect_ros.structures import Detections

# What the live node would publish: the worst frames are those where it would be most wrong.
SHOWN_SCORE = DetectConfig().score_threshold


def evaluate(
    config: EvaluateConfig, progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Run a trained model over labelled images.

    Args:
        config: what to score; `model`, `images` and `annotations` are needed.
        progress: called with (images done, images in all) after each image.

    Returns:
        The metrics of `metrics.score`, `ms_per_image`, the median duration of one detection, and
        on request `diagnosis`, see `diagnosis.diagnose`. They are also written to `config.json`,
        pictures of the frames with the largest `frame_error` to `config.overlays`, where given.

    Raises:
        ConfigError: an option that is needed is empty.
        DatasetError: the annotations are broken, share no class with the model, or an image is
            missing, broken or of another size than they say.
        BundleError: the model cannot be loaded.
        StorageError: the results cannot be written.
    """
    config.require()
    truth = read_coco(Path(config.annotations))
    files = image_files(Path(config.images), [row['file_name'] for row in truth['images']])
    model = open_model(
        Path(config.model), config.device, runtime=config.runtime, trust_code=config.trust_code
    )
    durations: list[float] = []
    found = _detections(model, files, truth, durations, progress)
    selection = select(found, _ids(truth), truth, model.classes, config.exclude)
    result = score(selection, masks=model.has_masks)
    result['ms_per_image'] = statistics.median(durations)
    result |= {'diagnosis': diagnose(selection)} if config.diagnose else {}
    if config.overlays:
        for name, picture in worst_frames(selection, model, files, config.worst):
            _write(Path(config.overlays) / name, encode_image(picture, 'jpg'))
    if config.json:  # last: where it is, all is there
        _write(Path(config.json), (json.dumps(result, indent=2) + '\n').encode())
    return result


def score_images(model: Model, truth: dict[str, Any], images: Path) -> dict[str, Any]:
    """Return the metrics of a model on labelled images; see `metrics.score`.

    Args:
        model: the model.
        truth: what `read_coco` returns.
        images: folder of the images.

    Raises:
        DatasetError: see `evaluate`.
    """
    files = image_files(images, [row['file_name'] for row in truth['images']])
    found = _detections(model, files, truth, [], None)
    selection = select(found, _ids(truth), truth, model.classes, '')
    return score(selection, masks=model.has_masks)


def _ids(truth: Mapping[str, Any]) -> list[int]:
    return [row['id'] for row in truth['images']]


def _detections(
    model: Model,
    files: Sequence[Path],
    truth: Mapping[str, Any],
    durations: list[float],
    progress: Callable[[int, int], None] | None,
) -> Iterator[Detections]:
    """Yield the detections of each image; append how long each took [ms]."""
    sizes = [(row['width'], row['height']) for row in truth['images']]
    for done, (file, size) in enumerate(zip(files, sizes, strict=True), start=1):
        image = read_annotated(file, size)
        start = time.perf_counter()
        found = model.detect(image)
        durations.append(1e3 * (time.perf_counter() - start))
        if progress is not None:
            progress(done, len(files))
        yield found


def _write(path: Path, data: bytes) -> None:
    make_folder(path.parent)
    write_atomic(path, data)


def metrics_table(result: Mapping[str, Any]) -> str:
    """Return the metrics of `evaluate` as lines of text; a dash where nothing was to be scored."""
    head = f'{result["images"]} images, {result["ms_per_image"]:.1f} ms each'
    lines = [f'{head:<32}' + ''.join(f'{name:>8}' for name in METRICS)]
    for kind, title in (('bbox', 'boxes'), ('segm', 'masks')):
        if kind not in result:
            continue
        rows = {'all': result[kind], **result[kind]['per_class']}
        for name, metrics in rows.items():
            texts = [f'{number(metrics[key]):>8}' for key in METRICS]
            lines.append(f'{title + ", " + name:<32}' + ''.join(texts))
    if 'diagnosis' in result:
        lines.append(diagnosis_table(result))
    return '\n'.join(lines)


def worst_frames(
    selection: Selection, model: Model, files: Sequence[Path], count: int
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield file names and pictures of the frames with the largest error, the worst first.

    Args:
        selection: annotations and detections of all frames.
        model: that found the detections; it runs again on the frames that are drawn.
        files: image of each frame.
        count: of frames, at most.

    Yields:
        File name, and (H, W, 3) uint8 RGB: annotations in green, detections in the colour of
        their class.
    """
    truth, found = grouped(selection.truth, 'image_id'), grouped(selection.found, 'image_id')
    keys = [(row['id'],) for row in selection.images]
    errors = [frame_error(truth.get(key, []), found.get(key, [])) for key in keys]
    ranked = np.argsort([-e for e in errors], kind='stable')[:count]
    for rank, k in enumerate(ranked):
        image = read_image(files[k])
        rows = truth.get(keys[k], [])
        names = [selection.names[row['category_id']] for row in rows]
        found_here = model.detect(image, SHOWN_SCORE)  # anew: keeping all masks takes GBs
        draw_boxes(image, box_array(rows), names, GREEN)
        picture = draw_detections(image, found_here, model.classes)
        yield f'{rank:03d}_{files[k].stem}.jpg', picture


def frame_error(truth: Sequence[Annotation], found: Sequence[Annotation]) -> float:
    """Return how wrong the detections of one image are; 0 is perfect, there is no upper bound.

    Detections that the live node would publish are matched with annotations of their class, the
    best first. A missed annotation costs 1, a false alarm its score, a match 1 - IoU.

    Args:
        truth: COCO annotations.
        found: COCO results.
    """
    verdicts = judge_image([row for row in found if row['score'] >= SHOWN_SCORE], truth)
    missed = len(truth) - sum(v.kind == MATCH for v in verdicts)
    return missed + sum(1 - v.overlap if v.kind == MATCH else v.found['score'] for v in verdicts)
