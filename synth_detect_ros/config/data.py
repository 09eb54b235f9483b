"""Images from cameras and recordings, and data sets for other tools."""

from __future__ import annotations

from typing import Literal, get_args

from synth_detect_ros.config.options import Options
from synth_detect_ros.config.rules import option

Reliability = Literal['auto', 'reliable', 'best_effort']
RELIABILITIES = get_args(Reliability)
RELIABILITY_HELP = (
    'of the subscriptions to the camera: auto is reliable where all publishers of the topic offer '
    'it, otherwise best_effort, and follows a change'
)


class CaptureConfig(Options):
    """`synthesize_node`: keep background frames and intrinsics of a live camera."""

    needed = ('out',)
    out: str = option('', 'folder of the background set', path='always')
    count: int = option(100, 'frames to keep', low=1)
    rectified: bool = option(False, 'the image topic is rectified: use P and no distortion')
    compressed: bool = option(False, 'subscribe to sensor_msgs/CompressedImage')
    reliability: Reliability = option('auto', RELIABILITY_HELP)
    bits: int = option(
        0, 'bits of 16-bit images that hold light, 12 say; 0: found from them, and logged',
        low=0, high=16,
    )  # fmt: skip
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
    format: Literal['png', 'jpg'] = option('png', 'image format of the frames')
    render: bool = option(False, 'render the data set when the frames are there, then exit')
    synthesize: str = option(
        '', 'configuration file for render, see config/synthesize.yaml', path='always'
    )


class ReplayConfig(Options):
    """`camera_replay_node`: publish recorded images as a camera."""

    source: str = option(
        '', 'folder of images, video, or ROS 1 or 2 bag: folder or file', path='always'
    )
    camera: str = option(
        '', 'ROS calibration file; empty: camera.yaml beside the images, or bag', path='always'
    )
    camera_hfov_deg: float = option(
        0.0, 'horizontal field of view of an uncalibrated camera; 0: not used', unit='deg',
        low=0, high=179,
    )  # fmt: skip
    topic: str = option('', 'image topic inside a bag; empty: the colour images of its camera')
    rate_hz: float = option(10.0, 'frames a second', unit='Hz', low=0.01, high=1000)
    fit: bool = option(
        False, 'scale and crop images of other sizes to the size of the calibration'
    )  # fmt: skip
    loop: bool = option(False, 'start again at the end')
    compressed: bool = option(False, 'publish sensor_msgs/CompressedImage (JPEG)')
    bits: int = option(
        0, 'bits of 16-bit images that hold light, 12 say; 0: found from them, and logged',
        low=0, high=16,
    )  # fmt: skip
    encoding: Literal['bgr8', 'rgb8', 'mono8'] = option('bgr8', 'encoding of raw images')
    frame_id: str = option('camera_optical_frame', 'frame of the header')
    wait_for_subscriber: bool = option(True, 'publish nothing until there is a subscriber')


class ExportConfig(Options):
    """`synth-detect export`: hand a data set to other tools."""

    needed = ('dataset', 'out')
    dataset: str = option('', 'data set: images/ and annotations.json (COCO)', path='always')
    out: str = option('', 'new folder', path='always')
    format: Literal['yolo', 'bop'] = option('yolo', 'boxes for YOLO, or poses and masks for BOP')
    val_share: float = option(
        0.1, 'share of the images, the last ones, that yolo validates on', low=0, high=0.9
    )
