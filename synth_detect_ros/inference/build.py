"""The fast path of a detector, by its architecture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from synth_detect_ros.detectors.detector import Detector
from synth_detect_ros.inference.fast_path import Inference
from synth_detect_ros.inference.one_stage import OneStageInference
from synth_detect_ros.inference.two_stage import TwoStageInference

# By architecture.
INFERENCES: dict[str, Callable[..., Inference[Any]]] = {
    'faster_rcnn': TwoStageInference,
    'mask_rcnn': TwoStageInference,
    'rfcn': TwoStageInference,
    'ssd': OneStageInference,
}


def build_inference(
    detector: Detector, device: torch.device, runtime: str = 'auto', threads: int = 1
) -> Inference[Any]:
    """Make a detector ready for one image at a time.

    Args:
        detector: in inference mode.
        device: where its weights are.
        runtime: who computes the dense part, see `runtimes.build_runtime`.
        threads: of the CPU.

    Raises:
        ConfigError: the runtime is not installed or cannot run the network.
    """
    return INFERENCES[detector.config.architecture](detector, device, runtime, threads)
