"""What detectors of one stage have in common: raw outputs, and a choice among them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import batched_nms, clip_boxes_to_image, nms, remove_small_boxes

from synth_detect_ros.detectors.detector import Detector, Found

# Least side of a detection after clipping, as in torchvision's other detectors [px].
MIN_SIDE = 1e-2

Size = tuple[int, int]


@dataclass(frozen=True)
class Candidates:
    """What may be detected in an image.

    Attributes:
        boxes: (N, 4) xyxy edges, not clipped [px of the resized image].
        scores: (N,) in [0, 1].
        labels: (N,) int64, 1 for the first class.
        places: (N,) int64, index of the cell or default box that each comes from.
    """

    boxes: torch.Tensor
    scores: torch.Tensor
    labels: torch.Tensor
    places: torch.Tensor


class OneStage(Detector):
    """A detector whose raw outputs follow from the maps of its extractor without any choice.

    All that follows the raw outputs can be traced, for images of one size; see
    `deployment.graph`.
    """

    @abstractmethod
    def raw_outputs(self, first: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Return tensors of a batch each, whose order and meaning are the detector's own.

        Args:
            first: (B, C_i, H_i, W_i) maps of the first stage.
        """

    @abstractmethod
    def candidates(
        self, raw: Sequence[torch.Tensor], padded: Size, score_threshold: float
    ) -> Candidates:
        """Return what may be detected in one image; only these boxes are decoded.

        Args:
            raw: see `raw_outputs`, for a batch of one.
            padded: (height, width) that the network saw [px].
            score_threshold: what scores lower may be dropped; no detection comes of it.
        """

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
        found = self.candidates(raw, padded, score_threshold)
        boxes = clip_boxes_to_image(found.boxes, resized)
        large = remove_small_boxes(boxes, MIN_SIDE)
        best_first = suppress(
            boxes[large], found.scores[large], found.labels[large], self.config.nms_iou, resized
        )
        kept = large[best_first[: self.config.max_detections]]
        kept = kept[found.scores[kept] >= score_threshold]
        chosen = {
            'boxes': clip_boxes_to_image(self._final_boxes(boxes, found, kept), resized),
            'scores': found.scores[kept],
            'labels': found.labels[kept],
        }
        if masks and self.has_masks:
            chosen['masks'] = self._masks(raw, found.places[kept], chosen['boxes'])
        return chosen

    def _final_boxes(
        self, boxes: torch.Tensor, found: Candidates, kept: torch.Tensor
    ) -> torch.Tensor:
        """Return the (K, 4) boxes of the detections.

        Args:
            boxes: (N, 4) of all candidates, within the image [px].
            found: the candidates.
            kept: (K,) int64 which of them are detections.
        """
        return boxes[kept]

    def _masks(
        self, raw: Sequence[torch.Tensor], places: torch.Tensor, boxes: torch.Tensor
    ) -> torch.Tensor:
        """Return (N, 1, h, w) probabilities over each box, of a detector that has masks.

        Args:
            raw: see `raw_outputs`, for a batch of one.
            places: (N,) see `Candidates`.
            boxes: (N, 4) xyxy edges [px of the resized image].
        """
        raise NotImplementedError(f'{type(self).__name__} has no masks')

    def _find(self, batch: ImageList, first: Sequence[torch.Tensor]) -> list[Found]:
        raw = self.raw_outputs(first)
        padded = (int(batch.tensors.shape[-2]), int(batch.tensors.shape[-1]))
        threshold = self.config.score_threshold
        return [
            self.choose([r[i : i + 1] for r in raw], padded, size, threshold, masks=True)
            for i, size in enumerate(batch.image_sizes)
        ]


def is_traced() -> bool:
    """Return whether a graph is being recorded, in which sizes may be those of another image."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


def suppress(
    boxes: torch.Tensor, scores: torch.Tensor, labels: torch.Tensor, iou: float, size: Size
) -> torch.Tensor:
    """Return the indices of boxes that no better one of their class overlaps, best first.

    Args:
        boxes: (N, 4) xyxy edges, within the image [px].
        scores: (N,).
        labels: (N,) int64.
        iou: overlap beyond which the weaker box is dropped.
        size: (height, width) of the image [px].
    """
    if is_traced():
        # `batched_nms` would look for the largest coordinate, of no boxes perhaps.
        return nms(boxes + (labels * (max(size) + 1))[:, None], scores, iou)
    return batched_nms(boxes, scores, labels, iou)
