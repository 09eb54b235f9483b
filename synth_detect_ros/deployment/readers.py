"""An exported model at work, as another program would run it, to compare it with its bundle."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.deployment.writers import ONNX, OPENVINO
from synth_detect_ros.geometry.masks import paste_masks
from synth_detect_ros.inference.runtimes import openvino_core
from synth_detect_ros.structures import Detections

Run = Callable[[NDArray[np.uint8]], Detections]


def open_exported(format: str, folder: Path) -> Run:
    """Return the function that finds objects in a (H, W, 3) uint8 RGB image.

    Args:
        format: of the model. Of `tensorrt` the ONNX model runs that the engine was built from.
        folder: of the model.
    """
    run = _openvino(folder / OPENVINO) if format == 'openvino' else _onnx(folder / ONNX)

    def detect(image: NDArray[np.uint8]) -> Detections:
        boxes, scores, labels, *masks = run(image[None])
        boxes = boxes.astype(np.float64)
        return Detections(
            labels=labels,
            scores=scores.astype(np.float64),
            boxes=boxes,
            masks=paste_masks(masks[0], boxes, *image.shape[:2]) if masks else None,
        )

    return detect


def _onnx(file: Path) -> Callable[[NDArray[np.uint8]], Sequence[Any]]:
    onnxruntime: Any = importlib.import_module('onnxruntime')
    session = onnxruntime.InferenceSession(file, providers=['CPUExecutionProvider'])
    return lambda images: session.run(None, {'image': images})


def _openvino(file: Path) -> Callable[[NDArray[np.uint8]], Sequence[Any]]:
    model = openvino_core().compile_model(file, 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})

    def run(images: NDArray[np.uint8]) -> Sequence[Any]:
        found = model(images)
        return [np.array(found[i]) for i in range(len(found))]

    return run
