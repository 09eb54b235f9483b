"""The network of a detector and its losses."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from synth_detect_ros.config.options import Options
from synth_detect_ros.config.rules import option
from synth_detect_ros.errors import ConfigError


class LossConfig(Options):
    """Losses of a detector; as in torchvision, all with weight 1.

    A beta is in the unit of its coder: the paper's toolchain has 1 in both stages. SSD, which has
    one stage, has the losses of the classes and of the boxes alone.
    """

    rpn_beta: float = option(
        1 / 9, 'error of a proposal at which its loss turns from a square into a line', low=1e-6
    )
    box_beta: float = option(
        1 / 9, 'error of a box at which its loss turns from a square into a line', low=1e-6
    )
    objectness: float = option(1.0, 'weight of object or background', low=0)
    rpn_box: float = option(1.0, 'weight of the proposals', low=0)
    classes: float = option(1.0, 'weight of the classes', low=0)
    box: float = option(1.0, 'weight of the boxes', low=0)
    mask: float = option(1.0, 'weight of the masks', low=0)


class SSDConfig(Options):
    """What only SSD has; as in the ssd_* configurations of the paper's toolchain."""

    maps: int = option(
        6, "maps in which objects are found: the extractor's and extra ones", low=3, high=12
    )
    extra_channels: tuple[int, ...] = option(
        (512, 256, 256, 128),
        'channels of the extra maps, the smallest last; where there are more, they have the first',
        low=16, high=4096,
    )  # fmt: skip
    scales: tuple[float, float] = option(
        (0.2, 0.95),
        'sides of the default boxes over the shorter side of the image, on the finest map and on '
        'the coarsest; linear in between',
        low=1e-3, high=2,
    )  # fmt: skip
    ratios: tuple[float, ...] = option(
        (1.0, 2.0, 0.5, 3.0, 1 / 3), 'widths of the default boxes over their heights', low=0.01
    )
    reduce_lowest: bool = option(
        True, 'three default boxes in a cell of the finest map: a small square, ratios 2 and 1/2'
    )
    kernel: int = option(
        3, 'side of the convolutions that predict classes and boxes: 1 or 3', low=1, high=3
    )
    negatives: float = option(
        3.0, 'default boxes in the loss that hold no object, for each one that does: the hardest',
        low=0,
    )  # fmt: skip
    min_negatives: int = option(3, 'least number of them in an image', low=0)
    candidates: int = option(
        400, 'best default boxes of a class that may become detections', low=1, high=100_000
    )

    @model_validator(mode='after')
    def _fits(self) -> SSDConfig:
        if not self.extra_channels or not self.ratios:
            raise ConfigError('extra_channels and ratios: give one number at least')
        if self.kernel == 2:
            raise ConfigError('kernel: 2 has no centre. Choose 1 or 3.')
        return self


class DetectorConfig(Options):
    """The network."""

    architecture: Literal['faster_rcnn', 'mask_rcnn', 'rfcn', 'ssd'] = option(
        'faster_rcnn',
        'detector; rfcn needs neck c4, ssd neck extra',
    )
    neck: Literal['fpn', 'c4', 'extra'] = option(
        'fpn',
        'what joins extractor and heads: a feature pyramid, one map, or for ssd the maps of '
        'strides 16 and 32 and ever smaller extra ones',
    )
    backbone: str = option(
        'mobilenet_v2',
        'resnet18..152, mobilenet_v2, efficientnet_lite0, inception_resnet_v2, '
        'torchvision:<name>, timm:<name>, or <file.py|module>:<function>',
        path='if there',
    )
    weights: str = option(
        'default',
        "extractor weights: 'default' (download), 'none' (random), or a file",
        path='if there',
    )
    pixel_mean: tuple[float, ...] | None = option(
        None, 'RGB mean the weights expect, image in 0..1; null: as the extractor says'
    )
    pixel_std: tuple[float, ...] | None = option(
        None, 'RGB standard deviation the weights expect; null: as the extractor says', low=1e-6
    )
    c4_stride: int = option(
        16, 'stride of the single map: 16, or 8 with dilated convolutions', unit='px',
        low=8, high=16,
    )  # fmt: skip
    adapters: bool = option(
        False, 'trainable 1x1 convolutions beside the residual blocks of the frozen extractor'
    )
    fpn_channels: int = option(
        128, 'channels of the pyramid, and of 3x3 convolutions in the heads', low=8, high=1024
    )
    fpn_finest_stride: int = option(
        8, 'stride of the finest pyramid map', unit='px', low=4, high=16
    )
    norm: Literal['group', 'none'] = option(
        'group', 'normalisation of what trains behind the extractor'
    )
    box_head_convs: int = option(
        2,
        '3x3 convolutions in the box head; ssd: on each map, before its predictors',
        low=0,
        high=8,
    )
    box_head_channels: int = option(512, 'width of the box head', low=16, high=4096)
    anchor_ratios: tuple[float, ...] = option(
        (0.5, 1.0, 2.0), 'anchor heights over widths', low=0.01
    )
    anchor_scale: float = option(
        8.0, 'side of the smallest anchor over the stride of its map', low=1, high=64
    )
    anchor_octaves: tuple[float, ...] = option(
        (0.5, 1.0, 2.0, 4.0), 'c4: sides of the anchors, in anchor_scale times stride', low=1e-3
    )
    min_side: int = option(480, 'shorter side the network sees', unit='px', low=32, high=4096)
    max_side: int = option(1333, 'longest side the network sees', unit='px', low=32, high=8192)
    fixed_size: tuple[int, ...] | None = option(
        None, '[width, height] that the network sees of every image, whatever its shape, in place '
        'of min_side and max_side; null: the shape stays',
        unit='px', low=32, high=8192,
    )  # fmt: skip
    rpn_channels: int = option(0, 'width of the proposal head; 0: as the maps', low=0, high=4096)
    rpn_dilation: int = option(1, 'dilation of its 3x3 convolution', low=1, high=8)
    rpn_coder: tuple[float, float, float, float] = option(
        (1.0, 1.0, 1.0, 1.0), 'scale of its codes: x, y, log width, log height', low=1e-3
    )
    rpn_iou: tuple[float, float] = option(
        (0.3, 0.7), 'overlap below which an anchor is background, from which an object',
        low=0, high=1,
    )  # fmt: skip
    rpn_batch: int = option(256, 'anchors in the loss, half of them positive', low=2)
    rpn_candidates: int = option(
        0, 'best boxes of a map that may become proposals; 0: as many as kept, twice in training',
        low=0,
    )  # fmt: skip
    rpn_nms_iou: float = option(
        0.7, 'overlap at which the weaker proposal is dropped', low=0, high=1
    )
    proposals: int = option(300, 'proposals kept', low=1, high=10000)
    roi_size: int = option(
        0, 'side of the crop of a proposal; 0: 18 for rfcn, 14 before a stage of the extractor, '
        'else 7',
        unit='bins', low=0, high=64,
    )  # fmt: skip
    position_bins: int = option(
        3, 'rfcn: bins on each side of a proposal, each with maps of its own', low=1, high=9
    )
    roi_pool: int = option(
        1, 'max pooling of the crop; from 2 in place of the stride of a stage of the extractor',
        unit='bins', low=1, high=7,
    )  # fmt: skip
    box_coder: tuple[float, float, float, float] = option(
        (10.0, 10.0, 5.0, 5.0), 'scale of the box codes: x, y, log width, log height', low=1e-3
    )
    box_iou: float = option(
        0.5, 'overlap from which a proposal or default box is trained to be an object',
        low=0, high=1,
    )  # fmt: skip
    box_batch: int = option(64, 'proposals in the loss, a quarter of them positive', low=4)
    score_threshold: float = option(0.05, 'detections below are dropped', low=0, high=1)
    nms_iou: float = option(0.5, 'overlap at which the weaker detection is dropped', low=0, high=1)
    max_detections: int = option(100, 'detections kept an image', low=1, high=10000)
    loss: LossConfig = option(LossConfig, 'losses of the stages')
    ssd: SSDConfig = option(SSDConfig, 'what only ssd has: maps, default boxes, hard negatives')

    @model_validator(mode='after')
    def _fits(self) -> DetectorConfig:
        if self.architecture == 'rfcn' and self.neck != 'c4':
            raise ConfigError('architecture: rfcn works on one map. Set neck: c4.')
        if self.architecture == 'ssd' and self.neck != 'extra':
            raise ConfigError(
                f'architecture: ssd makes maps of its own behind those of the extractor, '
                f'neck {self.neck} has none. Set neck: extra.'
            )
        if self.neck == 'extra' and self.architecture != 'ssd':
            raise ConfigError(
                f'neck: extra is for ssd, not for {self.architecture}. Set neck: fpn or '
                'c4, or architecture: ssd.'
            )
        if self.fixed_size is not None and len(self.fixed_size) != 2:
            raise ConfigError(f'fixed_size: wanted [width, height], got {list(self.fixed_size)}')
        if self.c4_stride not in (8, 16):
            raise ConfigError(f'c4_stride: {self.c4_stride} is not known. Choose 8 or 16.')
        if 0 < self.roi_size < self.roi_pool:
            raise ConfigError(
                f'roi_pool: {self.roi_pool} leaves nothing of a crop of roi_size {self.roi_size}'
            )
        return self
