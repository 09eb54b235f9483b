"""What detectors of one stage have in common: raw outputs, and a choice among them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torchvision.models.detection.image_list import ImageList

from synth_detect_ros.detectors.detector import Detector, Found

# Least side of a detection after clipping, as in torchvision's other detectors [px].
MIN_SIDE = 1e-2

Size = tuple[int, int]


class OneStage(Detector):
    """A detector whose raw outputs follow from the maps of its extractor without any choice."""

    @abstractmethod
    def raw_outputs(self, first: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Return tensors of a batch each, whose order and meaning are the detector's own.

        Args:
            first: (B, C_i, H_i, W_i) maps of the first stage.
        """

    @abstractmethod
    def choose(
        self,
        raw: Sequence[torch.Tensor],
        padded: Size,
        resized: Size,
        score_threshold: float,
        *,
        masks: bool,
    ) -> Found:
        """Return what is found in one image.

        Args:
            raw: see `raw_outputs`, for a batch of one.
            padded: (height, width) that the network saw [px].
            resized: the same without padding [px].
            score_threshold: what scores lower is dropped.
            masks: whether masks are made, where the detector has them.
        """

    def _find(self, batch: ImageList, first: Sequence[torch.Tensor]) -> list[Found]:
        raw = self.raw_outputs(first)
        padded = (int(batch.tensors.shape[-2]), int(batch.tensors.shape[-1]))
        threshold = self.config.score_threshold
        return [
            self.choose([r[i : i + 1] for r in raw], padded, size, threshold, masks=True)
            for i, size in enumerate(batch.image_sizes)
        ]
