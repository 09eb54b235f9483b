"""The detector that a configuration names, and its fast path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from synth_detect_ros.config import DetectorConfig
from synth_detect_ros.detectors.contract import Detector
from synth_detect_ros.detectors.inference import Inference
from synth_detect_ros.detectors.one_stage import OneStageInference
from synth_detect_ros.detectors.rcnn import RCNN
from synth_detect_ros.detectors.ssd import SSD
from synth_detect_ros.detectors.two_stage import TwoStageInference

# By architecture.
DETECTORS: dict[str, Callable[..., Detector]] = {
    'faster_rcnn': RCNN,
    'mask_rcnn': RCNN,
    'rfcn': RCNN,
    'ssd': SSD,
}
INFERENCES: dict[str, Callable[..., Inference[Any]]] = {
    'faster_rcnn': TwoStageInference,
    'mask_rcnn': TwoStageInference,
    'rfcn': TwoStageInference,
    'ssd': OneStageInference,
}


def build_detector(
    config: DetectorConfig, classes: Sequence[str], *, load_weights: bool = True
) -> Detector:
    """Build a detector.

    Args:
        config: the network.
        classes: class names; label i is classes[i].
        load_weights: False leaves the extractor's weights to the caller.

    Raises:
        ConfigError: the extractor is not known or does not fit.
        WeightsError: its weights are missing or do not fit.
    """
    return DETECTORS[config.architecture](config, classes, load_weights=load_weights)


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
