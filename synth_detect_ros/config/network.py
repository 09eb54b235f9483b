"""What the networks of several detectors have: extractor, image, proposals, box head."""

from __future__ import annotations

from pydantic import model_validator

from synth_detect_ros.config.options import Options
from synth_detect_ros.config.rules import option
from synth_detect_ros.errors import ConfigError

Scales = tuple[float, float, float, float]

BETA = 'error of a code at which its loss turns from a square into a line'
NORM = 'normalisation of what trains behind the extractor'


class NetworkConfig(Options):
    """What all architectures have: extractor, image, and the choice of detections."""

    architecture: str
    neck: str
    extractor: str = option(
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
    adapters: bool = option(
        False, 'trainable 1x1 convolutions beside the residual blocks of the frozen extractor'
    )
    norm: str
    channels: int = option(
        128, 'channels of the pyramid, and of 3x3 convolutions in the heads', low=8, high=1024
    )
    style_noise: float = option(
        0.0, 'training: standard deviation of random factors of the mean and the contrast of each '
        'channel behind the first stage, so that the heads do not depend on what renderings have '
        'in common; 0: none',
        low=0, high=2,
    )  # fmt: skip
    min_side: int = option(480, 'shorter side the network sees', unit='px', low=32, high=4096)
    max_side: int = option(1333, 'longest side the network sees', unit='px', low=32, high=8192)
    fixed_size: tuple[int, ...] | None = option(
        None, '[width, height] that the network sees of every image, whatever its shape, in place '
        'of min_side and max_side; null: the shape stays',
        unit='px', low=32, high=8192,
    )  # fmt: skip
    score_threshold: float = option(0.05, 'detections below are dropped', low=0, high=1)
    nms_iou: float = option(0.5, 'overlap at which the weaker detection is dropped', low=0, high=1)
    max_detections: int = option(100, 'detections kept an image', low=1, high=10000)

    @property
    def has_masks(self) -> bool:
        """Whether detections come with masks."""
        return False

    @model_validator(mode='after')
    def _fits_image(self) -> NetworkConfig:
        if self.fixed_size is not None and len(self.fixed_size) != 2:
            raise ConfigError(f'fixed_size: wanted [width, height], got {list(self.fixed_size)}')
        return self


class RPNConfig(Options):
    """Proposals: anchors, the head that scores them, and its loss."""

    anchor_ratios: tuple[float, ...] = option(
        (0.5, 1.0, 2.0), 'anchor heights over widths', low=0.01
    )
    anchor_scale: float = option(
        8.0, 'side of the smallest anchor over the stride of its map', low=1, high=64
    )
    anchor_octaves: tuple[float, ...] = option(
        (0.5, 1.0, 2.0, 4.0), 'c4: sides of the anchors, in anchor_scale times stride', low=1e-3
    )
    channels: int = option(0, 'width of the proposal head; 0: as the maps', low=0, high=4096)
    dilation: int = option(1, 'dilation of its 3x3 convolution', low=1, high=8)
    coder: Scales = option(
        (1.0, 1.0, 1.0, 1.0), 'scale of its codes: x, y, log width, log height', low=1e-3
    )
    iou: tuple[float, float] = option(
        (0.3, 0.7), 'overlap below which an anchor is background, from which an object',
        low=0, high=1,
    )  # fmt: skip
    batch: int = option(256, 'anchors in the loss, half of them positive', low=2)
    candidates: int = option(
        0, 'best boxes of a map that may become proposals; 0: as many as kept, twice in training',
        low=0,
    )  # fmt: skip
    nms_iou: float = option(0.7, 'overlap at which the weaker proposal is dropped', low=0, high=1)
    proposals: int = option(300, 'proposals kept', low=1, high=10000)
    beta: float = option(1 / 9, BETA, low=1e-6)
    objectness_weight: float = option(1.0, 'weight of the loss of object or background', low=0)
    box_weight: float = option(1.0, 'weight of the loss of the proposals', low=0)


class ProposalHeadConfig(Options):
    """Class and box of each proposal: crops, layers, minibatch and loss."""

    roi_size: int = option(
        0, 'side of the crop of a proposal; 0: 18 for rfcn, 14 before a stage of the extractor, '
        'else 7',
        unit='bins', low=0, high=64,
    )  # fmt: skip
    convs: int = option(2, '3x3 convolutions', low=0, high=8)
    channels: int = option(512, 'width of the layers behind them', low=16, high=4096)
    coder: Scales = option(
        (10.0, 10.0, 5.0, 5.0), 'scale of the box codes: x, y, log width, log height', low=1e-3
    )
    iou: float = option(
        0.5, 'overlap from which a proposal is trained to be an object', low=0, high=1
    )
    batch: int = option(64, 'proposals in the loss, a quarter of them positive', low=4)
    beta: float = option(1 / 9, BETA, low=1e-6)
    class_weight: float = option(1.0, 'weight of the loss of the classes', low=0)
    box_weight: float = option(1.0, 'weight of the loss of the boxes', low=0)


class BoxHeadConfig(ProposalHeadConfig):
    """The box head of Faster and Mask R-CNN."""

    roi_pool: int = option(
        1, 'max pooling of the crop; from 2 in place of the stride of a stage of the extractor',
        unit='bins', low=1, high=7,
    )  # fmt: skip

    @model_validator(mode='after')
    def _leaves_something(self) -> BoxHeadConfig:
        if 0 < self.roi_size < self.roi_pool:
            raise ConfigError(
                f'roi_pool: {self.roi_pool} leaves nothing of a crop of roi_size {self.roi_size}'
            )
        return self


class PositionHeadConfig(ProposalHeadConfig):
    """The position-sensitive head of R-FCN."""

    bins: int = option(
        3, 'bins on each side of a proposal, each with maps of its own', low=1, high=9
    )
