"""Recorded images of a camera from a folder, a video or a bag, behind one interface."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.config import ReplayConfig
from synth_detect_ros.dataset.backgrounds import CAMERA_FILE, has_frames, read_background_set
from synth_detect_ros.errors import ConfigError, GeometryError, MessageError
from synth_detect_ros.geometry.calibration import camera_of_images, read_camera
from synth_detect_ros.geometry.camera import Camera
from synth_detect_ros.images.depth import BitDepth
from synth_detect_ros.nodes.bags.bag import METADATA, Bag, is_bag
from synth_detect_ros.nodes.bags.camera_topic import (
    INFO_TYPE,
    choose_topic,
    first_calibrated,
    image_topics,
)
from synth_detect_ros.nodes.conversions import camera_from_message, rgb_from_message
from synth_detect_ros.nodes.encodings import ENCODINGS

logger = logging.getLogger(__name__)

_VIDEO_SUFFIXES = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.webm')
# Looked at before the first is played, so that it is scaled as those behind it.
_FRAMES_FOR_DEPTH = 50


@dataclass(frozen=True)
class Recording:
    """Images that can be played any number of times.

    Attributes:
        frames: starts over: (H, W, 3) uint8 RGB images in order.
        camera: intrinsics; None when they are not known.
    """

    frames: Callable[[], Iterator[NDArray[np.uint8]]]
    camera: Camera | None


def open_recording(config: ReplayConfig) -> Recording:
    """Open the source of a replay.

    A calibration or field of view that is given counts; the one beside the images is not read
    then. One of another size than the images is scaled to them.

    Raises:
        ConfigError: the source is missing or of no known kind, a bag without the topic, or
            `fit` without a calibration.
        BackgroundError: a folder without images.
        GeometryError: a calibration file is broken, or of another ratio of width and height than
            the images.
    """
    recording = _open(config)
    camera, source = _given_camera(config, recording), config.camera or config.source
    if camera is None and not (config.camera or config.camera_hfov_deg):
        camera = recording.camera
        folder = Path(config.source)
        for calibration in (folder / CAMERA_FILE, folder.parent / CAMERA_FILE):
            if camera is None and calibration.is_file():
                camera, source = read_camera(calibration), str(calibration)
    if camera is None:
        if config.fit:
            raise ConfigError(
                'fit: wanted a calibration, whose size images are fitted to. Give one as camera.'
            )
        return replace(recording, camera=None)
    if config.fit:
        size = camera.size
        return Recording(lambda: (fit(f, *size) for f in recording.frames()), camera)
    first = next(recording.frames(), None)
    if first is not None:
        try:
            camera = camera_of_images(camera, first.shape[1::-1], source, config.source)
        except GeometryError as error:
            raise GeometryError(
                f'{error} Or set fit:=true: it cuts and scales the images to the camera.'
            ) from None
    size = camera.size
    return Recording(lambda: _of_size(recording.frames(), size, config.source), camera)


def _given_camera(config: ReplayConfig, recording: Recording) -> Camera | None:
    if config.camera:
        return read_camera(Path(config.camera))
    first = next(recording.frames(), None) if config.camera_hfov_deg else None
    if first is None:
        return None
    return Camera.from_fov(first.shape[1], first.shape[0], config.camera_hfov_deg)


def _of_size(
    frames: Iterator[NDArray[np.uint8]], size: tuple[int, int], source: str
) -> Iterator[NDArray[np.uint8]]:
    """Leave out images of another size than the camera's."""
    for frame in frames:
        if frame.shape[1::-1] == size:
            yield frame
        else:
            logger.warning(
                '%s: image left out: it has %dx%d pixels, the camera %dx%d. fit:=true cuts and '
                'scales images to the camera.', source, *frame.shape[1::-1], *size,
            )  # fmt: skip


def fit(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Scale an image until it covers a size, and crop it to that about its centre.

    Args:
        image: (H, W, 3) uint8 RGB.
        width: of the result [px].
        height: of the result [px].

    Returns:
        (height, width, 3) uint8 RGB.
    """
    rows, columns = image.shape[:2]
    scale = max(width / columns, height / rows)
    size = max(round(columns * scale), width), max(round(rows * scale), height)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    scaled = cv2.resize(image, size, interpolation=how) if scale != 1 else image
    x, y = (size[0] - width) // 2, (size[1] - height) // 2
    return np.ascontiguousarray(scaled[y : y + height, x : x + width])


def _open(config: ReplayConfig) -> Recording:
    source = Path(config.source)
    if not config.source or not source.exists():
        raise ConfigError(
            f'source: {config.source!r} does not exist. Give a folder of images, a video '
            f'({", ".join(_VIDEO_SUFFIXES)}), or a bag: a file (.bag, .mcap, .db3) or its folder.'
        )
    if not source.is_dir() and not source.is_file():  # a pipe would wait, a device never end
        raise ConfigError(f'source: {source} is no folder and no regular file')
    if source.suffix.lower() in _VIDEO_SUFFIXES and source.is_file():
        return Recording(lambda: _video_frames(source), None)
    # Images beside a bag, those that were taken from it, are what is meant.
    images = source.is_dir() and not (source / METADATA).is_file() and has_frames(source)
    if not images and is_bag(source):
        return _open_bag(source, config)
    if source.is_dir():
        backgrounds = read_background_set(source, calibrated=False)
        return Recording(lambda: map(backgrounds.read, range(len(backgrounds))), None)
    raise ConfigError(
        f'source: {source} is no folder, no bag and no video ({", ".join(_VIDEO_SUFFIXES)})'
    )


def _video_frames(path: Path) -> Iterator[NDArray[np.uint8]]:
    capture = cv2.VideoCapture(str(path))
    try:
        while True:
            there, image = capture.read()
            if not there:
                return
            yield np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
    finally:
        capture.release()


def _open_bag(path: Path, config: ReplayConfig) -> Recording:
    """Open a bag at its image topic, with the CameraInfo beside it unless one is given."""
    bag = Bag(path)
    topic = choose_topic(image_topics(bag), config.topic, str(path))
    camera = None
    info_topic = f'{topic.camera}/camera_info'
    if not (config.camera or config.camera_hfov_deg) and bag.topics.get(info_topic) == INFO_TYPE:
        info = first_calibrated(message for _, message in bag.messages({info_topic}))
        if info is not None:
            rectified = topic.image.rpartition('/')[2].startswith('image_rect')
            try:
                camera = camera_from_message(info, rectified=rectified)
            except GeometryError as error:
                raise GeometryError(
                    f'{path}: {info_topic}: {error}. Give the calibration as camera, or the '
                    'field of view as camera_hfov_deg.'
                ) from error
    depth = BitDepth(config.bits)
    if (
        ENCODINGS.get(topic.encoding, (0, 2, None))[1] == 2
    ):  # bytes; of what is compressed, perhaps
        for _ in islice(_bag_frames(bag, topic.name, depth), _FRAMES_FOR_DEPTH):
            pass
    return Recording(lambda: _bag_frames(bag, topic.name, depth), camera)


def _bag_frames(bag: Bag, topic: str, depth: BitDepth) -> Iterator[NDArray[np.uint8]]:
    for _, message in bag.messages({topic}):
        try:
            yield rgb_from_message(message, depth)
        except MessageError as error:
            logger.warning('%s: image left out: %s', bag.path, error)
