"""Faster R-CNN, Mask R-CNN and R-FCN behind a frozen extractor.

Built from torchvision's parts (Ren et al. 2015; He et al. 2017; Dai et al. 2016; Lin et al. 2017).
What trains behind the extractor is normalised with group norm (Wu & He 2018), which works at
batches of two.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torchvision.models.detection.image_list import ImageList

from synth_detect_ros.config import RCNNConfig, RFCNConfig
from synth_detect_ros.detectors.detector import Detector, Found, Target
from synth_detect_ros.detectors.extractors.build import build_extractor
from synth_detect_ros.detectors.extractors.freezing import Stage
from synth_detect_ros.detectors.extractors.own_code import OwnCode
from synth_detect_ros.detectors.neck import Neck
from synth_detect_ros.detectors.rfcn import build_position_heads, build_position_maps
from synth_detect_ros.detectors.roi_heads import build_heads
from synth_detect_ros.detectors.rpn import ProposalNetwork


class RCNN(Detector):
    """A two-stage detector: proposals, then class, box and mask of each.

    Attributes:
        neck: makes the maps from which proposals come.
        region_maps: makes of them the maps that the second stage pools from.
    """

    config: RCNNConfig | RFCNConfig

    def __init__(
        self,
        config: RCNNConfig | RFCNConfig,
        classes: Sequence[str],
        *,
        load_weights: bool = True,
        own_code: OwnCode | None = None,
    ) -> None:
        extractor = build_extractor(config, load=load_weights, own_code=own_code)
        super().__init__(config, classes, extractor)
        self.neck = Neck(extractor, config)
        self.rpn = ProposalNetwork(config, self.neck.out_channels, extractor.strides)
        count = len(classes) + 1
        self.region_maps: nn.Module = nn.Identity()
        if isinstance(config, RFCNConfig):
            self.region_maps = build_position_maps(config, extractor, count)
            self.roi_heads = build_position_heads(config, extractor.strides[-1], count)
        else:
            self.roi_heads = build_heads(config, extractor, self.neck.out_channels, count)

    @property
    def first_stage(self) -> Stage:
        """What the extractor does with the whole image."""
        return self.neck.first_stage

    def _losses(
        self, batch: ImageList, first: Sequence[torch.Tensor], targets: Sequence[Target]
    ) -> dict[str, torch.Tensor]:
        targets = [{**t, 'labels': t['labels'] + 1} for t in targets]
        maps = self.neck(first)
        proposals, rpn_losses = self.rpn(batch, maps, targets)
        _, box_losses = self.roi_heads(
            self.region_maps(maps), proposals, batch.image_sizes, targets
        )
        return {**rpn_losses, **box_losses}

    def _find(self, batch: ImageList, first: Sequence[torch.Tensor]) -> list[Found]:
        maps = self.neck(first)
        proposals, _ = self.rpn(batch, maps)
        found, _ = self.roi_heads(self.region_maps(maps), proposals, batch.image_sizes)
        return list(found)
