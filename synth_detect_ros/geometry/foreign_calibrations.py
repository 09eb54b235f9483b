"""Calibration files of other tools, made into that of ROS: OpenCV's and Kalibr's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synth_detect_ros.errors import GeometryError

_ROS_KEYS = ('image_width', 'image_height', 'camera_matrix', 'distortion_coefficients')
# Kalibr's models of the lens that a pinhole camera may have, by what ROS calls them.
_KALIBR_MODELS = {'radtan': 'plumb_bob', 'equidistant': 'equidistant', 'none': 'plumb_bob'}


def ros_calibration(content: Any, source: str) -> Any:
    """Return a calibration as the mapping of ROS's calibration files.

    Args:
        content: what a calibration file of ROS, OpenCV (`camera_matrix` with `dt`, as OpenCV's
            calibration programs write it) or Kalibr (camchain) holds.
        source: file, for messages.

    Returns:
        The mapping; what is of no known form comes back as it is.

    Raises:
        GeometryError: the file describes several cameras, or one that no model of ROS fits.

    Source: OpenCV, samples/cpp/calibration.cpp; https://github.com/ethz-asl/kalibr/wiki/yaml-formats.
    """
    if not isinstance(content, Mapping):
        return content
    cameras = {
        str(name): camera
        for name, camera in content.items()
        if isinstance(camera, Mapping) and {'intrinsics', 'camera_model'} <= set(camera)
    }
    if len(cameras) > 1:
        raise GeometryError(
            f'{source}: wanted the calibration of one camera, got {", ".join(cameras)}. Keep the '
            'one in it.'
        )
    if cameras:
        name, camera = cameras.popitem()
        return _from_kalibr(name, camera, f'{source}: {name}')
    return content if 'distortion_model' in content else _from_opencv(content)


def _from_kalibr(name: str, camera: Mapping[str, Any], source: str) -> dict[str, Any]:
    kind, model = str(camera['camera_model']), str(camera.get('distortion_model', 'none'))
    if kind != 'pinhole' or model not in _KALIBR_MODELS:
        raise GeometryError(
            f'{source}: camera model {kind}-{model} is none of ROS. Calibrate with '
            'pinhole-radtan or pinhole-equi.'
        )
    try:
        fx, fy, cx, cy = camera['intrinsics']
        width, height = camera['resolution']
    except (KeyError, TypeError, ValueError) as error:
        raise GeometryError(
            f'{source}: wanted intrinsics: [fu, fv, pu, pv] and resolution: [width, height]; '
            f'{type(error).__name__}: {error}'
        ) from error
    return {
        'image_width': width,
        'image_height': height,
        'camera_name': name,
        'camera_matrix': {'data': [fx, 0, cx, 0, fy, cy, 0, 0, 1]},
        'distortion_model': _KALIBR_MODELS[model],
        'distortion_coefficients': {'data': camera.get('distortion_coeffs') or []},
    }


def _from_opencv(content: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """Return a calibration of OpenCV with the names of ROS; older versions write capitals."""
    found = {str(key).lower(): value for key, value in content.items()}
    coefficients = found.get('distortion_coefficients')
    if not set(_ROS_KEYS) <= set(found) or not isinstance(coefficients, Mapping):
        return content
    data = coefficients.get('data')
    count = len(data) if isinstance(data, list) else 0
    model = 'rational_polynomial' if count > 5 else 'plumb_bob'
    if found.get('fisheye_model'):
        model = 'equidistant'
    return {**{key: found[key] for key in _ROS_KEYS}, 'distortion_model': model}
