"""Cameras as ROS describes them: calibration files and `sensor_msgs/CameraInfo`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from synth_detect_ros.errors import GeometryError
from synth_detect_ros.geometry.camera import Camera


def read_camera(path: Path) -> Camera:
    """Read a ROS calibration YAML file.

    Raises:
        GeometryError: the file is missing, no YAML, or no calibration.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise GeometryError(f'{path}: wanted a ROS camera calibration file; {error}') from error
    return camera_from_calibration(content, str(path))


def camera_from_calibration(calibration: Mapping[str, Any], source: str = 'calibration') -> Camera:
    """Camera of a ROS calibration, the mapping that `camera_calibration` writes as YAML.

    Args:
        calibration: content of the file, or what `Camera.to_calibration` returned.
        source: file or folder, for messages.

    Raises:
        GeometryError: a key is missing or has the wrong length.
        UncalibratedCameraError: the focal length is zero.
    """
    try:
        return Camera(
            int(calibration['image_width']),
            int(calibration['image_height']),
            np.array(calibration['camera_matrix']['data'], np.float64),
            np.array(calibration['distortion_coefficients']['data'], np.float64),
            str(calibration['distortion_model']),
            str(calibration.get('camera_name', 'camera')),
        )
    except GeometryError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise GeometryError(
            f'{source}: wanted a ROS camera calibration (image_width, image_height, '
            f'camera_matrix, distortion_model, distortion_coefficients); '
            f'{type(error).__name__}: {error}'
        ) from error


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
        rectified: the image topic is rectified: use P and no distortion.
        binning: x and y; 0 means 1.
        roi: x offset, y offset, width, height [px, unbinned]; all 0 means the full image.
        name: for messages.

    Raises:
        UncalibratedCameraError: K[0] == 0, or P[0] == 0 for a rectified image.
        GeometryError: values make no sense.

    Source: sensor_msgs/msg/CameraInfo.msg, comments on ROI and binning.
    """
    if rectified:
        camera = Camera(width, height, np.reshape(P, (3, 4))[:, :3], name=name)
    else:
        camera = Camera(width, height, np.array(K), np.array(D), distortion_model, name)
    if all(roi[2:]):
        camera = camera.cropped(*roi)
    return camera.binned(max(binning[0], 1), max(binning[1], 1))
