"""A bundle whose network computes in 8-bit integers on CPUs, by OpenVINO and NNCF.

Post-training quantisation (Jacob et al. 2018, "Quantization and Training of Neural Networks", sec.
2): ranges of activations are measured on images, nothing is trained. Images and labels are those
of a synthetic set, so nothing real has to be labelled.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.bundle import INT8, copy_bundle, read_bundle_info
from synth_detect_ros.config import QuantizeConfig
from synth_detect_ros.dataset.backgrounds import read_background_set
from synth_detect_ros.dataset.coco import read_coco
from synth_detect_ros.dataset.image_files import image_files
from synth_detect_ros.errors import ConfigError, DatasetError
from synth_detect_ros.evaluation.evaluate import score_images
from synth_detect_ros.files import read_image
from synth_detect_ros.folders import whole_folder
from synth_detect_ros.inference.predictor import Predictor
from synth_detect_ros.inference.runtimes import openvino_model

logger = logging.getLogger(__name__)

PACKAGES = ('nncf', 'openvino')

ImageReader = Callable[[], NDArray[np.uint8]]


def quantize(config: QuantizeConfig) -> Path:
    """Write a bundle like another one that OpenVINO runs in 8-bit integers.

    Args:
        config: what to do; `model`, `dataset` and `out` are needed.

    Returns:
        The new bundle.

    Raises:
        ConfigError: an option that is needed is empty; NNCF or OpenVINO is not installed; the
            model is quantised already; `out` holds something else; or AP falls by more than
            `max_drop`. Nothing is written then.
        BundleError: the model cannot be loaded.
        DatasetError: images or labels are missing, broken or too few.
        BackgroundError: the backgrounds are missing or broken.
        StorageError: the bundle cannot be written.
    """
    config.require()
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        raise ConfigError(f'not installed: pip install {" ".join(missing)}')
    model, out, folder = Path(config.model), Path(config.out), Path(config.dataset)
    _check_folders(model, out)
    images, scored = _divide(read_coco(folder / 'annotations.json', within=folder), config)
    files = image_files(folder / 'images', images, within=folder)
    readers: list[ImageReader] = [
        *(partial(read_image, file) for file in files),
        *_backgrounds(config),
    ]
    plain = Predictor(model, 'cpu', runtime='openvino', trust_code=config.trust_code)
    logger.info('measuring activations on %d images', len(readers))
    network = _quantized(plain, readers)
    with whole_folder(out) as new:
        _save(network, new, model, {'images': len(readers)})
        small = Predictor(new, 'cpu', runtime='openvino', trust_code=config.trust_code)
        facts = {'images': len(readers), **_accuracy(plain, small, scored, config)}
        _save(network, new, model, facts)
    return out


def _check_folders(model: Path, out: Path) -> None:
    """Refuse a model that is quantised already, and to replace what `quantize` did not make.

    Raises:
        BundleError: the model is missing or broken.
        ConfigError: see above.
    """
    if 'int8' in read_bundle_info(model):
        raise ConfigError(f'model: {model} is in 8-bit integers already. Give what it came from.')
    made = (out / INT8).is_file() and 'int8' in read_bundle_info(out)
    if not made and out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ConfigError(f'out: {out} holds something else. Choose a new folder.')


def _accuracy(
    plain: Predictor, small: Predictor, scored: dict[str, Any], config: QuantizeConfig
) -> dict[str, float]:
    """Return the AP of both networks.

    Raises:
        ConfigError: it falls by more than the configuration allows.
    """
    logger.info('scoring both on %d images', len(scored['images']))
    before, after = (
        score_images(one, scored, Path(config.dataset) / 'images')['bbox']['AP']
        for one in (plain, small)
    )
    if before - after > config.max_drop:
        raise ConfigError(
            f'max_drop: AP falls from {before:.3f} to {after:.3f} in 8-bit integers, by more '
            f'than {config.max_drop:g}. Calibrate with more images (count), or keep float32.'
        )
    logger.info('AP %.3f in 8-bit integers, %.3f in float32', after, before)
    return {'AP': after, 'AP_float32': before}


def _divide(truth: dict[str, Any], config: QuantizeConfig) -> tuple[list[str], dict[str, Any]]:
    """Return names of images to calibrate with, and annotations of others to score on.

    Raises:
        DatasetError: there is nothing for one of the two.
    """
    rows = truth['images']
    share = min(config.count, len(rows) // 2)
    calibrating, others = rows[:share], rows[share:][-config.scored :]
    ids = {row['id'] for row in others}
    annotations = [row for row in truth['annotations'] if row['image_id'] in ids]
    if not calibrating or not annotations:
        raise DatasetError(
            f'{config.dataset}: wanted images to calibrate with and labelled ones to score on, '
            f'got {len(rows)} images, {len(annotations)} labels in the {len(others)} to score on'
        )
    scored = {**truth, 'images': others, 'annotations': annotations}
    return [row['file_name'] for row in calibrating], scored


def _backgrounds(config: QuantizeConfig) -> list[ImageReader]:
    """Return readers of images without objects that calibrate too; see `read_background_set`."""
    if not config.backgrounds:
        return []
    found = read_background_set(Path(config.backgrounds), calibrated=False)
    return [partial(found.read, index) for index in range(len(found))[: config.count]]


def _quantized(predictor: Predictor, readers: Sequence[ImageReader]) -> Any:
    """Return the dense part of a detector in 8-bit integers, an OpenVINO model."""
    nncf: Any = importlib.import_module('nncf')
    nncf.set_log_level(logging.ERROR)

    def network_input(read: ImageReader) -> NDArray[np.float32]:
        pixels: NDArray[np.float32] = predictor.prepare(read())[0].contiguous().numpy()
        return pixels

    # On networks of depthwise convolutions, the range of all activations and the exact correction
    # of biases lose .006 of AP where NNCF's defaults lose .018 (docs/accuracy.md).
    ranges = nncf.quantization.range_estimator.RangeEstimatorParametersSet.MINMAX
    return nncf.quantize(
        openvino_model(predictor.dense),
        nncf.Dataset(readers, network_input),  # one image in memory at a time
        subset_size=len(readers),
        preset=nncf.QuantizationPreset.MIXED,
        fast_bias_correction=False,
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            activations_range_estimator_params=ranges
        ),
    )


def _save(network: Any, folder: Path, model: Path, facts: dict[str, Any]) -> None:
    """Write a copy of a bundle with the network and what is known of it."""
    openvino: Any = importlib.import_module('openvino')

    def add(file: Path) -> None:
        openvino.save_model(network, file, compress_to_fp16=False)

    copy_bundle(model, folder, add, {**facts, 'openvino': openvino.__version__})
