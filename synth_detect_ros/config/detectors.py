"""Configurations of detectors, one for each architecture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import model_validator

from synth_detect_ros.config.network import (
    BETA,
    NORM,
    BoxHeadConfig,
    NetworkConfig,
    PositionHeadConfig,
    RPNConfig,
    Scales,
)
from synth_detect_ros.config.renamed import renamed_in, translate
from synth_detect_ros.config.rules import groups_of, option
from synth_detect_ros.errors import ConfigError

ARCHITECTURE = 'faster_rcnn, mask_rcnn, rfcn, ssd or dense; each has options of its own'


class TwoStageConfig(NetworkConfig):
    """What detectors with proposals have."""

    norm: Literal['group', 'none'] = option('group', NORM)
    c4_stride: int = option(
        16, 'stride of the single map of neck c4: 16, or 8 with dilated convolutions', unit='px',
        low=8, high=16,
    )  # fmt: skip

    @model_validator(mode='after')
    def _fits_stride(self) -> TwoStageConfig:
        if self.c4_stride not in (8, 16):
            raise ConfigError(f'c4_stride: {self.c4_stride} is not known. Choose 8 or 16.')
        return self


class RCNNConfig(TwoStageConfig):
    """What Faster and Mask R-CNN have: a feature pyramid or one map, and crops of it."""

    neck: Literal['fpn', 'c4'] = option(
        'fpn', 'what joins extractor and heads: a feature pyramid, or one map'
    )
    fpn_finest_stride: int = option(
        8, 'stride of the finest pyramid map', unit='px', low=4, high=16
    )
    rpn: RPNConfig = option(RPNConfig, 'proposals')
    box_head: BoxHeadConfig = option(BoxHeadConfig, 'class and box of each proposal')


class FasterRCNNConfig(RCNNConfig):
    """Faster R-CNN (Ren et al. 2015)."""

    architecture: Literal['faster_rcnn'] = option('faster_rcnn', ARCHITECTURE)


class MaskRCNNConfig(RCNNConfig):
    """Mask R-CNN (He et al. 2017): Faster R-CNN, and a mask of each detection."""

    architecture: Literal['mask_rcnn'] = option('mask_rcnn', ARCHITECTURE)
    mask_weight: float = option(1.0, 'weight of the loss of the masks', low=0)

    @property
    def has_masks(self) -> bool:
        """Always."""
        return True


class RFCNConfig(TwoStageConfig):
    """R-FCN (Dai et al. 2016), which works on one map."""

    architecture: Literal['rfcn'] = option('rfcn', ARCHITECTURE)
    neck: Literal['c4'] = option('c4', 'what joins extractor and heads: one map')
    rpn: RPNConfig = option(RPNConfig, 'proposals')
    box_head: PositionHeadConfig = option(PositionHeadConfig, 'class and box of each proposal')


class SSDConfig(NetworkConfig):
    """SSD (Liu et al. 2016); defaults of the ssd_* configurations of the paper's toolchain."""

    architecture: Literal['ssd'] = option('ssd', ARCHITECTURE)
    norm: Literal['group', 'none'] = option('group', NORM)
    neck: Literal['extra'] = option(
        'extra', 'what joins extractor and heads: the maps of strides 16 and 32, and ever smaller '
        'extra ones',
    )  # fmt: skip
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
    convs: int = option(2, '3x3 convolutions on each map, before its predictors', low=0, high=8)
    kernel: int = option(
        3, 'side of the convolutions that predict classes and boxes: 1 or 3', low=1, high=3
    )
    coder: Scales = option(
        (10.0, 10.0, 5.0, 5.0), 'scale of the box codes: x, y, log width, log height', low=1e-3
    )
    iou: float = option(
        0.5, 'overlap from which a default box is trained to be an object', low=0, high=1
    )
    negatives: float = option(
        3.0, 'default boxes in the loss that hold no object, for each one that does: the hardest',
        low=0,
    )  # fmt: skip
    min_negatives: int = option(3, 'least number of them in an image', low=0)
    beta: float = option(1 / 9, BETA, low=1e-6)
    class_weight: float = option(1.0, 'weight of the loss of the classes', low=0)
    box_weight: float = option(1.0, 'weight of the loss of the boxes', low=0)
    candidates: int = option(
        400, 'best default boxes of a class that may become detections', low=1, high=100_000
    )

    @model_validator(mode='after')
    def _fits_boxes(self) -> SSDConfig:
        if not self.extra_channels or not self.ratios:
            raise ConfigError('extra_channels and ratios: give one number at least')
        if self.kernel == 2:
            raise ConfigError('kernel: 2 has no centre. Choose 1 or 3.')
        return self


class DenseConfig(NetworkConfig):
    """One stage without anchors: every cell of a pyramid says what lies around it.

    Losses of Li et al. 2020 (GFL), cells chosen as in Feng et al. 2021 (TOOD), masks of Bolya et
    al. 2019 (YOLACT).
    """

    architecture: Literal['dense'] = option('dense', ARCHITECTURE)
    norm: Literal['batch', 'group', 'none'] = option(
        'group', f'{NORM}; batch: becomes part of the convolutions in use'
    )
    neck: Literal['pan'] = option(
        'pan', 'what joins extractor and head: a pyramid from coarse to fine and back'
    )
    finest_stride: int = option(
        8, 'stride of the finest map of the pyramid', unit='px', low=4, high=16
    )
    convs: int = option(
        2, 'convolutions before the class scores, and as many before the boxes', low=0, high=8
    )
    kernel: int = option(3, 'side of the convolutions: 3, 5 or 7', unit='cells', low=3, high=7)
    separable: bool = option(
        False, 'each convolution in two, over space and over channels: fewer sums'
    )
    bins: int = option(
        16, 'the sides of a box lie at most this many strides from the middle of the cell', low=4,
        high=64,
    )  # fmt: skip
    cells: int = option(
        13, 'cells that learn an object at most: those whose score and box fit it best', low=1
    )
    powers: tuple[float, ...] = option(
        (1.0, 6.0), 'exponents of score and overlap in what is best', low=0, high=20
    )
    class_weight: float = option(1.0, 'weight of the loss of the classes', low=0)
    box_weight: float = option(2.0, 'weight of the loss of the boxes', low=0)
    distance_weight: float = option(
        0.5, 'weight of the loss of the distributions over distances', low=0
    )
    candidates: int = option(300, 'best cells that may become detections', low=1, high=100_000)
    vote_iou: float = option(
        0.8, 'overlap with a detection from which boxes of its class are averaged into its own, '
        'by their scores; 1: only equal ones', low=0, high=1,
    )  # fmt: skip
    masks: bool = option(False, 'masks of what is found')
    prototypes: int = option(32, 'images that masks are sums of', low=4, high=256)
    mask_weight: float = option(1.0, 'weight of the loss of the masks', low=0)

    @property
    def has_masks(self) -> bool:
        """See `masks`."""
        return self.masks

    @model_validator(mode='after')
    def _fits_cells(self) -> DenseConfig:
        if self.kernel % 2 == 0:
            raise ConfigError(f'kernel: {self.kernel} has no centre. Choose 3, 5 or 7.')
        if len(self.powers) != 2:
            raise ConfigError(f'powers: wanted [of score, of overlap], got {list(self.powers)}')
        return self


# Told apart by `architecture`; the first one where it is not given.
DetectorConfig = FasterRCNNConfig | MaskRCNNConfig | RFCNConfig | SSDConfig | DenseConfig
for _cls in groups_of(DetectorConfig):
    _cls.renamed = renamed_in(groups_of(DetectorConfig), _cls)  # type: ignore[attr-defined]


def translate_detector(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a stored detector, of version 0.1 or later, under today's names.

    See `translate`. What a user writes is refused instead, with the new name: this is for what
    runs and bundles of version 0.1 hold, options of all architectures in one group.
    """
    return translate(groups_of(DetectorConfig), mapping)
