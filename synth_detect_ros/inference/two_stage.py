"""The fast path of two-stage detectors: Faster R-CNN, Mask R-CNN and R-FCN.

    dense runtime -> proposals -> crops -> box head -> detections -> masks

All but the dense part is torch, and computes only what a result depends on: boxes are decoded
after the selection, masks only for the detections that are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import batched_nms, clip_boxes_to_image, remove_small_boxes

from synth_detect_ros.detectors.detector import Found
from synth_detect_ros.detectors.extractors.folding import fold_batch_norm
from synth_detect_ros.detectors.rcnn import RCNN
from synth_detect_ros.detectors.rfcn import PositionMaps
from synth_detect_ros.detectors.roi_heads import SecondStageHeads
from synth_detect_ros.inference.fast_box_head import FastBoxHead, can_be_fast
from synth_detect_ros.inference.fast_path import FastPath, Size


class TwoStageDense(nn.Module):
    """Extractor, pyramid, proposal head and region maps of a detector, for one image.

    Args:
        detector: in inference mode.

    Attributes:
        names: of the maps, finest first.
    """

    def __init__(self, detector: RCNN) -> None:
        super().__init__()
        # The detector's own layers; only the extractor is a copy, to fold batch norm.
        self.extractor = fold_batch_norm(detector.neck.first_stage.module)
        self.extractor.to(memory_format=torch.channels_last)
        self.pyramid = detector.neck.pyramid
        self.head = detector.rpn.head
        maps = detector.region_maps
        self.region_maps = maps.folded() if isinstance(maps, PositionMaps) else maps
        self.names: tuple[str, ...] = ()

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return maps, objectness and box deltas of L levels, finest first.

        Args:
            image: (1, 3, H, W) normalised.

        Returns:
            L maps (1, H_i, W_i, C), then L times (H_i * W_i * A,) logits of the anchors, then L
            times (H_i * W_i * A, 4) deltas.
        """
        maps = {str(i): m for i, m in enumerate(self.extractor(image))}
        if self.pyramid is not None:
            maps = self.pyramid(maps)
        self.names = tuple(maps)
        logits, deltas = self.head(list(maps.values()))
        maps = self.region_maps(maps)
        return (
            *(m.permute(0, 2, 3, 1) for m in maps.values()),
            *(m.permute(0, 2, 3, 1).reshape(-1) for m in logits),
            *(m.permute(0, 2, 3, 1).reshape(-1, 4) for m in deltas),
        )


@dataclass(frozen=True)
class RegionOutputs:
    """Raw outputs for the proposals of an image.

    Attributes:
        maps: (1, C, H_i, W_i) by name.
        proposals: (P, 4) xyxy edges [px of the resized image].
        logits: (P, K + 1).
        codes: (P, 4 (K + 1)).
    """

    maps: dict[str, torch.Tensor]
    proposals: torch.Tensor
    logits: torch.Tensor
    codes: torch.Tensor


class TwoStagePath(FastPath[RegionOutputs]):
    """The fast path of a two-stage detector; see `FastPath`.

    Attributes:
        proposals: kept for each image.
    """

    def __init__(
        self,
        detector: RCNN,
        device: torch.device,
        runtime: str,
        threads: int,
        int8: Path | None = None,
    ) -> None:
        dense = TwoStageDense(detector)
        with torch.inference_mode():
            dense(torch.zeros((1, 3, 64, 64), device=device))
        self._names = dense.names
        super().__init__(dense, device, runtime, threads, int8)
        self._rpn, self._heads = detector.rpn, detector.roi_heads
        self._head = _box_head(detector.roi_heads, device)
        self._anchors: tuple[list[Size], list[torch.Tensor]] = ([], [])
        self.proposals = self._trained_proposals = detector.config.rpn.proposals

    def keep_proposals(self, count: int) -> None:
        """Pass this many proposals an image to the second stage; 0: as many as in training."""
        self.proposals = count or self._trained_proposals

    def network(self, image: torch.Tensor, size: Size) -> RegionOutputs:
        """Return the raw outputs for an image; see `FastPath.network`."""
        found, count = self._run(image), len(self._names)
        maps = [m.permute(0, 3, 1, 2) for m in found[:count]]
        logits, deltas = found[count : 2 * count], found[2 * count :]
        proposals = self._propose(image, maps, logits, deltas, size)
        named = dict(zip(self._names, maps, strict=True))
        features = self._head(self._heads.box_roi_pool(named, [proposals], [size]))
        return RegionOutputs(named, proposals, *self._heads.box_predictor(features))

    def results(
        self, raw: RegionOutputs, size: Size, score_threshold: float, *, masks: bool
    ) -> Found:
        """Return what is found; see `FastPath.results`."""
        boxes, scores, labels = (
            of_images[0] for of_images in
            self._heads.postprocess_detections(raw.logits, raw.codes, [raw.proposals], [size])
        )  # fmt: skip
        kept = scores >= score_threshold
        boxes, scores, labels = boxes[kept], scores[kept], labels[kept]
        found = {'boxes': boxes, 'scores': scores, 'labels': labels}
        if masks and self._heads.has_mask():
            found['masks'] = self._masks(raw.maps, boxes, labels, size)
        return found

    def _propose(
        self,
        image: torch.Tensor,
        maps: list[torch.Tensor],
        logits: Sequence[torch.Tensor],
        deltas: Sequence[torch.Tensor],
        size: Size,
    ) -> torch.Tensor:
        """Return (P, 4) proposals as `RegionProposalNetwork` does; decodes only its candidates."""
        before = self._rpn.pre_nms_top_n()
        picks = [values.topk(min(before, len(values))) for values in logits]
        anchors = self._anchors_of(image, maps)
        levels = [torch.full_like(pick.indices, level) for level, pick in enumerate(picks)]
        chosen = [torch.cat([a[p.indices] for a, p in zip(parts, picks, strict=True)])
                  for parts in (deltas, anchors)]  # fmt: skip
        boxes = self._rpn.box_coder.decode_single(*chosen)
        boxes = clip_boxes_to_image(boxes, size)
        scores = torch.cat([pick.values for pick in picks]).sigmoid()
        keep = remove_small_boxes(boxes, self._rpn.min_size)
        boxes, scores, level = boxes[keep], scores[keep], torch.cat(levels)[keep]
        keep = batched_nms(boxes, scores, level, self._rpn.nms_thresh)
        return boxes[keep[: self.proposals]]

    def _anchors_of(self, image: torch.Tensor, maps: list[torch.Tensor]) -> list[torch.Tensor]:
        """Return the anchors of each level; those of the last image's size are kept."""
        sizes = [(int(x.shape[-2]), int(x.shape[-1])) for x in (image, *maps)]
        if self._anchors[0] != sizes:
            images = ImageList(image, [sizes[0]])
            anchors = self._rpn.anchor_generator(images, maps)[0]
            counts = self._rpn.anchor_generator.num_anchors_per_location()
            lengths = [h * w * n for (h, w), n in zip(sizes[1:], counts, strict=True)]
            self._anchors = (sizes, list(torch.split(anchors, lengths)))
        return self._anchors[1]

    def _masks(
        self, maps: dict[str, torch.Tensor], boxes: torch.Tensor, labels: torch.Tensor, size: Size
    ) -> torch.Tensor:
        """Return (N, 1, M, M) probabilities over each box."""
        if not len(boxes):
            return boxes.new_zeros((0, 1, 1, 1))
        crops = self._heads.mask_roi_pool(maps, [boxes], [size])
        logits = self._heads.mask_predictor(self._heads.mask_head(crops))
        return logits[torch.arange(len(labels), device=labels.device), labels].sigmoid()[:, None]


def _box_head(heads: SecondStageHeads, device: torch.device) -> FastBoxHead | nn.Module:
    if device.type == 'cpu' and can_be_fast(heads.box_head):
        return FastBoxHead(heads.box_head, heads.box_roi_pool.side)
    return fold_batch_norm(heads.box_head)
