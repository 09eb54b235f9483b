"""Everything that can be set, with default, unit and bounds: one frozen dataclass per use case.

The only place with defaults. `options.py` reads these from YAML and command lines; the nodes
declare ROS parameters from them. Paths are text; relative ones are resolved by the reader of the
file they stand in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from synth_detect_ros.errors import ConfigError
from synth_detect_ros.options import Options, option

Range = tuple[float, float]


RUNTIMES = ('auto', 'torch', 'compile', 'openvino', 'onnxruntime')
RUNTIME_HELP = (
    'who computes the network: auto is openvino on a CPU where it is installed, otherwise torch; '
    'openvino and onnxruntime are packages of their own; compile takes a minute to start'
)

FREEZE_CHOICES = 'none, early:<stride>, first_stage, both_stages, until:<step>, until:<percent>%'
FREEZE_PATTERN = r'none|first_stage|both_stages|early:\d+|until:\d+%?'


@dataclass(frozen=True)
class PoseConfig(Options):
    """Where objects are put (Hinterstoisser et al. 2017, sec. 3.1)."""

    view_level: int = option(3, 'icosphere subdivisions, 10 * 4^n + 2 views', low=0, high=5)
    inplane_turns: int = option(36, 'equally spaced turns around the line of sight', low=1)
    inplane_deg: tuple[float, float] = option(
        (-180.0, 180.0), 'range of the in-plane turns', unit='deg', low=-180, high=180
    )
    elevation_deg: tuple[float, float] = option(
        (-90.0, 90.0),
        "elevation of the camera above the object's xy plane",
        unit='deg',
        low=-90,
        high=90,
    )
    distance_m: tuple[float, float] | None = option(
        None,
        'distance range, sampled logarithmically; null: from size_fraction',
        unit='m',
        low=1e-3,
        high=1e3,
    )
    size_fraction: tuple[float, float] = option(
        (0.1, 1.0),
        "apparent diameter over the image's shorter side, used when distance_m is null",
        low=0.01,
        high=2,
    )


@dataclass(frozen=True)
class SceneConfig(Options):
    """What is put into one image."""

    targets: tuple[int, int] = option((1, 3), 'target objects an image', low=1, high=100)
    distractors: tuple[int, int] = option((0, 3), 'distractor objects an image', low=0, high=100)
    occlusion: bool = option(True, 'objects may hide each other')
    min_visib_fract: float = option(
        0.4, 'least visible share of a target, occlusion and border together', low=0.01, high=1
    )
    max_truncation: float = option(
        0.4, 'largest share of a target beyond the image border', low=0, high=0.99
    )


@dataclass(frozen=True)
class ShadingConfig(Options):
    """Phong shading with perturbed terms (Hinterstoisser et al. 2017, sec. 3.1)."""

    perturb: bool = option(True, 'draw the terms from their ranges; else use the middles')
    ambient: tuple[float, float] = option((0.35, 0.75), 'ambient term', low=0, high=2)
    diffuse: tuple[float, float] = option((0.2, 0.8), 'diffuse term', low=0, high=2)
    specular: tuple[float, float] = option((0.0, 0.35), 'specular term', low=0, high=2)
    shininess: tuple[float, float] = option((4.0, 64.0), 'Phong exponent', low=1, high=1000)
    light_cone_deg: float = option(
        80.0, 'largest angle between light and line of sight', unit='deg', low=0, high=180
    )
    light_colour: float = option(0.12, 'standard deviation of each light channel', low=0, high=1)


@dataclass(frozen=True)
class ComposeConfig(Options):
    """How the rendering is merged with the background (sec. 3.1)."""

    noise: bool = option(True, 'Gaussian noise on the rendered objects')
    noise_sigma: tuple[float, float] = option(
        (0.0, 8.0), 'standard deviation of the noise', unit='grey levels', low=0, high=100
    )
    blur: bool = option(True, 'Gaussian blur over the objects and their boundary')
    blur_sigma_px: tuple[float, float] = option(
        (0.3, 1.8), 'standard deviation of the blur', unit='px', low=0, high=20
    )
    blending: str = option(
        'none', 'how object and background meet', choices=('none', 'gaussian', 'poisson')
    )
    feather_px: float = option(1.5, 'width of gaussian blending', unit='px', low=0.1, high=20)


@dataclass(frozen=True)
class BackgroundConfig(Options):
    """How background frames are varied (sec. 3.1)."""

    swap_channels: bool = option(True, 'random order of the colour channels')
    flip: bool = option(True, 'random horizontal and vertical flips')
    rotate: bool = option(True, 'random turns by quarter circles')
    crop: tuple[float, float] = option(
        (0.6, 1.0), 'side of the part that is used over the side of the frame', low=0.05, high=1
    )


@dataclass(frozen=True)
class SensorConfig(Options):
    """A camera model on the whole image, in physical order (after Carlson et al. 2018)."""

    enabled: bool = option(False, 'apply the sensor model')
    chromatic_aberration_px: tuple[float, float] = option(
        (0.0, 1.0), 'radial shift of red and blue at the corner', unit='px', low=0, high=20
    )
    blur_sigma_px: tuple[float, float] = option((0.0, 1.0), 'defocus', unit='px', low=0, high=20)
    exposure_ev: tuple[float, float] = option(
        (-0.7, 0.7), 'exposure change', unit='EV', low=-5, high=5
    )
    shot_noise: tuple[float, float] = option(
        (0.0, 0.02), 'signal-dependent noise: variance over signal, both 0..1', low=0, high=1
    )
    read_noise: tuple[float, float] = option(
        (0.0, 0.015), 'signal-independent noise, standard deviation of 0..1', low=0, high=1
    )
    white_balance: float = option(0.08, 'standard deviation of each channel gain', low=0, high=1)
    jpeg_quality: tuple[int, int] = option(
        (60, 100), "compression in the camera's own driver", low=5, high=100
    )


@dataclass(frozen=True)
class OutputConfig(Options):
    """Image files of the data set."""

    format: str = option('jpg', 'image format', choices=('jpg', 'png'))
    jpeg_quality: int = option(95, 'quality of jpg files', low=10, high=100)


@dataclass(frozen=True)
class SynthesizeConfig(Options):
    """`synth-detect synthesize`: render the CAD models over the captured frames."""

    objects: str = option('', 'objects file (YAML) of the targets', path='always')
    distractors: str = option('', 'objects file of distractors; empty: none', path='always')
    backgrounds: str = option('', 'background set: frames/ and camera.yaml', path='always')
    camera: str = option(
        '', 'ROS calibration file; empty: camera.yaml of the background set', path='always'
    )
    camera_hfov_deg: float = option(
        0.0, 'horizontal field of view of an uncalibrated camera; 0: not used', unit='deg',
        low=0, high=179,
    )  # fmt: skip
    out: str = option('', 'folder of the data set', path='always')
    count: int = option(2000, 'images to render', low=1)
    seed: int = option(0, 'same seed, same bytes', low=0)
    workers: int = option(0, 'processes; 0: one a GPU, or else one a core', low=0, high=512)
    renderer: str = option('moderngl', 'rendering backend', choices=('moderngl', 'pyrender'))
    pose: PoseConfig = option(PoseConfig, 'where objects are put')
    scene: SceneConfig = option(SceneConfig, 'what is put into one image')
    shading: ShadingConfig = option(ShadingConfig, 'light and material')
    background: BackgroundConfig = option(BackgroundConfig, 'variation of the background')
    compose: ComposeConfig = option(ComposeConfig, 'merging object and background')
    sensor: SensorConfig = option(SensorConfig, 'camera model on the whole image')
    output: OutputConfig = option(OutputConfig, 'image files')


@dataclass(frozen=True)
class CaptureConfig(Options):
    """`synthesize_node`: keep background frames and intrinsics of a live camera."""

    out: str = option('', 'folder of the background set', path='always')
    count: int = option(100, 'frames to keep', low=1)
    rectified: bool = option(False, 'the image topic is rectified: use P and no distortion')
    compressed: bool = option(False, 'subscribe to sensor_msgs/CompressedImage')
    min_interval_s: float = option(0.5, 'least time between kept frames', unit='s', low=0)
    min_sharpness: float = option(
        20.0, 'least variance of the Laplacian of the grey image', unit='grey levels^2', low=0
    )
    min_difference: float = option(
        6.0, 'least mean difference from each kept frame, at 32x24', unit='grey levels',
        low=0, high=255,
    )  # fmt: skip
    max_clipped: float = option(
        0.35, 'largest share of pixels that are black or white', low=0, high=1
    )
    camera_hfov_deg: float = option(
        0.0, 'horizontal field of view of an uncalibrated camera; 0: refuse it', unit='deg',
        low=0, high=179,
    )  # fmt: skip
    format: str = option('png', 'image format of the frames', choices=('png', 'jpg'))
    render: bool = option(False, 'render the data set when the frames are there, then exit')
    synthesize: str = option(
        '', 'configuration file for render, see config/synthesize.yaml', path='always'
    )


@dataclass(frozen=True)
class ReplayConfig(Options):
    """`camera_replay_node`: publish recorded images as a camera."""

    source: str = option('', 'folder of images, video file, or ROS 1 or ROS 2 bag', path='always')
    camera: str = option(
        '', 'ROS calibration file; empty: camera.yaml beside the images, or bag', path='always'
    )
    topic: str = option('', 'image topic inside a bag; empty: the first one')
    rate_hz: float = option(10.0, 'frames a second', unit='Hz', low=0.01, high=1000)
    loop: bool = option(False, 'start again at the end')
    compressed: bool = option(False, 'publish sensor_msgs/CompressedImage (JPEG)')
    encoding: str = option('bgr8', 'encoding of raw images', choices=('bgr8', 'rgb8', 'mono8'))
    frame_id: str = option('camera_optical_frame', 'frame of the header')
    wait_for_subscriber: bool = option(True, 'publish nothing before somebody listens')


@dataclass(frozen=True)
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


@dataclass(frozen=True)
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

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.extra_channels or not self.ratios:
            raise ConfigError('ssd: extra_channels and ratios: give one number at least')
        if self.kernel == 2:
            raise ConfigError('ssd: kernel: 2 has no centre. Choose 1 or 3.')


@dataclass(frozen=True)
class DetectorConfig(Options):
    """The network."""

    architecture: str = option(
        'faster_rcnn',
        'detector; rfcn needs neck c4, ssd neck extra',
        choices=('faster_rcnn', 'mask_rcnn', 'rfcn', 'ssd'),
    )
    neck: str = option(
        'fpn',
        'what joins extractor and heads: a feature pyramid, one map, or for ssd the maps of '
        'strides 16 and 32 and ever smaller extra ones',
        choices=('fpn', 'c4', 'extra'),
    )
    backbone: str = option(
        'mobilenet_v2',
        'resnet18..152, mobilenet_v2, inception_resnet_v2, torchvision:<name>, timm:<name>, or '
        '<file.py|module>:<function>',
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
    norm: str = option(
        'group', 'normalisation of what trains behind the extractor', choices=('group', 'none')
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

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.architecture == 'rfcn' and self.neck != 'c4':
            raise ConfigError('detector.architecture: rfcn works on one map. Set neck: c4.')
        if self.architecture == 'ssd' and self.neck != 'extra':
            raise ConfigError(
                f'detector.architecture: ssd makes maps of its own behind those of the extractor, '
                f'neck {self.neck} has none. Set neck: extra.'
            )
        if self.neck == 'extra' and self.architecture != 'ssd':
            raise ConfigError(
                f'detector.neck: extra is for ssd, not for {self.architecture}. Set neck: fpn or '
                'c4, or architecture: ssd.'
            )
        if self.fixed_size is not None and len(self.fixed_size) != 2:
            raise ConfigError(
                f'detector.fixed_size: wanted [width, height], got {list(self.fixed_size)}'
            )
        if self.c4_stride not in (8, 16):
            raise ConfigError(f'c4_stride: {self.c4_stride} is not known. Choose 8 or 16.')
        if 0 < self.roi_size < self.roi_pool:
            raise ConfigError(
                f'roi_pool: {self.roi_pool} leaves nothing of a crop of roi_size {self.roi_size}'
            )


@dataclass(frozen=True)
class OptimizerConfig(Options):
    """Stochastic gradient descent and its schedule."""

    lr: float = option(0.02, 'learning rate', low=1e-9, high=10)
    extractor_lr: float = option(
        1.0, "learning rate of the extractor, where it trains, over that of the rest",
        low=1e-6, high=10,
    )  # fmt: skip
    momentum: float = option(0.9, 'momentum', low=0, high=0.9999)
    weight_decay: float = option(1e-4, 'L2 penalty', low=0, high=1)
    warmup_steps: int = option(100, 'steps of linear warm-up', low=0)
    schedule: str = option('cosine', 'after the warm-up', choices=('cosine', 'steps', 'constant'))
    milestones: tuple[float, ...] = option(
        (0.6, 0.85), "shares of the run where 'steps' divides the rate by 10", low=0, high=1
    )
    clip_norm: float = option(10.0, 'gradient norm limit; 0: none', low=0)


@dataclass(frozen=True)
class AugmentConfig(Options):
    """Changes of a training image when it is loaded."""

    flip: bool = option(True, 'horizontal flip of one image in two')
    brightness: float = option(0.25, 'largest relative change', low=0, high=1)
    contrast: float = option(0.25, 'largest relative change', low=0, high=1)
    saturation: float = option(0.3, 'largest relative change', low=0, high=1)
    hue: float = option(0.02, 'largest shift of the colour circle', low=0, high=0.5)
    variants: int = option(
        0, 'different versions of an image, one an epoch, then again; 0: a new one each epoch',
        low=0, high=1000,
    )  # fmt: skip


@dataclass(frozen=True)
class CacheConfig(Options):
    """Features of the frozen first stage, kept on disk from the first epoch on."""

    enabled: bool = option(False, 'compute them once for each image and variant; see augment')
    folder: str = option(
        '', 'where; later runs with the same features use it too; empty: out/features',
        path='always',
    )  # fmt: skip
    dtype: str = option('float16', 'precision on disk', choices=('float16', 'bfloat16', 'float32'))


@dataclass(frozen=True)
class TrainConfig(Options):
    """`synth-detect train`: fit a detector whose extractor is frozen."""

    dataset: str = option('', 'synthetic data set', path='always')
    synthesize: str = option(
        '', 'in place of dataset: configuration of `synthesize`; images are rendered on the way',
        path='always',
    )  # fmt: skip
    out: str = option('', 'folder of the run; the trained model is out/bundle', path='always')
    val_images: str = option(
        '', 'folder of real labelled images; empty: part of the data set', path='always'
    )
    val_annotations: str = option('', 'COCO file of val_images', path='always')
    val_share: float = option(0.05, 'share of the data set kept for validation', low=0, high=0.5)
    val_max_images: int = option(100, 'images scored at each validation', low=1)
    freeze: str = option(
        'first_stage',
        f'freeze dial: {FREEZE_CHOICES}',
    )
    steps: int = option(2000, 'optimiser steps', low=1)
    time_limit_s: float = option(
        0.0, 'end earlier, with a finished schedule, when this time is used up; 0: no limit',
        unit='s', low=0,
    )  # fmt: skip
    batch: int = option(2, 'images a step', low=1, high=1024)
    workers: int = option(1, 'loader processes; 0: load in the training process', low=0, high=128)
    device: str = option('auto', 'auto, cpu, cuda or cuda:<n>')
    amp: bool = option(True, 'bfloat16 autocast where the GPU or CPU computes in it')
    seed: int = option(0, 'seed of weights, order and augmentation', low=0)
    val_every: int = option(0, 'steps between validations; 0: only at the end', low=0)
    checkpoint_every: int = option(500, 'steps between checkpoints', low=1)
    log_every: int = option(20, 'steps between lines of the log', low=1)
    detector: DetectorConfig = option(DetectorConfig, 'the network')
    optimizer: OptimizerConfig = option(OptimizerConfig, 'gradient descent')
    augment: AugmentConfig = option(AugmentConfig, 'changes of a training image')
    cache: CacheConfig = option(CacheConfig, 'features of the frozen first stage on disk')

    def __post_init__(self) -> None:
        super().__post_init__()
        if not re.fullmatch(FREEZE_PATTERN, self.freeze):
            raise ConfigError(
                f'freeze: {self.freeze!r} is not known. Choose one of {FREEZE_CHOICES}.'
            )
        if bool(self.val_images) != bool(self.val_annotations):
            raise ConfigError('val_images and val_annotations: give both or none')
        if self.dataset and self.synthesize:
            raise ConfigError('dataset and synthesize: images come from one place, give one')
        if self.cache.enabled and self.synthesize:
            raise ConfigError(
                'cache.enabled: images that are rendered while it trains are seen once, their '
                'features are of no more use. Render a data set first and give dataset.'
            )
        changing = self.detector.adapters or self.freeze.startswith(('none', 'early'))
        if self.cache.enabled and changing:
            raise ConfigError(
                f'cache.enabled: with freeze {self.freeze} and detector.adapters '
                f'{str(self.detector.adapters).lower()} the features change at every step and '
                'cannot be kept. Freeze the first stage without adapters, or switch the cache off.'
            )
        if self.cache.enabled and not self.augment.variants:
            raise ConfigError(
                'cache.enabled: images that are new each epoch have no features to keep. Set '
                'augment.variants, for example to 4: the disk holds that many versions of each.'
            )


@dataclass(frozen=True)
class EvaluateConfig(Options):
    """`synth-detect evaluate`: COCO metrics on labelled images."""

    model: str = option('', 'bundle: folder of a trained model', path='always')
    images: str = option('', 'folder of images', path='always')
    annotations: str = option('', 'COCO file', path='always')
    json: str = option('', 'file for the metrics; empty: none', path='always')
    overlays: str = option(
        '', 'folder for pictures of the worst frames; empty: none', path='always'
    )
    worst: int = option(12, 'pictures of the worst frames', low=0)
    exclude: str = option(
        '', 'ignore annotations in which this field is true, e.g. low_accuracy; empty: none'
    )
    device: str = option('auto', 'auto, cpu, cuda or cuda:<n>')
    runtime: str = option('auto', RUNTIME_HELP, choices=RUNTIMES)


@dataclass(frozen=True)
class ExperimentConfig(Options):
    """`synth-detect experiment`: run a grid of trainings and compare them on real images."""

    grid: str = option(
        '', 'file of the grid, or name of one that comes with the package', path='if there'
    )
    setup: str = option('', 'file with your cameras, objects and real frames', path='always')
    out: str = option('', 'folder of results; grids that share it share their runs', path='always')
    jobs: int = option(1, 'cells side by side; the cores are divided', low=1, high=64)
    cells: str = option('', 'names of cells, with commas between; empty: all of the grid')
    settings: tuple[str, ...] = option(
        (),
        'for every cell: train.<option>=value, synthesize.<option>=value, budgets.<option>=list',
    )


@dataclass(frozen=True)
class ExportConfig(Options):
    """`synth-detect export`: hand a data set to other tools."""

    dataset: str = option('', 'data set: images/ and annotations.json (COCO)', path='always')
    out: str = option('', 'new folder', path='always')
    format: str = option(
        'yolo', 'boxes for YOLO, or poses and masks for BOP', choices=('yolo', 'bop')
    )
    val_share: float = option(
        0.1, 'share of the images, the last ones, that yolo validates on', low=0, high=0.9
    )


@dataclass(frozen=True)
class DetectConfig(Options):
    """`detect_node`: 2D detections and masks from live images."""

    model: str = option('', 'bundle: folder of a trained model', path='always')
    device: str = option('auto', 'auto, cpu, cuda or cuda:<n>')
    runtime: str = option('auto', RUNTIME_HELP, choices=RUNTIMES)
    proposals: int = option(
        0, 'regions that the second stage looks at; fewer are faster and may miss objects; 0: as '
        'many as in training, and the only choice for ssd, which has no second stage',
        low=0, high=10000,
    )  # fmt: skip
    score_threshold: float = option(0.5, 'detections below are not published', low=0, high=1)
    compressed: bool = option(False, 'subscribe to sensor_msgs/CompressedImage')
    publish_json: bool = option(False, 'publish ~/detections_json (std_msgs/String, COCO results)')
    autostart: bool = option(True, 'configure and activate on start')
    threads: int = option(0, 'CPU threads of the network; 0: all cores', low=0, high=512)
