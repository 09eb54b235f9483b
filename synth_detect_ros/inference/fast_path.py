"""The fast path: a trained detector on one image at a time, several times as fast as `detect`.

    preprocessing -> network -> results -> detections

A runtime computes the dense part of the network, see `runtimes`; the rest is torch. What differs
between detectors of two stages and of one is in `two_stage` and `one_stage`.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from synth_detect_ros.detectors.detector import Detector, Found
from synth_detect_ros.detectors.preprocessing import Preprocessing
from synth_detect_ros.errors import ConfigError
from synth_detect_ros.geometry.masks import paste_masks
from synth_detect_ros.inference.runtimes import build_runtime
from synth_detect_ros.structures import Detections

Size = tuple[int, int]
RawT = TypeVar('RawT')


class Inference(ABC, Generic[RawT]):
    """A detector, ready for images.

    Args:
        detector: in inference mode.
        dense: the part of it that a runtime computes.
        device: where its weights are.
        runtime: who computes the dense part, see `runtimes.build_runtime`.
        threads: of the CPU.

    Attributes:
        runtime: the one that was chosen.
        timings: duration of the last call's parts [ms]: `preprocess`, `network`, `postprocess`.

    Raises:
        ConfigError: the runtime is not installed or cannot run the network.
    """

    def __init__(
        self,
        detector: Detector,
        dense: nn.Module,
        device: torch.device,
        runtime: str,
        threads: int,
    ) -> None:
        config = detector.config
        self._device = device
        self._preprocess = Preprocessing(
            detector.transform.image_mean, detector.transform.image_std,
            config.min_side, config.max_side, config.fixed_size, detector.divisor,
        )  # fmt: skip
        self.runtime, self._run = build_runtime(runtime, dense, device, threads)
        self.timings: dict[str, float] = {}

    def keep_proposals(self, count: int) -> None:
        """Pass this many proposals an image to the second stage; 0: as many as in training.

        Raises:
            ConfigError: there is no second stage to pass them to.
        """
        if count:
            raise ConfigError(
                f'proposals: {count} was asked for, but this detector has one stage and no '
                'proposals. Set proposals: 0.'
            )

    @abstractmethod
    def _network(self, image: torch.Tensor, size: Size) -> RawT:
        """Return the raw outputs for a (1, 3, H, W) image of this size before padding."""

    @abstractmethod
    def _results(self, raw: RawT, size: Size, score_threshold: float, *, masks: bool) -> Found:
        """Return what is found, on the device; `size` as in `_network`."""

    @torch.inference_mode()
    def detect(
        self, image: NDArray[np.uint8], score_threshold: float = 0.0, *, masks: bool = True
    ) -> Detections:
        """Find the objects in one image.

        Args:
            image: (H, W, 3) uint8 RGB.
            score_threshold: detections below are dropped.
            masks: whether masks are made, by a detector that has them.
        """
        clock = [time.perf_counter()]

        def lap() -> None:
            if self._device.type == 'cuda':
                torch.cuda.synchronize(self._device)
            clock.append(time.perf_counter())

        tensor, size = self._preprocess(image)
        if self._device.type == 'cuda':
            tensor = tensor.pin_memory().to(self._device, non_blocking=True)
        lap()
        raw = self._network(tensor, size)
        lap()
        results = self._results(raw, size, score_threshold, masks=masks)
        found = _detections(results, size, image.shape[:2])
        lap()
        names = ('preprocess', 'network', 'postprocess')
        self.timings = {n: 1e3 * (b - a) for n, a, b in zip(names, clock, clock[1:], strict=False)}
        return found


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
