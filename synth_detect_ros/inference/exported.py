"""An exported model at work: torch is not needed, so that a robot can do without it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.documents import is_line, read_yaml
from synth_detect_ros.errors import BundleError, ConfigError, GeometryError
from synth_detect_ros.files import sha256_of
from synth_detect_ros.geometry.masks import paste_masks
from synth_detect_ros.inference.openvino_core import compile_for_cpu
from synth_detect_ros.structures import Detections

MODEL, ONNX, OPENVINO, ENGINE = 'model.yaml', 'model.onnx', 'model.xml', 'model.engine'
# Of model.yaml; others are refused.
FORMAT = 1
# What a folder holds of each format.
FILES = {
    'onnx': (ONNX,),
    'openvino': (OPENVINO, 'model.bin'),
    'tensorrt': (ONNX, ENGINE),
}
# Who runs a model of each format here; of `tensorrt` the ONNX model beside it.
RUNTIMES = {'onnx': 'onnxruntime', 'openvino': 'openvino', 'tensorrt': 'onnxruntime'}
KEYS = {'format', 'exported', 'classes', 'input_height', 'input_width', 'files'}

Run = Callable[[NDArray[np.uint8]], Sequence[Any]]


class ExportedModel:
    """What `export-model` wrote, ready for images of the size it was made for.

    Args:
        folder: of the exported model.
        device: auto or cpu.
        threads: of the CPU; 0 takes every core this process may use.
        runtime: auto, or the one that runs this format.

    Attributes:
        classes: class names; label i is classes[i].
        has_masks: whether detections come with masks.
        architecture: of the detector.
        device: cpu.
        runtime: who computes.
        input_size: (height, width) of the images [px].
        timings: duration of the last call's parts [ms]: `network`, which is all but the masks'
            growth to the image, and `postprocess`.

    Raises:
        BundleError: a file is missing, damaged, or of another version of the package.
        ConfigError: the device or runtime cannot run it, or the package of the runtime is missing.
    """

    def __init__(
        self, folder: Path, device: str = 'auto', threads: int = 0, runtime: str = 'auto'
    ) -> None:
        info = read_exported(folder)
        self.classes = tuple(info['classes'])
        self.architecture = str(info.get('architecture', 'exported'))
        self.input_size = (info['input_height'], info['input_width'])
        self.device = 'cpu'
        self.runtime = RUNTIMES[info['exported']]
        if device not in ('auto', 'cpu') or runtime not in ('auto', self.runtime):
            raise ConfigError(
                f'{folder}: an exported model of this format runs in {self.runtime} on the CPU '
                f'here, not with device {device}, runtime {runtime}. Choose auto for both, or '
                'give the bundle.'
            )
        if importlib.util.find_spec(self.runtime) is None:
            raise ConfigError(
                f'{folder}: {self.runtime}, which runs it, is not installed: '
                f'pip install {self.runtime}'
            )
        self._run, outputs = _open(folder, threads or len(os.sched_getaffinity(0)), self.runtime)
        self.has_masks = outputs > 3
        self.timings: dict[str, float] = {}

    def keep_proposals(self, count: int) -> None:
        """Refuse any number of proposals but 0: there are none.

        Raises:
            ConfigError: the number is another.
        """
        if count:
            raise ConfigError(
                f'proposals: {count}: an exported model has one stage, without proposals. Set 0.'
            )

    def detect(
        self, image: NDArray[np.uint8], score_threshold: float = 0.0, *, masks: bool = True
    ) -> Detections:
        """Find the objects in one image.

        Args:
            image: (H, W, 3) uint8 RGB of `input_size`.
            score_threshold: detections below are dropped, as those below the threshold that the
                model was exported with always are.
            masks: whether masks are made, where the model has them.

        Raises:
            GeometryError: the image has another shape or type.
        """
        if image.shape != (*self.input_size, 3) or image.dtype != np.uint8:
            height, width = self.input_size
            raise GeometryError(
                f'wanted images of {width} x {height} pixels, (H, W, 3) uint8 RGB, for which the '
                f'model was exported; got {image.shape} {image.dtype}. Export it for these: '
                'synth-detect export-model --height HEIGHT --width WIDTH.'
            )
        start = time.perf_counter()
        boxes, scores, labels, *probabilities = self._run(image[None])
        ran = time.perf_counter()
        kept = scores >= score_threshold
        edges = boxes[kept].astype(np.float64)
        found = Detections(
            labels=labels[kept].astype(np.int64),
            scores=scores[kept].astype(np.float64),
            boxes=edges,
            masks=paste_masks(probabilities[0][kept], edges, *image.shape[:2])
            if probabilities and masks
            else None,
        )
        end = time.perf_counter()
        self.timings = {'network': 1e3 * (ran - start), 'postprocess': 1e3 * (end - ran)}
        return found


def is_exported(folder: Path) -> bool:
    """Return whether a folder holds an exported model, and not a bundle."""
    path = folder / MODEL
    content = read_yaml(path, BundleError) if path.is_file() else None
    return isinstance(content, dict) and 'exported' in content


def read_exported(folder: Path) -> Mapping[str, Any]:
    """Read what is said of an exported model, and compare its files with their checksums.

    Raises:
        BundleError: a file is missing or damaged, or of another version of the package.
    """
    path = folder / MODEL
    info = read_yaml(path, BundleError) if path.is_file() else None
    if not isinstance(info, dict) or not set(info) >= KEYS or not _is_sane(info):
        raise BundleError(f'{path}: truncated or edited; wanted the keys {sorted(KEYS)}')
    if info['format'] != FORMAT or info['exported'] not in FILES:
        raise BundleError(
            f'{path}: exported model of format {info["format"]} for {info["exported"]}, but this '
            f'version of synth_detect_ros reads {FORMAT} for {", ".join(FILES)}; export it again'
        )
    for name in FILES[info['exported']]:
        file = folder / name
        if not file.is_file():
            raise BundleError(f'{file}: missing; export the model again')
        if sha256_of(file) != info['files'].get(name):
            raise BundleError(f'{file}: damaged, or another export: its checksum differs')
    return info


def _is_sane(info: Mapping[str, Any]) -> bool:
    """Return whether the values of model.yaml are of the types they have to be."""
    sizes = (info['input_height'], info['input_width'])
    classes, files = info['classes'], info['files']
    return (
        all(isinstance(size, int) and size > 0 for size in sizes)
        and isinstance(classes, list)
        and bool(classes)
        and all(is_line(name) for name in classes)
        and isinstance(files, dict)
        and isinstance(info['exported'], str)
    )


def _open(folder: Path, threads: int, runtime: str) -> tuple[Run, int]:
    """Return the function that runs a model, and how many outputs it has.

    Raises:
        BundleError: the runtime cannot read the model.
    """
    file = folder / (OPENVINO if runtime == 'openvino' else ONNX)
    try:
        return (_openvino if runtime == 'openvino' else _onnx)(file, threads)
    except Exception as error:  # each of them has many kinds
        raise BundleError(f'{file}: {runtime} cannot read it: {error}') from error


def _onnx(file: Path, threads: int) -> tuple[Run, int]:
    onnxruntime: Any = importlib.import_module('onnxruntime')
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file, options, providers=['CPUExecutionProvider'])
    return lambda images: session.run(None, {'image': images}), len(session.get_outputs())


def _openvino(file: Path, threads: int) -> tuple[Run, int]:
    request = compile_for_cpu(file, threads)

    def run(images: NDArray[np.uint8]) -> Sequence[Any]:
        found = request.infer([np.ascontiguousarray(images)], share_inputs=True)
        return [np.array(found[i]) for i in range(len(found))]

    return run, len(request.model_outputs)
