"""Second stage of Faster and Mask R-CNN: class, box and mask of each proposal.

torchvision's (Ren et al. 2015; He et al. 2017), with the loss and the sampling of proposals that a
configuration asks for.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads, maskrcnn_loss

from synth_detect_ros.config import MaskRCNNConfig, RCNNConfig, RFCNConfig
from synth_detect_ros.detectors.box_coder import box_loss
from synth_detect_ros.detectors.detector import Target
from synth_detect_ros.detectors.extractors.block_chain import drop_strides
from synth_detect_ros.detectors.extractors.extractor import Extractor
from synth_detect_ros.detectors.extractors.freezing import Stage
from synth_detect_ros.detectors.neck import NamedMaps, norm_layer
from synth_detect_ros.detectors.roi_pooling import RoIPooling

# Side of the crops by default, before a box head of our own and before an extractor's last part.
ROI_SIZE = 7
C4_ROI_SIZE = 14
MASK_ROI_SIZE = 14
MASK_CHANNELS = 128
# Share of positive proposals in a minibatch, as far as there are any.
POSITIVE = 0.25

Sizes = Sequence[tuple[int, int]]


class SecondStageHead(nn.Module):
    """Box head of a C4 detector: the extractor's last part on each crop, then its mean."""

    def __init__(self, second_stage: Stage) -> None:
        super().__init__()
        self.second_stage = second_stage

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Return (R, C') features of (R, C, h, w) crops."""
        return self.second_stage(crops).mean(dim=(2, 3))


class SecondStageHeads(RoIHeads):  # type: ignore[misc]  # torchvision is not typed
    """Crops, heads, and the choice of detections.

    Args:
        config: minibatch, thresholds, box codes and loss are read.
        pool: crops the maps.
        head: (R, C, h, w) crops -> (R, C') features.
        predictor: features -> logits (R, K + 1) and codes (R, 4 (K + 1)).
    """

    def __init__(
        self,
        config: RCNNConfig | RFCNConfig,
        pool: nn.Module,
        head: nn.Module,
        predictor: nn.Module,
    ) -> None:
        box = config.box_head
        super().__init__(
            pool,
            head,
            predictor,
            fg_iou_thresh=box.iou,
            bg_iou_thresh=box.iou,
            batch_size_per_image=box.batch,
            positive_fraction=POSITIVE,
            bbox_reg_weights=box.coder,
            score_thresh=config.score_threshold,
            nms_thresh=config.nms_iou,
            detections_per_img=config.max_detections,
        )
        self._config = box
        self._mask_weight = getattr(config, 'mask_weight', 0.0)

    def forward(
        self,
        features: NamedMaps,
        proposals: list[torch.Tensor],
        image_shapes: Sizes,
        targets: Sequence[Target] | None = None,
    ) -> tuple[list[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
        """Return detections of each image in inference mode, losses in training mode.

        Args:
            features: maps by name.
            proposals: (R_b, 4) of each image, xyxy edges [px].
            image_shapes: (height, width) of each image [px].
            targets: of each image, labels from 1; needed in training mode.
        """
        if not self.training:
            return super().forward(features, proposals, image_shapes)
        assert targets is not None
        proposals, matches, labels, codes = self.select_training_samples(proposals, targets)
        crops = self.box_roi_pool(features, proposals, image_shapes)
        logits, deltas = self.box_predictor(self.box_head(crops))
        losses = self._box_losses(logits, deltas, torch.cat(labels), torch.cat(codes))
        if self.has_mask():
            positive = [torch.where(label > 0)[0] for label in labels]
            boxes = [b[p] for b, p in zip(proposals, positive, strict=True)]
            masks = self.mask_head(self.mask_roi_pool(features, boxes, image_shapes))
            losses['loss_mask'] = self._mask_weight * maskrcnn_loss(
                self.mask_predictor(masks), boxes,
                [t['masks'] for t in targets], [t['labels'] for t in targets],
                [m[p] for m, p in zip(matches, positive, strict=True)],
            )  # fmt: skip
        return [], losses

    def _box_losses(
        self, logits: torch.Tensor, deltas: torch.Tensor, labels: torch.Tensor, codes: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Return the losses of (R, K + 1) logits and (R, 4 (K + 1)) deltas."""
        positive = torch.where(labels > 0)[0]
        of_class = deltas.reshape(len(labels), -1, 4)[positive, labels[positive]]
        config = self._config
        box = box_loss(of_class, codes[positive], config.beta, len(labels))
        return {
            'loss_classifier': config.class_weight * functional.cross_entropy(logits, labels),
            'loss_box_reg': config.box_weight * box,
        }


def build_heads(
    config: RCNNConfig, extractor: Extractor, channels: int, num_classes: int
) -> SecondStageHeads:
    """Return the second stage that a configuration asks for.

    Args:
        config: the network.
        extractor: its second stage, where it has one, becomes the box head.
        channels: of the maps.
        num_classes: with background.
    """
    names = [str(i) for i in range(len(extractor.strides))]
    second = extractor.second_stage
    box = config.box_head
    size = box.roi_size or (ROI_SIZE if second is None else C4_ROI_SIZE)
    pool = RoIPooling(names, size, box.roi_pool)
    if second is not None:
        if box.roi_pool > 1:
            drop_strides(second)
        head: nn.Module = SecondStageHead(second)
        width = extractor.second_channels
    else:
        width = box.channels
        convs = [config.channels] * box.convs
        head = FastRCNNConvFCHead(
            (channels, pool.side, pool.side), convs, [width], norm_layer=norm_layer(config)
        )
    heads = SecondStageHeads(config, pool, head, FastRCNNPredictor(width, num_classes))
    if isinstance(config, MaskRCNNConfig):
        heads.mask_roi_pool = RoIPooling(names, MASK_ROI_SIZE)
        layers = [MASK_CHANNELS] * 4
        heads.mask_head = MaskRCNNHeads(channels, layers, 1, norm_layer=norm_layer(config))
        heads.mask_predictor = MaskRCNNPredictor(MASK_CHANNELS, MASK_CHANNELS, num_classes)
    return heads
