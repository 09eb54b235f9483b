"""The fast path of one-stage detectors: SSD.

    dense runtime -> default boxes -> detections

`SSD.choose` picks the detections; it decodes only the boxes that may become one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from synth_detect_ros.detectors.detector import Found
from synth_detect_ros.detectors.extractors.folding import fold_batch_norm
from synth_detect_ros.detectors.ssd import SSD
from synth_detect_ros.detectors.ssd_layers import flatten
from synth_detect_ros.inference.fast_path import FastPath, Size


class OneStageDense(nn.Module):
    """Extractor, extra maps and predictors of a detector, for one image.

    Args:
        detector: in inference mode.
    """

    def __init__(self, detector: SSD) -> None:
        super().__init__()
        # The detector's own layers; only the extractor is a copy, to fold batch norm.
        self.extractor = fold_batch_norm(detector.first_stage.module)
        self.extractor.to(memory_format=torch.channels_last)
        self.extra = detector.neck.extra
        self.head = detector.head

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the logits of L maps, finest first, then their codes; see `Predictors`.

        Args:
            image: (1, 3, H, W) normalised.
        """
        maps = list(self.extractor(image))
        for layer in self.extra:
            maps.append(layer(maps[-1]))
        logits, codes = self.head(maps)
        return (*logits, *codes)


@dataclass(frozen=True)
class Predictions:
    """Raw outputs for the default boxes of an image.

    Attributes:
        logits: (D, K + 1).
        codes: (D, 4).
        boxes: (D, 4) xyxy edges [px of the resized image].
    """

    logits: torch.Tensor
    codes: torch.Tensor
    boxes: torch.Tensor


class OneStagePath(FastPath[Predictions]):
    """The fast path of a one-stage detector; see `FastPath`."""

    def __init__(self, detector: SSD, device: torch.device, runtime: str, threads: int) -> None:
        super().__init__(OneStageDense(detector), device, runtime, threads)
        self._detector = detector
        self._boxes: tuple[Size, torch.Tensor] = ((0, 0), torch.empty(0))

    def network(self, image: torch.Tensor, size: Size) -> Predictions:
        """Return the raw outputs for an image; see `FastPath.network`."""
        found = self._run(image)
        logits, codes = found[: len(found) // 2], found[len(found) // 2 :]
        padded = (int(image.shape[-2]), int(image.shape[-1]))
        if self._boxes[0] != padded:  # those of the last image's size are kept
            self._boxes = (padded, self._detector.boxes(logits, padded))
        classes = self._detector.head.num_classes
        return Predictions(flatten(logits, classes)[0], flatten(codes, 4)[0], self._boxes[1])

    def results(
        self, raw: Predictions, size: Size, score_threshold: float, *, masks: bool
    ) -> Found:
        """Return what is found; see `FastPath.results`."""
        found = self._detector.choose(raw.logits, raw.codes, raw.boxes, size)
        kept = found['scores'] >= score_threshold
        return {name: values[kept] for name, values in found.items()}
