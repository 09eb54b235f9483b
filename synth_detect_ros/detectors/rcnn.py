"""Faster R-CNN and Mask R-CNN behind a frozen extractor, with a feature pyramid or a C4 head.

Built from torchvision's parts (Ren et al. 2015; He et al. 2017; Lin et al. 2017). What trains
behind the extractor is normalised with group norm (Wu & He 2018), which works at batches of two.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from synth_detect_ros.config import DetectorConfig
from synth_detect_ros.detectors.backbones import Extractor, build_extractor
from synth_detect_ros.detectors.contract import Detector, Found, Target
from synth_detect_ros.detectors.freezing import Stage
from synth_detect_ros.detectors.roi_pooling import RoIPooling

Maps = dict[str, torch.Tensor]

ROI_SIZE = 7
C4_ROI_SIZE = 14
MASK_ROI_SIZE = 14
MASK_CHANNELS = 128
# Anchor sides of a single map, relative to anchor_scale * stride: FACTS of the paper's toolchain
# (scales .25 .5 1 2 of 256 px at stride 16) with the default anchor_scale of 8.
C4_ANCHOR_OCTAVES = (0.5, 1.0, 2.0, 4.0)


class Neck(nn.Module):
    """Extractor and what follows it on the whole image: a pyramid, or nothing.

    Attributes:
        out_channels: channels of every map that is put out.
    """

    def __init__(self, extractor: Extractor, config: DetectorConfig) -> None:
        super().__init__()
        self.first_stage = extractor.first_stage
        self.pyramid: FeaturePyramidNetwork | None = None
        self.out_channels = extractor.channels[-1]
        if config.neck == 'fpn':
            self.out_channels = config.fpn_channels
            self.pyramid = FeaturePyramidNetwork(
                list(extractor.channels),
                config.fpn_channels,
                LastLevelMaxPool(),
                norm_layer=norm_layer(config),
            )

    def forward(self, images: torch.Tensor) -> Maps:
        """Return named maps of (B, 3, H, W) normalised images, finest first."""
        return self.join(self.first_stage(images))

    def join(self, maps: Sequence[torch.Tensor]) -> Maps:
        """Return the named maps made of those of the first stage."""
        if self.training and maps[0].device.type == 'cpu':
            # The weight gradient of a 3x3 convolution is slow in channels_last.
            maps = [m.contiguous() for m in maps]
        named = OrderedDict((str(i), m) for i, m in enumerate(maps))
        return named if self.pyramid is None else self.pyramid(named)


class SecondStageHead(nn.Module):
    """Box head of a C4 detector: the extractor's last part on each crop, then its mean."""

    def __init__(self, second_stage: Stage) -> None:
        super().__init__()
        self.second_stage = second_stage

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Return (R, C') features of (R, C, h, w) crops."""
        return self.second_stage(crops).mean(dim=(2, 3))


class RCNN(Detector):
    """A two-stage detector: regions are proposed, then looked at one by one."""

    def __init__(
        self, config: DetectorConfig, classes: Sequence[str], *, load_weights: bool = True
    ) -> None:
        extractor = build_extractor(config, load=load_weights)
        super().__init__(config, classes, extractor)
        self.neck = Neck(extractor, config)
        self.rpn = _rpn(config, self.neck.out_channels, extractor.strides)
        self.roi_heads = _roi_heads(config, extractor, self.neck.out_channels, len(classes) + 1)

    @property
    def first_stage(self) -> Stage:
        """What the extractor does with the whole image."""
        return self.neck.first_stage

    @property
    def has_masks(self) -> bool:
        """Whether detections come with masks."""
        return bool(self.roi_heads.has_mask())

    def _losses(
        self, batch: ImageList, first: Sequence[torch.Tensor], targets: Sequence[Target]
    ) -> dict[str, torch.Tensor]:
        targets = [{**t, 'labels': t['labels'] + 1} for t in targets]
        maps = self.neck.join(first)
        proposals, rpn_losses = self.rpn(batch, maps, targets)
        _, box_losses = self.roi_heads(maps, proposals, batch.image_sizes, targets)
        return {**rpn_losses, **box_losses}

    def _find(self, batch: ImageList, first: Sequence[torch.Tensor]) -> list[Found]:
        maps = self.neck.join(first)
        proposals, _ = self.rpn(batch, maps)
        found, _ = self.roi_heads(maps, proposals, batch.image_sizes)
        return list(found)


def norm_layer(config: DetectorConfig) -> Callable[[int], nn.Module] | None:
    """Return the factory of the normalisation that a configuration asks for."""
    if config.norm == 'none':
        return None
    return lambda channels: nn.GroupNorm(math.gcd(32, channels), channels)


def _rpn(config: DetectorConfig, channels: int, strides: Sequence[int]) -> RegionProposalNetwork:
    if config.neck == 'fpn':
        levels = [*strides, strides[-1] * 2]  # the last one is the pyramid's max pool
        sizes: tuple[tuple[int, ...], ...] = tuple(
            (round(config.anchor_scale * stride),) for stride in levels
        )
    else:
        base = config.anchor_scale * strides[0]
        sizes = (tuple(round(base * octave) for octave in C4_ANCHOR_OCTAVES),)
    anchors = AnchorGenerator(sizes, (config.anchor_ratios,) * len(sizes))
    head = RPNHead(channels, anchors.num_anchors_per_location()[0])
    kept = {'training': config.proposals, 'testing': config.proposals}
    before = {'training': 2 * config.proposals, 'testing': config.proposals}
    return RegionProposalNetwork(
        anchors,
        head,
        fg_iou_thresh=0.7,
        bg_iou_thresh=0.3,
        batch_size_per_image=config.rpn_batch,
        positive_fraction=0.5,
        pre_nms_top_n=before,
        post_nms_top_n=kept,
        nms_thresh=0.7,
    )


def _roi_heads(
    config: DetectorConfig, extractor: Extractor, channels: int, num_classes: int
) -> RoIHeads:
    names = ['0']
    if config.neck == 'fpn':
        names = [str(i) for i in range(len(extractor.strides))]
    second = extractor.second_stage
    if second is not None:
        pool = RoIPooling(names, C4_ROI_SIZE)
        head: nn.Module = SecondStageHead(second)
        width = extractor.second_channels
    else:
        pool = RoIPooling(names, ROI_SIZE)
        width = config.box_head_channels
        convs = [config.fpn_channels] * config.box_head_convs
        head = FastRCNNConvFCHead(
            (channels, ROI_SIZE, ROI_SIZE), convs, [width], norm_layer=norm_layer(config)
        )
    heads = RoIHeads(
        pool,
        head,
        FastRCNNPredictor(width, num_classes),
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.5,
        batch_size_per_image=config.box_batch,
        positive_fraction=0.25,
        bbox_reg_weights=(10.0, 10.0, 5.0, 5.0),
        score_thresh=config.score_threshold,
        nms_thresh=config.nms_iou,
        detections_per_img=config.max_detections,
    )
    if config.architecture == 'mask_rcnn':
        heads.mask_roi_pool = RoIPooling(names, MASK_ROI_SIZE)
        layers = [MASK_CHANNELS] * 4
        heads.mask_head = MaskRCNNHeads(channels, layers, 1, norm_layer=norm_layer(config))
        heads.mask_predictor = MaskRCNNPredictor(MASK_CHANNELS, MASK_CHANNELS, num_classes)
    return heads
