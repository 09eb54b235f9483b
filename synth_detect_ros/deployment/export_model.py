"""A trained detector of one stage as a folder that other programs run without this package.

bundle -> graph -> files of the format -> comparison with the bundle -> the folder, at once
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from synth_detect_ros import __version__
from synth_detect_ros.bundle import load_bundle
from synth_detect_ros.config import ExportModelConfig
from synth_detect_ros.deployment.graph import DetectionGraph
from synth_detect_ros.deployment.parity import Parity, compare
from synth_detect_ros.deployment.writers import check_packages, write_model
from synth_detect_ros.detectors.one_stage import OneStage, Size
from synth_detect_ros.errors import ConfigError, DatasetError, ParityError
from synth_detect_ros.files import read_image, sha256_of, write_atomic
from synth_detect_ros.folders import whole_folder
from synth_detect_ros.images.places import images_in
from synth_detect_ros.inference.exported import FILES, FORMAT, MODEL, ExportedModel, is_exported
from synth_detect_ros.inference.predictor import Predictor
from synth_detect_ros.inference.preprocessing import preprocessing_of

PARITY = 'parity.json'

logger = logging.getLogger(__name__)


def export_model(config: ExportModelConfig) -> Parity:
    """Write a model for other programs, and compare it with its bundle.

    Args:
        config: what to write; `model` and `out` are needed.

    Returns:
        The comparison, which is in the folder as `parity.json` too.

    Raises:
        ConfigError: an option that is needed is empty; the detector has two stages; a package is
            missing or cannot export this network; the size is not known or too small; or `out`
            holds something else.
        BundleError: the bundle is missing or broken, or its code is not trusted.
        DatasetError: an image is missing, broken or of another size.
        ParityError: the exported model differs from the bundle by more than the options allow;
            nothing is written.
        StorageError: writing failed; nothing is left behind.
    """
    config.require()
    out = Path(config.out)
    _check_out(out)
    detector, info = _load(config)
    check_packages(config.format)
    size = _size(config, info, detector)
    images = _images(config, size)
    threshold = max(config.score_threshold, detector.config.score_threshold)
    facts = _facts(config, info, size, threshold)
    graph = DetectionGraph(detector, size, config.score_threshold).eval()
    with whole_folder(out) as new:
        example = torch.zeros((1, *size, 3), dtype=torch.uint8)
        write_model(config.format, graph, example, facts, new)
        facts['files'] = {name: sha256_of(new / name) for name in FILES[config.format]}
        write_atomic(new / MODEL, yaml.safe_dump(facts, sort_keys=False).encode())
        parity = _compare(config, new, images, threshold, detector.config.max_detections)
        _write_parity(config, parity, new)
    return parity


def _load(config: ExportModelConfig) -> tuple[OneStage, dict[str, Any]]:
    """Return the detector and what its bundle says.

    Raises:
        ConfigError: the detector has two stages.
    """
    detector, info = load_bundle(Path(config.model), trust_code=config.trust_code)
    if not isinstance(detector, OneStage):
        raise ConfigError(
            f'{config.model}: wanted a detector of one stage, got {detector.config.architecture}, '
            'which has two. Train one with detector.architecture dense or ssd.'
        )
    return detector, info


def _check_out(out: Path) -> None:
    """Refuse to replace what is no exported model.

    Raises:
        ConfigError: `out` is a file, or a folder with something else in it.
    """
    if not out.exists():
        return
    known = {MODEL, PARITY, *(name for names in FILES.values() for name in names)}
    names = {path.name for path in out.iterdir()} if out.is_dir() else {''}
    if names and not (names <= known and is_exported(out)):
        raise ConfigError(f'{out}: exists and is no exported model. Give a new folder.')


def _size(config: ExportModelConfig, info: Mapping[str, Any], detector: OneStage) -> Size:
    """Return height and width of the images [px].

    Raises:
        ConfigError: they are not known, or the network would see nothing of such an image.
    """
    if bool(config.height) != bool(config.width):
        raise ConfigError(
            f'height: {config.height}, width: {config.width}: give both, or none for the size of '
            'the camera that the model was trained for'
        )
    size = (config.height, config.width)
    if not config.height:
        camera = info.get('camera') or {}
        if not {'image_height', 'image_width'} <= set(camera):
            raise ConfigError(f'{config.model}: names no camera. Give height and width.')
        size = (int(camera['image_height']), int(camera['image_width']))
    seen = preprocessing_of(detector).size(*size)
    if min(seen) < 1:
        raise ConfigError(
            f'height: {size[0]}, width: {size[1]}: of such an image the network would see '
            f'{seen[0]} x {seen[1]} pixels. Give a height and width that differ less.'
        )
    return size


def _facts(
    config: ExportModelConfig, info: Mapping[str, Any], size: Size, threshold: float
) -> dict[str, Any]:
    """Return what is said of the model, in its file and in model.yaml."""
    return {
        'format': FORMAT,
        'exported': config.format,
        'package': f'synth_detect_ros {__version__}',
        'architecture': info['detector']['architecture'],
        'classes': list(info['classes']),
        'score_threshold': threshold,
        'input_height': size[0],
        'input_width': size[1],
        'camera': info.get('camera'),
        'weights_sha256': info['weights_sha256'],
    }


def _images(config: ExportModelConfig, size: Size) -> list[NDArray[np.uint8]]:
    """Return the images to compare on: those of a folder, or noise.

    Raises:
        DatasetError: there is none, or one is broken or of another size.
    """
    if not config.images:
        rng = np.random.default_rng(0)
        return [rng.integers(0, 256, (*size, 3), np.uint8) for _ in range(config.count)]
    files = images_in(Path(config.images))[: config.count]
    if not files:
        raise DatasetError(f'{config.images}: no images in it')
    images = [read_image(file) for file in files]
    for file, image in zip(files, images, strict=True):
        if image.shape[:2] != size:
            raise DatasetError(
                f'{file}: wanted {size[1]} x {size[0]} pixels as the exported model does, got '
                f'{image.shape[1]} x {image.shape[0]}. Give images of that camera, or height and '
                'width of these.'
            )
    return images


def _compare(
    config: ExportModelConfig,
    folder: Path,
    images: list[NDArray[np.uint8]],
    threshold: float,
    max_detections: int,
) -> Parity:
    """Run the bundle and the exported model in a folder on the same images."""
    bundle = Predictor(Path(config.model), 'cpu', runtime='torch', trust_code=config.trust_code)
    exported = ExportedModel(folder)
    wanted = [bundle.detect(image, config.score_threshold) for image in images]
    found = [exported.detect(image) for image in images]
    return compare(wanted, found, threshold, max_detections, config.max_score)


def _write_parity(config: ExportModelConfig, parity: Parity, folder: Path) -> None:
    """Write the comparison beside the model.

    Raises:
        ParityError: a bound is exceeded.
    """
    masks = 1.0 if parity.mask_iou is None else parity.mask_iou
    within = {
        'max_unmatched': parity.unmatched_share <= config.max_unmatched,
        'max_box_px': parity.box_px <= config.max_box_px,
        'max_score': parity.score <= config.max_score,
        'min_mask_iou': masks >= config.min_mask_iou,
    }
    bounds = {name: getattr(config, name) for name in within}
    if broken := [f'{name} {bounds[name]}' for name, holds in within.items() if not holds]:
        raise ParityError(
            f'the exported model differs from {config.model} by more than {", ".join(broken)}: '
            f'{parity}. Nothing was written; where that is enough for you, widen these bounds.'
        )
    if not parity.matched:
        logger.warning(
            'nothing was found in the images that were compared: give a folder of real ones as '
            'images, or a lower score_threshold'
        )
    ran = 'model.onnx' if config.format == 'tensorrt' else config.format
    content = {**dataclasses.asdict(parity), 'bounds': bounds, 'ran': ran}
    write_atomic(folder / PARITY, (json.dumps(content, indent=1) + '\n').encode())
