"""SSD: single-stage detection on feature maps of several sizes (Liu et al. 2016).

Settings are those of the ssd_* configurations of the TensorFlow Object Detection API; its class
loss there is a sigmoid's, here it is the paper's softmax.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional
from torchvision.models.detection.image_list import ImageList

from synth_detect_ros.config import SSDConfig
from synth_detect_ros.detectors.box_coder import BoxCoder, box_loss
from synth_detect_ros.detectors.default_boxes import (
    NONE,
    box_shapes,
    default_boxes,
    hard_negatives,
    match,
)
from synth_detect_ros.detectors.detector import Target
from synth_detect_ros.detectors.extractors.build import build_extractor
from synth_detect_ros.detectors.extractors.freezing import Stage
from synth_detect_ros.detectors.extractors.own_code import OwnCode
from synth_detect_ros.detectors.one_stage import Candidates, OneStage, Size
from synth_detect_ros.detectors.ssd_layers import ExtraMaps, Predictors, flatten


class SSD(OneStage):
    """A one-stage detector: each default box is scored and moved.

    Attributes:
        neck: maps of the image.
        head: what is predicted on them.
    """

    config: SSDConfig
    # The network sees 300 x 300 pixels as they are; no map has to fit on another.
    divisor = 1

    def __init__(
        self,
        config: SSDConfig,
        classes: Sequence[str],
        *,
        load_weights: bool = True,
        own_code: OwnCode | None = None,
    ) -> None:
        extractor = build_extractor(config, load=load_weights, own_code=own_code)
        super().__init__(config, classes, extractor)
        self.neck = ExtraMaps(extractor, config)
        self._shapes = box_shapes(config)
        counts = [len(shapes) for shapes in self._shapes]
        self.head = Predictors(config, self.neck.channels, counts, len(classes) + 1)
        self._coder = BoxCoder(config.coder)

    @property
    def first_stage(self) -> Stage:
        """What the extractor does with the whole image."""
        return self.neck.first_stage

    def boxes(self, cells: Sequence[torch.Tensor], size: tuple[int, int]) -> torch.Tensor:
        """Return the (D, 4) default boxes, xyxy edges [px].

        Args:
            cells: (B, H_i, W_i, ...) of each map.
            size: (height, width) of the image, padding included [px].
        """
        grids = tuple((int(c.shape[1]), int(c.shape[2])) for c in cells)
        return default_boxes(self._shapes, grids, size).to(cells[0].device)

    def raw_outputs(self, first: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Return the logits of each map, then the codes; see `Predictors`."""
        logits, codes = self.head(self.neck(first))
        return (*logits, *codes)

    def candidates(
        self, raw: Sequence[torch.Tensor], padded: Size, score_threshold: float
    ) -> Candidates:
        """Return the best default boxes of each class."""
        config = self.config
        logits, codes, boxes = (values[0] for values in self._split(raw, padded))
        scores = logits.float().softmax(dim=1)[:, 1:]
        best = scores.topk(min(config.candidates, len(scores)), dim=0)
        kept = (best.values > config.score_threshold) & (best.values >= score_threshold)
        places = best.indices[kept]
        labels = torch.arange(1, scores.shape[1] + 1, device=scores.device).expand_as(kept)[kept]
        found = self._coder.decode_single(codes[places].float(), boxes[places])
        return Candidates(found, best.values[kept], labels, places)

    def _split(
        self, raw: Sequence[torch.Tensor], padded: Size
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return (B, D, K + 1) logits, (B, D, 4) codes and the (1, D, 4) default boxes."""
        logits, codes = raw[: len(raw) // 2], raw[len(raw) // 2 :]
        boxes = self.boxes(logits, padded)
        return flatten(logits, self.head.num_classes), flatten(codes, 4), boxes[None]

    def _losses(
        self, batch: ImageList, first: Sequence[torch.Tensor], targets: Sequence[Target]
    ) -> dict[str, torch.Tensor]:
        padded = (int(batch.tensors.shape[-2]), int(batch.tensors.shape[-1]))
        logits, codes, boxes = self._split(self.raw_outputs(first), padded)
        labels, wanted = self._assign(boxes[0], targets)
        return multibox_loss(logits.float(), codes.float(), labels, wanted, self.config)

    def _assign(
        self, boxes: torch.Tensor, targets: Sequence[Target]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (B, D) labels, 0 for background, and the (P, 4) codes of those that are not."""
        labels, codes = [], []
        for target in targets:
            matches = match(target['boxes'], boxes, self.config.iou)
            positive = matches != NONE
            own = torch.zeros_like(matches)
            own[positive] = target['labels'][matches[positive]] + 1
            labels.append(own)
            objects = target['boxes'][matches[positive]]
            codes.append(self._coder.encode_single(objects, boxes[positive]))
        return torch.stack(labels), torch.cat(codes)


def multibox_loss(
    logits: torch.Tensor,
    codes: torch.Tensor,
    labels: torch.Tensor,
    wanted: torch.Tensor,
    config: SSDConfig,
) -> dict[str, torch.Tensor]:
    """Return the losses of classes and boxes over the number of positives.

    Liu et al. 2016, eq. 1 to 3. With no object in the whole batch, what remains is the class loss
    of the hardest negatives.

    Args:
        logits: (B, D, K + 1).
        codes: (B, D, 4).
        labels: (B, D), 0 for background.
        wanted: (P, 4) codes of the boxes with another label, image by image.
        config: negatives, beta and weights are read.
    """
    positive = labels > 0
    count = max(int(positive.sum()), 1)
    costs = functional.cross_entropy(logits.transpose(1, 2), labels, reduction='none')
    negative = hard_negatives(costs.detach(), positive, config.negatives, config.min_negatives)
    boxes = box_loss(codes[positive], wanted, config.beta, count)
    return {
        'loss_classifier': config.class_weight * (costs[positive | negative].sum() / count),
        'loss_box_reg': config.box_weight * boxes,
    }
