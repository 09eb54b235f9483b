"""A trained detector on one image at a time: what `RCNN.detect` finds, in a fraction of its time.

    Preprocessing -> dense runtime -> proposals -> crops -> box head -> detections -> masks

The dense part runs where `runtimes` says; the rest is torch, arranged so that nothing is computed
that no result depends on: boxes are decoded after the selection, masks only of what is kept.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import maskrcnn_inference
from torchvision.ops import batched_nms, clip_boxes_to_image, remove_small_boxes

from synth_detect_ros.detectors.box_head import FastBoxHead, can_be_fast
from synth_detect_ros.detectors.folding import fold_batch_norm
from synth_detect_ros.detectors.preprocessing import Preprocessing
from synth_detect_ros.detectors.rcnn import RCNN
from synth_detect_ros.detectors.roi_heads import SecondStageHeads
from synth_detect_ros.detectors.runtimes import Dense, build_runtime
from synth_detect_ros.masks import paste_masks
from synth_detect_ros.structures import Detections

Size = tuple[int, int]


class Inference:
    """A detector, ready for images.

    Args:
        detector: in inference mode.
        device: where its weights are.
        runtime: who computes the dense part, see `runtimes.build_runtime`.
        threads: of the CPU.

    Attributes:
        runtime: the one that was chosen.
        proposals: kept of each image.
        timings: duration of the last call's parts [ms]: `preprocess`, `network`, `postprocess`.

    Raises:
        ConfigError: the runtime is not installed or cannot run the network.
    """

    def __init__(
        self, detector: RCNN, device: torch.device, runtime: str = 'auto', threads: int = 1
    ) -> None:
        self._device = device
        self._rpn, self._heads = detector.rpn, detector.roi_heads
        self._preprocess = Preprocessing(
            detector.transform.image_mean, detector.transform.image_std,
            detector.config.min_side, detector.config.max_side, detector.config.fixed_size,
            detector.divisor,
        )  # fmt: skip
        self._dense = Dense(detector)
        with torch.inference_mode():
            self._names = _names(self._dense, device)
        self.runtime, self._run = build_runtime(runtime, self._dense, device, threads)
        self._head = _box_head(detector.roi_heads, device)
        self._anchors: tuple[list[Size], list[torch.Tensor]] = ([], [])
        self.proposals = detector.config.proposals
        self.timings: dict[str, float] = {}

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
        maps, logits, deltas = self._levels(self._run(tensor))
        proposals = self._propose(tensor, maps, logits, deltas, size)
        named = dict(zip(self._names, maps, strict=True))
        features = self._head(self._heads.box_roi_pool(named, [proposals], [size]))
        scores, regression = self._heads.box_predictor(features)
        lap()
        boxes, values, labels = (
            found[0] for found in
            self._heads.postprocess_detections(scores, regression, [proposals], [size])
        )  # fmt: skip
        kept = values >= score_threshold
        boxes, values, labels = boxes[kept], values[kept], labels[kept]
        small = self._masks(named, boxes, labels, size) if masks else None
        found = _detections(boxes, values, labels, small, size, image.shape[:2])
        lap()
        names = ('preprocess', 'network', 'postprocess')
        self.timings = {n: 1e3 * (b - a) for n, a, b in zip(names, clock, clock[1:], strict=False)}
        return found

    def _levels(
        self, found: Sequence[torch.Tensor]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]]:
        """Return maps (1, C, H_i, W_i), logits and deltas of each level."""
        count = len(self._names)
        maps = [m.permute(0, 3, 1, 2) for m in found[:count]]
        return maps, list(found[count : 2 * count]), list(found[2 * count :])

    def _propose(
        self,
        image: torch.Tensor,
        maps: list[torch.Tensor],
        logits: list[torch.Tensor],
        deltas: list[torch.Tensor],
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
    ) -> torch.Tensor | None:
        """Return (N, M, M) probabilities over each box, or None without a mask head."""
        heads = self._heads
        if not heads.has_mask():
            return None
        if not len(boxes):
            return boxes.new_zeros((0, 1, 1))
        crops = heads.mask_roi_pool(maps, [boxes], [size])
        logits = heads.mask_predictor(heads.mask_head(crops))
        return maskrcnn_inference(logits, [labels])[0][:, 0]


def _names(dense: Dense, device: torch.device) -> tuple[str, ...]:
    """Return the names of the maps, found with a small image."""
    dense(torch.zeros((1, 3, 64, 64), device=device))
    return dense.names


def _box_head(heads: SecondStageHeads, device: torch.device) -> FastBoxHead | nn.Module:
    if device.type == 'cpu' and can_be_fast(heads.box_head):
        return FastBoxHead(heads.box_head, heads.box_roi_pool.side)
    return fold_batch_norm(heads.box_head)


def _detections(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    labels: torch.Tensor,
    masks: torch.Tensor | None,
    seen: Size,
    image: Sequence[int],
) -> Detections:
    """Return detections in the frame of the image; labels start at 1 in torchvision."""
    height, width = image
    # The same float32 steps as torchvision's `resize_boxes`.
    ratios = torch.tensor([width, height]).float() / torch.tensor([seen[1], seen[0]]).float()
    edges = (boxes.cpu() * ratios.repeat(2)).numpy().astype(np.float64)
    return Detections(
        labels=labels.cpu().numpy().astype(np.int64) - 1,
        scores=scores.cpu().numpy().astype(np.float64),
        boxes=edges,
        masks=None if masks is None
        else paste_masks(masks.cpu().numpy(), edges, height, width),
    )  # fmt: skip
