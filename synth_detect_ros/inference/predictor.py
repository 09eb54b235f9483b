"""Detection in new images; the live node, `detect` and `evaluate` all run this.

preprocessing -> network -> results -> detections
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from synth_detect_ros.bundle import INT8, load_bundle
from synth_detect_ros.detectors.dense.dense import Dense
from synth_detect_ros.detectors.detector import Detector, Found
from synth_detect_ros.detectors.rcnn import RCNN
from synth_detect_ros.detectors.ssd import SSD
from synth_detect_ros.devices import choose_device
from synth_detect_ros.errors import GeometryError
from synth_detect_ros.geometry.masks import paste_masks
from synth_detect_ros.inference.fast_path import FastPath, Size
from synth_detect_ros.inference.one_stage import OneStagePath
from synth_detect_ros.inference.preprocessing import preprocessing_of
from synth_detect_ros.inference.two_stage import TwoStagePath
from synth_detect_ros.structures import Detections

FAST_PATHS: dict[type[Detector], Callable[..., FastPath[Any]]] = {
    RCNN: TwoStagePath,
    SSD: OneStagePath,
    Dense: OneStagePath,
}


class Predictor:
    """A trained detector, ready for images.

    Args:
        bundle: folder of the trained model.
        device: see `choose_device`.
        threads: CPU threads of the network; 0 takes every core this process may use.
        runtime: who computes the network, see `runtimes.build_runtime`.
        proposals: see `keep_proposals`.
        trust_code: see `load_bundle`.

    Attributes:
        classes: class names; label i is classes[i].
        has_masks: whether detections come with masks.
        architecture: of the detector.
        input_size: None: images may have any size.
        info: the content of the bundle's model.yaml.
        prepare: makes the network's input of an image.
        dense: what a runtime computes, see `FastPath`.
        runtime: the one that was chosen.
        timings: duration of the last call's parts [ms]: `preprocess`, `network`, `postprocess`.

    Raises:
        BundleError: the bundle is missing, truncated or broken, or its code is not trusted.
        ConfigError: the device is not there; the runtime is not installed or cannot run the
            network; or a detector of one stage should keep proposals.
    """

    def __init__(
        self,
        bundle: Path,
        device: str = 'auto',
        threads: int = 0,
        runtime: str = 'auto',
        proposals: int = 0,
        trust_code: str = '',
    ) -> None:
        self.device = choose_device(device)
        threads = threads or len(os.sched_getaffinity(0))
        if self.device.type == 'cpu':
            torch.set_num_threads(threads)
        detector, self.info = load_bundle(bundle, str(self.device), trust_code)
        self.classes, self.has_masks = detector.classes, detector.has_masks
        self.architecture = str(self.info['detector']['architecture'])
        self.input_size = None
        self.prepare = preprocessing_of(detector)
        int8 = bundle / INT8 if 'int8' in self.info else None
        self._path = FAST_PATHS[type(detector)](detector, self.device, runtime, threads, int8)
        self.keep_proposals(proposals)
        self.dense, self.runtime = self._path.dense, self._path.runtime
        self.timings: dict[str, float] = {}

    def keep_proposals(self, count: int) -> None:
        """Pass this many proposals an image to the second stage; 0: as many as in training.

        Raises:
            ConfigError: the detector has one stage.
        """
        self._path.keep_proposals(count)

    @torch.inference_mode()
    def detect(
        self, image: NDArray[np.uint8], score_threshold: float = 0.0, *, masks: bool = True
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
        clock = [time.perf_counter()]
        tensor, size = self.prepare(image)
        if self.device.type == 'cuda':
            tensor = tensor.pin_memory().to(self.device, non_blocking=True)
        clock.append(self._now())
        raw = self._path.network(tensor, size)
        clock.append(self._now())
        results = self._path.results(raw, size, score_threshold, masks=masks)
        found = _detections(results, size, image.shape[:2])
        clock.append(self._now())
        names = ('preprocess', 'network', 'postprocess')
        self.timings = {n: 1e3 * (b - a) for n, a, b in zip(names, clock, clock[1:], strict=False)}
        return found

    def _now(self) -> float:
        """Return the time [s] at which all work so far is done, that of a GPU included."""
        if self.device.type == 'cuda':
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def _detections(found: Found, seen: Size, image: Sequence[int]) -> Detections:
    """Return detections in the frame of the image; labels start at 1 in torchvision."""
    height, width = image
    masks = found.get('masks')
    # The same float32 steps as torchvision's `resize_boxes`.
    ratios = torch.tensor([width, height]).float() / torch.tensor([seen[1], seen[0]]).float()
    boxes = (found['boxes'].cpu() * ratios.repeat(2)).numpy().astype(np.float64)
    return Detections(
        labels=found['labels'].cpu().numpy().astype(np.int64) - 1,
        scores=found['scores'].cpu().numpy().astype(np.float64),
        boxes=boxes,
        masks=None if masks is None
        else paste_masks(masks[:, 0].cpu().numpy(), boxes, height, width),
    )  # fmt: skip
