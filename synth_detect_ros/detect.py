"""Detection in new images: a bundle and one method; the live node and `evaluate` use it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from synth_detect_ros.bundle import load_bundle
from synth_detect_ros.detectors.rcnn import to_tensor
from synth_detect_ros.errors import ConfigError, GeometryError
from synth_detect_ros.structures import Detections


def choose_device(name: str) -> torch.device:
    """Turn 'auto', 'cpu', 'cuda' or 'cuda:<n>' into a device; 'auto' takes a GPU if there is one.

    Raises:
        ConfigError: an unknown name, or a GPU that is not there.
    """
    if name == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    kind, _, index = name.partition(':')
    if kind not in ('cpu', 'cuda') or (index and not index.isdigit()):
        raise ConfigError(
            f'device: {name!r} is not known. Choose one of auto, cpu, cuda, cuda:<n>.'
        )
    if kind == 'cuda' and int(index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f'device: {name} was asked for, but PyTorch sees {torch.cuda.device_count()} GPUs. '
            'Choose auto or cpu, or install a CUDA build of torch.'
        )
    return torch.device(name)


class Predictor:
    """A trained detector, ready for images.

    Args:
        bundle: folder of the trained model.
        device: see `choose_device`.
        threads: CPU threads of the network; 0 takes every core this process may use.

    Attributes:
        classes: class names; label i is classes[i].
        has_masks: whether detections come with masks.
        info: the content of the bundle's model.yaml.
        timings: duration of the last call's parts [ms]: `preprocess`, `network`.

    Raises:
        BundleError: the bundle is missing, truncated or broken.
        ConfigError: the device is not there.
    """

    def __init__(self, bundle: Path, device: str = 'auto', threads: int = 0) -> None:
        self.device = choose_device(device)
        if self.device.type == 'cpu':
            torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
        self._detector, self.info = load_bundle(bundle, str(self.device))
        self.classes = self._detector.classes
        self.has_masks = self._detector.has_masks
        self.timings: dict[str, float] = {}

    def detect(self, image: NDArray[np.uint8], score_threshold: float | None = None) -> Detections:
        """Find the objects in one image.

        Args:
            image: (H, W, 3) uint8 RGB.
            score_threshold: detections below are dropped; None keeps all that the bundle's own
                threshold lets through.

        Raises:
            GeometryError: the image has another shape or type.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise GeometryError(
                f'wanted an (H, W, 3) uint8 RGB image, got {image.shape} {image.dtype}'
            )
        start = time.perf_counter()
        tensor = to_tensor(image, self.device)
        ready = time.perf_counter()
        found = self._detector.detect([tensor])[0]
        done = time.perf_counter()
        self.timings = {'preprocess': 1e3 * (ready - start), 'network': 1e3 * (done - ready)}
        return found if score_threshold is None else found.above(score_threshold)
