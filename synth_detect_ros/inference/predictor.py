"""Detection in new images; the live node, `detect` and `evaluate` all run this."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from synth_detect_ros.bundle import load_bundle
from synth_detect_ros.detectors.detector import Detector
from synth_detect_ros.detectors.rcnn import RCNN
from synth_detect_ros.detectors.ssd import SSD
from synth_detect_ros.devices import choose_device
from synth_detect_ros.errors import GeometryError
from synth_detect_ros.inference.fast_path import Inference
from synth_detect_ros.inference.one_stage import OneStageInference
from synth_detect_ros.inference.two_stage import TwoStageInference
from synth_detect_ros.structures import Detections

FAST_PATHS: dict[type[Detector], Callable[..., Inference[Any]]] = {
    RCNN: TwoStageInference,
    SSD: OneStageInference,
}


class Predictor:
    """A trained detector, ready for images.

    Args:
        bundle: folder of the trained model.
        device: see `choose_device`.
        threads: CPU threads of the network; 0 takes every core this process may use.
        runtime: who computes the network, see `runtimes.build_runtime`.
        proposals: see `keep_proposals`.

    Attributes:
        classes: class names; label i is classes[i].
        has_masks: whether detections come with masks.
        info: the content of the bundle's model.yaml.
        runtime: the one that was chosen.

    Raises:
        BundleError: the bundle is missing, truncated or broken.
        ConfigError: the device is not there, the runtime not installed, or a detector of one stage
            should keep proposals.
    """

    def __init__(
        self,
        bundle: Path,
        device: str = 'auto',
        threads: int = 0,
        runtime: str = 'auto',
        proposals: int = 0,
    ) -> None:
        self.device = choose_device(device)
        threads = threads or len(os.sched_getaffinity(0))
        if self.device.type == 'cpu':
            torch.set_num_threads(threads)
        detector, self.info = load_bundle(bundle, str(self.device))
        self.classes = detector.classes
        self.has_masks = detector.has_masks
        self._inference = build_inference(detector, self.device, runtime, threads)
        self.keep_proposals(proposals)
        self.runtime = self._inference.runtime

    def keep_proposals(self, count: int) -> None:
        """Pass this many proposals an image to the second stage; 0: as many as in training.

        Raises:
            ConfigError: the detector has one stage.
        """
        self._inference.keep_proposals(count)

    @property
    def timings(self) -> dict[str, float]:
        """Duration of the last call's parts [ms]: `preprocess`, `network`, `postprocess`."""
        return self._inference.timings

    def detect(
        self,
        image: NDArray[np.uint8],
        score_threshold: float = 0.0,
        *,
        masks: bool = True,
    ) -> Detections:
        """Find the objects in one image.

        Args:
            image: (H, W, 3) uint8 RGB.
            score_threshold: detections below are dropped, as those below the bundle's own
                threshold always are.
            masks: whether masks are made, where the detector has them.

        Raises:
            GeometryError: the image has another shape or type.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise GeometryError(
                f'wanted an (H, W, 3) uint8 RGB image, got {image.shape} {image.dtype}'
            )
        return self._inference.detect(image, score_threshold, masks=masks)


def build_inference(
    detector: Detector, device: torch.device, runtime: str = 'auto', threads: int = 1
) -> Inference[Any]:
    """Return the fast path of a detector.

    Args:
        detector: in inference mode.
        device: where its weights are.
        runtime: who computes the dense part, see `runtimes.build_runtime`.
        threads: of the CPU.

    Raises:
        ConfigError: the runtime is not installed or cannot run the network.
    """
    return FAST_PATHS[type(detector)](detector, device, runtime, threads)
