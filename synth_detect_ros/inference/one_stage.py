"""The fast path of one-stage detectors: SSD and the dense detector.

    dense runtime -> detections -> masks

`OneStage.choose` picks the detections; it decodes only the boxes that may become one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from synth_detect_ros.detectors.detector import Found
from synth_detect_ros.detectors.extractors.folding import fold_batch_norm
from synth_detect_ros.detectors.one_stage import OneStage
from synth_detect_ros.inference.fast_path import FastPath, Size


class OneStageDense(nn.Module):
    """All layers of a detector, for one image.

    Args:
        detector: in inference mode.
    """

    def __init__(self, detector: OneStage) -> None:
        super().__init__()
        # The detector's own layers; only the extractor is a copy, to fold batch norm.
        self.extractor = fold_batch_norm(detector.first_stage.module)
        self.extractor.to(memory_format=torch.channels_last)
        self.detector = detector

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the raw outputs, see `OneStage.raw_outputs`, for a normalised (1, 3, H, W)."""
        return self.detector.raw_outputs(list(self.extractor(image)))


@dataclass(frozen=True)
class Predictions:
    """Raw outputs for an image.

    Attributes:
        raw: see `OneStage.raw_outputs`.
        padded: (height, width) that the network saw [px].
    """

    raw: Sequence[torch.Tensor]
    padded: Size


class OneStagePath(FastPath[Predictions]):
    """The fast path of a one-stage detector; see `FastPath`."""

    def __init__(
        self,
        detector: OneStage,
        device: torch.device,
        runtime: str,
        threads: int,
        int8: Path | None = None,
    ) -> None:
        super().__init__(OneStageDense(detector), device, runtime, threads, int8)
        self._detector = detector

    def network(self, image: torch.Tensor, size: Size) -> Predictions:
        """Return the raw outputs for an image; see `FastPath.network`."""
        padded = (int(image.shape[-2]), int(image.shape[-1]))
        return Predictions(self._run(image), padded)

    def results(
        self, raw: Predictions, size: Size, score_threshold: float, *, masks: bool
    ) -> Found:
        """Return what is found; see `FastPath.results`."""
        return self._detector.choose(raw.raw, raw.padded, size, score_threshold, masks=masks)
