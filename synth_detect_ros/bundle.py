"""The bundle: a trained model on disk, a folder that needs nothing else.

`weights.safetensors` holds the weights, `model.yaml` what it takes to build the network around
them, and where they came from. Nothing pickled is ever loaded from a bundle.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torchvision
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from synth_detect_ros.config import DetectorConfig
from synth_detect_ros.config.detectors import translate_detector
from synth_detect_ros.config.options import build, to_mapping
from synth_detect_ros.detectors.build import build_detector
from synth_detect_ros.detectors.detector import Detector
from synth_detect_ros.errors import BundleError, ConfigError, StorageError, WeightsError

FORMAT = 2
WEIGHTS, MODEL = 'weights.safetensors', 'model.yaml'


def save_bundle(folder: Path, detector: Detector, facts: Mapping[str, Any]) -> Path:
    """Write a bundle; one that is there already is replaced when the new one is complete.

    Args:
        folder: of the bundle.
        detector: the trained network.
        facts: what else goes into `model.yaml`: freeze report, camera, data set hash, metrics.

    Returns:
        The folder.

    Raises:
        StorageError: it cannot be written, for example on a full disk.
    """
    temporary = folder.with_name(folder.name + '.tmp')
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        weights = {k: v.detach().cpu().contiguous() for k, v in detector.state_dict().items()}
        save_file(weights, temporary / WEIGHTS)
        info = {**_describe(detector, _sha256(temporary / WEIGHTS)), **facts}
        (temporary / MODEL).write_text(yaml.safe_dump(info, sort_keys=False))
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    except (OSError, SafetensorError) as error:
        raise StorageError(f'{folder}: the bundle cannot be written: {error}') from error
    return folder


def _describe(detector: Detector, weights_sha256: str) -> dict[str, Any]:
    """Return what `model.yaml` says of every detector."""
    config = detector.config
    return {
        'format': FORMAT,
        'classes': list(detector.classes),
        'detector': to_mapping(config),
        'preprocessing': {
            'colour': 'RGB',
            'mean': [float(v) for v in detector.transform.image_mean],
            'std': [float(v) for v in detector.transform.image_std],
            'min_side': config.min_side,
            'max_side': config.max_side,
            'fixed_size': list(config.fixed_size or []) or None,
        },
        'extractor_weights': detector.weights_source,
        'weights_sha256': weights_sha256,
        'versions': {'torch': str(torch.__version__), 'torchvision': torchvision.__version__},
    }


def read_bundle_info(folder: Path) -> dict[str, Any]:
    """Read `model.yaml` of a bundle; that of format 1 with its detector under today's names.

    Raises:
        BundleError: it is missing, broken, or of another format.
    """
    path = folder / MODEL
    if not path.is_file():
        raise BundleError(
            f'{folder}: no trained model here ({MODEL} is missing). Give the bundle folder that '
            'synth-detect train wrote, <out>/bundle.'
        )
    try:
        info = yaml.safe_load(path.read_text())
        keys = {'format', 'classes', 'detector', 'weights_sha256'}
        whole = isinstance(info, dict) and keys <= set(info)
        if not whole or not isinstance(info['detector'], dict) or not info['classes']:
            raise BundleError(f'{path}: truncated or edited; wanted the keys {sorted(keys)}')
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BundleError(f'{path}: cannot be read: {error}') from error
    if info['format'] == 1:
        try:
            return {**info, 'detector': translate_detector(info['detector'])}
        except ConfigError as error:
            raise BundleError(f'{path}: detector.{error}') from error
    if info['format'] != FORMAT:
        raise BundleError(
            f'{path}: format {info["format"]}, but this version of synth_detect_ros reads 1 and '
            f'{FORMAT}; train again or install the matching version'
        )
    return info


def load_bundle(folder: Path, device: str = 'cpu') -> tuple[Detector, dict[str, Any]]:
    """Load a trained detector, in inference mode.

    Args:
        folder: of the bundle.
        device: where the network goes.

    Returns:
        The detector and the content of `model.yaml`.

    Raises:
        BundleError: something is missing, truncated, or does not fit together.
    """
    info = read_bundle_info(folder)
    path = folder / WEIGHTS
    if not path.is_file():
        raise BundleError(f'{folder}: {WEIGHTS} is missing; copy the whole bundle folder')
    if _sha256(path) != info['weights_sha256']:
        raise BundleError(
            f'{path}: truncated or not the file that {MODEL} belongs to (its SHA-256 differs); '
            'copy the bundle again'
        )
    try:
        config = build(DetectorConfig, info['detector'], str(folder / MODEL))
        detector = build_detector(config, info['classes'], load_weights=False)
        detector.load_state_dict(load_file(path))
    except (ConfigError, WeightsError, RuntimeError, SafetensorError) as error:
        raise BundleError(f'{folder}: the model cannot be rebuilt: {error}') from error
    return detector.eval().to(device), info


def _sha256(path: Path) -> str:
    with path.open('rb') as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
