"""Cameras as ROS describes them: calibration files and `sensor_msgs/CameraInfo`."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synth_detect_ros.documents import parse_yaml, read_text
from synth_detect_ros.errors import GeometryError, UncalibratedCameraError
from synth_detect_ros.geometry.camera import Camera
from synth_detect_ros.geometry.foreign_calibrations import ros_calibration

logger = logging.getLogger(__name__)

# A focal length over the width of the image [1]: 169 and 0.6 deg of field of view. Beyond them it
# is in mm, or of an image of another size.
_FOCAL_LENGTHS = (0.05, 100.0)
_LARGEST_SIDE = 100_000  # [px]
# What marks the files of OpenCV, which are YAML but for them.
_OPENCV_MARKS = re.compile(r'^%YAML:1\.0|!!opencv-matrix')


def read_camera(path: Path) -> Camera:
    """Read a calibration file: of ROS, a CameraInfo that `ros2 topic echo` wrote, OpenCV, Kalibr.

    Raises:
        GeometryError: the file is missing, no YAML, or no calibration.
        UncalibratedCameraError: the focal length is zero.
    """
    text = _OPENCV_MARKS.sub('', read_text(path, GeometryError)).strip()
    content = parse_yaml(text, str(path), GeometryError)
    return camera_from_calibration(content, str(path))


def camera_of_images(
    camera: Camera, size: tuple[int, int], source: Path | str, images: Path | str
) -> Camera:
    """Return a camera for images that may have been resized; say so where they were.

    Args:
        camera: as calibrated.
        size: width and height of the images [px].
        source: of the calibration, for messages.
        images: what has that size, for messages.

    Raises:
        GeometryError: the images have another ratio of width and height.
    """
    if camera.size == size:
        return camera
    try:
        resized = camera.resized(*size)
    except GeometryError as error:
        raise GeometryError(f'{source}: {error} These are the pixels of {images}.') from error
    logger.warning(
        '%s is of images of %dx%d pixels, %s has %dx%d: its intrinsics are scaled to them',
        source, *camera.size, images, *size,
    )  # fmt: skip
    return resized


def camera_from_calibration(calibration: Mapping[str, Any], source: str = 'calibration') -> Camera:
    """Camera of a ROS calibration, the mapping that `camera_calibration` writes as YAML.

    Args:
        calibration: content of the file, or what `Camera.to_calibration` returned; a CameraInfo
            and the forms of other tools are taken as well, see `ros_calibration`.
        source: file or folder, for messages.

    Raises:
        GeometryError: a key is missing or has the wrong length, or values make no sense.
        UncalibratedCameraError: the focal length is zero.
    """
    try:
        content = ros_calibration(calibration, source)
        if {'k', 'K'} & set(content) and {'width', 'height'} <= set(content):
            return _camera_of_echo(content)
        camera = Camera(
            _whole(content['image_width']),
            _whole(content['image_height']),
            np.array(content['camera_matrix']['data'], np.float64),
            np.array(content['distortion_coefficients']['data'], np.float64),
            str(content['distortion_model']),
            str(content.get('camera_name', 'camera')),
        )
        check_plausible(camera)
    except UncalibratedCameraError as error:
        raise UncalibratedCameraError(f'{source}: {error}') from error
    except GeometryError as error:
        raise GeometryError(
            str(error) if source in str(error) else f'{source}: {error}'
        ) from error
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise GeometryError(
            f'{source}: wanted a ROS camera calibration (image_width, image_height, '
            f'camera_matrix, distortion_model, distortion_coefficients); '
            f'{type(error).__name__}: {error}'
        ) from error
    return camera


def check_plausible(camera: Camera) -> Camera:
    """Return a camera of a whole image; refuse intrinsics that no lens has.

    Raises:
        GeometryError: the focal length is another number than one of pixels of this image, or the
            principal point lies more than an image beside it.
    """
    low, high = _FOCAL_LENGTHS
    for name, focal, centre, side in zip(
        'xy', np.diag(camera.K), camera.K[:2, 2], camera.size, strict=False
    ):
        if not low <= focal / max(camera.size) <= high:
            raise GeometryError(
                f'camera {camera.name!r}: f{name} is {focal:g} px, which no lens has on an image '
                f'of {camera.width}x{camera.height}: wanted {low:g} to {high:g} times its longer '
                'side. Is it in mm, or of another image size?'
            )
        if not -side <= centre <= 2 * side:
            raise GeometryError(
                f'camera {camera.name!r}: c{name} is {centre:g} px, far outside an image of '
                f'{camera.width}x{camera.height}. Is it of another image size?'
            )
    return camera


def _whole(value: Any) -> int:
    """Return a side of an image; whole numbers may be written with a dot."""
    number = float(value)
    if isinstance(value, bool) or not number.is_integer() or not 0 < number <= _LARGEST_SIDE:
        raise ValueError(f'a side of an image has 1 to {_LARGEST_SIDE} px, got {value!r}')
    return int(number)


def _camera_of_echo(info: Mapping[str, Any]) -> Camera:
    """Return the camera of a CameraInfo in YAML, of ROS 1 or 2; the image is not rectified."""
    keys = {str(key).lower(): value for key, value in info.items()}
    roi = keys.get('roi') or {}
    x, y, width, height = (int(roi.get(k, 0)) for k in ('x_offset', 'y_offset', 'width', 'height'))
    return camera_from_info(
        _whole(keys['width']), _whole(keys['height']), keys['k'], keys['d'], keys.get('p') or (),
        str(keys['distortion_model']),
        rectified=False,
        binning=(int(keys.get('binning_x', 0)), int(keys.get('binning_y', 0))),
        roi=(x, y, width, height),
    )  # fmt: skip


def camera_from_info(
    width: int,
    height: int,
    K: Sequence[float],
    D: Sequence[float],
    P: Sequence[float],
    distortion_model: str,
    *,
    rectified: bool,
    binning: tuple[int, int] = (0, 0),
    roi: tuple[int, int, int, int] = (0, 0, 0, 0),
    name: str = 'camera',
) -> Camera:
    """Camera of the image that a `sensor_msgs/CameraInfo` belongs to.

    Args:
        width: full sensor width [px], before ROI and binning.
        height: full sensor height [px].
        K: 9 values, row major; K[0] == 0 means uncalibrated.
        D: distortion coefficients.
        P: 12 values; its left 3x3 block holds the intrinsics of the rectified image.
        distortion_model: see `camera.DISTORTION_MODELS`.
        rectified: use P and no distortion; K where nothing distorts and P is empty.
        binning: x and y; 0 means 1.
        roi: x offset, y offset, width, height [px, unbinned]; all 0 means the full image.
        name: for messages.

    Raises:
        UncalibratedCameraError: K[0] == 0.
        GeometryError: values make no sense.

    Source: sensor_msgs/msg/CameraInfo.msg, comments on ROI and binning.
    """
    if rectified and (any(P) or any(D)):
        camera = Camera(width, height, np.reshape(P, (3, 4))[:, :3], name=name)
    else:
        camera = Camera(width, height, np.array(K), np.array(D), distortion_model, name)
    whole = check_plausible(camera)
    seen = whole.cropped(*roi) if all(roi[2:]) else whole
    return seen.binned(max(binning[0], 1), max(binning[1], 1))
