"""The bundle: a trained model on disk, a folder that needs nothing else.

`weights.safetensors` holds the weights, `model.yaml` what it takes to build the network around
them, and where they came from, `SHA256SUMS` the checksums of the others (`sha256sum -c` reads it).
Nothing pickled is ever loaded from a bundle, and no code is run: where the extractor is code of
the user's, it lies beside them as `extractor.py`, and runs only for who names its SHA-256.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
import torchvision
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from synth_detect_ros.config import DetectorConfig
from synth_detect_ros.config.detectors import translate_detector
from synth_detect_ros.config.options import build, to_mapping
from synth_detect_ros.detectors.build import build_detector
from synth_detect_ros.detectors.detector import Detector
from synth_detect_ros.detectors.extractors.build import is_own
from synth_detect_ros.detectors.extractors.own_code import OwnCode
from synth_detect_ros.documents import read_yaml
from synth_detect_ros.errors import BundleError, ConfigError, WeightsError
from synth_detect_ros.files import sha256_of, write_atomic
from synth_detect_ros.folders import folder_before, whole_folder

FORMAT = 3
WEIGHTS, MODEL, SUMS = 'weights.safetensors', 'model.yaml', 'SHA256SUMS'
CODE = 'extractor.py'
INT8 = 'int8.xml'  # the dense part in 8-bit integers, for OpenVINO; its weights are in int8.bin
# A bundle may be replaced while it is read, hardly so often.
TRIES = 5

T = TypeVar('T')


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
    weights = {k: v.detach().cpu().contiguous() for k, v in detector.state_dict().items()}
    with whole_folder(folder) as new:
        write_atomic(new / WEIGHTS, save(weights))
        info = {**_describe(detector, sha256_of(new / WEIGHTS)), **facts}
        if detector.own_code is not None:
            write_atomic(new / CODE, detector.own_code.source)
            function = detector.config.extractor.rpartition(':')[2]
            info['detector']['extractor'] = f'{CODE}:{function}'
            info['code_sha256'] = detector.own_code.sha256
        info = _without_folders(info)
        write_atomic(new / MODEL, yaml.safe_dump(info, sort_keys=False).encode())
        _write_sums(new)
    return folder


def copy_bundle(
    folder: Path, new: Path, save_int8: Callable[[Path], None], facts: Mapping[str, Any]
) -> None:
    """Copy a bundle and add its dense part in 8-bit integers.

    Args:
        folder: of the bundle.
        new: an existing folder for the copy.
        save_int8: writes that part, given the file `INT8`.
        facts: of it, for `int8` in `model.yaml`.

    Raises:
        BundleError: the bundle is missing or broken.
    """
    info = read_bundle_info(folder)
    for name in (WEIGHTS, CODE):
        if (folder / name).is_file():
            shutil.copyfile(folder / name, new / name)
    save_int8(new / INT8)
    info = {**info, 'format': FORMAT, 'int8': dict(facts)}
    write_atomic(new / MODEL, yaml.safe_dump(info, sort_keys=False).encode())
    _write_sums(new)


def _write_sums(folder: Path) -> None:
    files = sorted(file for file in folder.iterdir() if file.name != SUMS)
    sums = [f'{sha256_of(file)}  {file.name}\n' for file in files]
    write_atomic(folder / SUMS, ''.join(sums).encode())


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


def _without_folders(value: Any) -> Any:
    """Return a value without the folders of absolute paths: they mean nothing elsewhere."""
    if isinstance(value, Mapping):
        return {key: _without_folders(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_without_folders(entry) for entry in value]
    return Path(value).name if isinstance(value, str) and value.startswith('/') else value


def read_bundle_info(folder: Path) -> dict[str, Any]:
    """Read `model.yaml` of a bundle; that of format 1 with its detector under today's names.

    No code is run.

    Raises:
        BundleError: it is missing, broken, or of another format.
    """
    return _while_it_stands(folder, _read_info)


def _read_info(folder: Path) -> dict[str, Any]:
    path = folder / MODEL
    if not path.is_file():
        raise BundleError(
            f'{folder}: no trained model here ({MODEL} is missing). Give the bundle folder that '
            'synth-detect train wrote, <out>/bundle.'
        )
    try:
        _check_sums(folder, MODEL)
    except OSError as error:
        raise BundleError(f'{path}: cannot be read: {error}') from error
    info = read_yaml(path, BundleError)
    keys = {'format', 'classes', 'detector', 'weights_sha256'}
    whole = isinstance(info, dict) and keys <= set(info)
    if not whole or not isinstance(info['detector'], dict) or not info['classes']:
        raise BundleError(f'{path}: truncated or edited; wanted the keys {sorted(keys)}')
    if info['format'] == 1:
        try:
            return {**info, 'detector': translate_detector(info['detector'])}
        except ConfigError as error:
            raise BundleError(f'{path}: detector.{error}') from error
    if info['format'] not in (2, FORMAT):
        raise BundleError(
            f'{path}: format {info["format"]}, but this version of synth_detect_ros reads 1 to '
            f'{FORMAT}; train again or install the matching version'
        )
    return info


def load_bundle(
    folder: Path, device: str = 'cpu', trust_code: str = ''
) -> tuple[Detector, dict[str, Any]]:
    """Load a trained detector, in inference mode.

    Args:
        folder: of the bundle.
        device: where the network goes.
        trust_code: SHA-256 of the code of the bundle's own extractor, or a file with this code,
            which then sees itself as this file; without it, no code of a bundle runs.

    Returns:
        The detector and the content of `model.yaml`.

    Raises:
        BundleError: something is missing, truncated, or does not fit together; or the bundle
            has an extractor of its own whose code `trust_code` does not name.
    """
    detector, info = _while_it_stands(folder, partial(_load, trust_code=trust_code))
    return detector.eval().to(device), info


def _load(folder: Path, trust_code: str) -> tuple[Detector, dict[str, Any]]:
    info = _read_info(folder)
    path = folder / WEIGHTS
    if not path.is_file():
        raise BundleError(f'{folder}: {WEIGHTS} is missing; copy the whole bundle folder')
    try:
        _check_sums(folder)
        if sha256_of(path) != info['weights_sha256']:
            raise BundleError(
                f'{path}: truncated or not the file that {MODEL} belongs to (its SHA-256 '
                'differs); copy the bundle again'
            )
        config = build(DetectorConfig, info['detector'], str(folder / MODEL))
        code = _trusted_code(folder, trust_code) if is_own(config.extractor) else None
        detector = build_detector(config, info['classes'], load_weights=False, own_code=code)
        detector.load_state_dict(load_file(path))
    except (ConfigError, WeightsError, RuntimeError, SafetensorError, OSError) as error:
        raise BundleError(f'{folder}: the model cannot be rebuilt: {error}') from error
    return detector, info


def _trusted_code(folder: Path, trust_code: str) -> OwnCode:
    """Return the code of a bundle's own extractor.

    Raises:
        BundleError: it is not there, or `trust_code` does not name it.
    """
    path = folder / CODE
    if not path.is_file():
        raise BundleError(
            f'{path}: missing. The extractor of this model is code of its own, which bundles hold '
            'since format 3: train again, or copy the file that it was trained with to this place.'
        )
    code, file = OwnCode(path, path.read_bytes()), Path(trust_code)
    own = OwnCode(file.resolve(), file.read_bytes()) if file.is_file() else None
    named = own.sha256 if own else trust_code.lower()
    if named == code.sha256:
        return own or code
    came = f'; trust_code is {named}' if named else ''
    raise BundleError(
        f'{path}: the extractor of this model is code of its own, which runs only where it is '
        f'trusted{came}. Read the file; where you trust it, give --trust-code {code.sha256} '
        '(of a node the parameter trust_code), or the file that the model was trained with.'
    )


def _check_sums(folder: Path, *names: str) -> None:
    """Compare files of a bundle, by default all, with its checksums; earlier versions wrote none.

    Raises:
        BundleError: a file is missing or differs, or the checksums themselves are damaged.
    """
    path = folder / SUMS
    if not path.exists():
        return
    lines = path.read_bytes().decode(errors='replace').splitlines()
    sums = {name: digest for digest, _, name in (line.partition('  ') for line in lines)}
    if not {MODEL, WEIGHTS} <= set(sums):
        raise BundleError(f'{path}: damaged; copy the bundle again')
    for name in names or sums:
        file = folder / name
        if not file.is_file() or sha256_of(file) != sums[name]:
            raise BundleError(
                f'{file}: missing, truncated, damaged or edited (its SHA-256 is not the one in '
                f'{SUMS}). Copy the bundle again; where it was changed on purpose, remove {SUMS}.'
            )


def _while_it_stands(folder: Path, read: Callable[[Path], T]) -> T:
    """Read a bundle; once more where a training replaced it meanwhile.

    Raises:
        BundleError: it was not replaced, and cannot be read.
    """
    for _ in range(TRIES - 1):
        standing = folder if folder.exists() else folder_before(folder)
        before = _identity(standing)
        try:
            return read(folder if before is None else standing)
        except BundleError:
            if _identity(folder) == before:
                raise
    return read(folder)


def _identity(folder: Path) -> tuple[int, ...] | None:
    with suppress(OSError):
        facts = folder.stat()
        return facts.st_dev, facts.st_ino, facts.st_ctime_ns
    return None
