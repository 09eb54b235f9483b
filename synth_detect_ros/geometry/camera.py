"""Cameras: THE pixel convention, intrinsics, lens distortion and the OpenGL matrix.

Camera frame = ROS optical frame: x right, y down, z forward, metres. Pixel coordinates put
integers at pixel *centres*, as OpenCV and ROS do: column u spans [u - 0.5, u + 0.5], so the image
spans [-0.5, width - 0.5]. OpenGL measures from the image's edge, which is why `opengl_projection`
uses cx + 0.5 and cy + 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from synth_detect_ros.errors import GeometryError, UncalibratedCameraError

# ROS distortion models and the numbers of coefficients OpenCV takes for each.
DISTORTION_MODELS: dict[str, tuple[int, ...]] = {
    'plumb_bob': (0, 4, 5),
    'rational_polynomial': (8, 12, 14),
    'equidistant': (0, 4),
}
# Other names of the same models: of drivers, OpenCV and Kalibr.
_OTHER_NAMES = {
    'fisheye': 'equidistant',
    'equi': 'equidistant',
    'radtan': 'plumb_bob',
    'rational': 'rational_polynomial',
}
CALIBRATION_ADVICE = (
    'calibrate it (ros2 run camera_calibration cameracalibrator) or give its horizontal field of '
    'view with the option camera_hfov_deg'
)


@dataclass(frozen=True, eq=False)
class Camera:
    """Intrinsics of one image size.

    Attributes:
        width: image width [px].
        height: image height [px].
        K: (3, 3) float64 intrinsic matrix [px], integers at pixel centres.
        D: (n,) float64 distortion coefficients in OpenCV's order; empty or zero for none.
        distortion_model: 'plumb_bob' (radtan), 'rational_polynomial' or 'equidistant' (fisheye).
        name: name of the camera, for people.

    Raises:
        UncalibratedCameraError: the focal length is zero.
        GeometryError: shapes, sizes or the distortion model make no sense.
    """

    width: int
    height: int
    K: NDArray[np.float64]
    D: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    distortion_model: str = 'plumb_bob'
    name: str = 'camera'

    def __post_init__(self) -> None:
        object.__setattr__(self, 'K', np.asarray(self.K, np.float64).reshape(3, 3))
        object.__setattr__(self, 'D', np.asarray(self.D, np.float64).reshape(-1))
        if self.width < 1 or self.height < 1:
            raise GeometryError(
                f'camera {self.name!r}: wanted an image of at least 1x1 pixels, '
                f'got {self.width}x{self.height}'
            )
        if self.K[0, 0] == 0:
            raise UncalibratedCameraError(
                f'camera {self.name!r} is not calibrated (K[0] == 0): {CALIBRATION_ADVICE}'
            )
        if not (np.isfinite(self.K).all() and self.K[0, 0] > 0 and self.K[1, 1] > 0):
            raise GeometryError(
                f'camera {self.name!r}: focal lengths must be > 0, K is {self.K.tolist()}'
            )
        if self.K[1, 0] or self.K[2, 0] or self.K[2, 1]:
            raise GeometryError(
                f'camera {self.name!r}: wanted K as fx, skew, cx, 0, fy, cy, 0, 0, 1, row by row, '
                f'got {self.K.reshape(-1).tolist()}'
            )
        self._check_distortion()

    def _check_distortion(self) -> None:
        if not np.isfinite(self.D).all():
            raise GeometryError(
                f'camera {self.name!r}: distortion coefficients must be finite, got '
                f'{self.D.tolist()}'
            )
        model = _OTHER_NAMES.get(self.distortion_model, self.distortion_model)
        object.__setattr__(self, 'distortion_model', model)
        if self.distortion_model not in DISTORTION_MODELS:
            if len(self.D) and self.D.any():
                raise GeometryError(
                    f'camera {self.name!r}: distortion model {self.distortion_model!r} is not '
                    f'known. Choose one of {", ".join(DISTORTION_MODELS)}.'
                )
            object.__setattr__(self, 'distortion_model', 'plumb_bob')
        counts = DISTORTION_MODELS[self.distortion_model]
        if not self.D.any():
            object.__setattr__(self, 'D', np.zeros(0))
        elif len(self.D) not in counts:
            raise GeometryError(
                f'camera {self.name!r}: {self.distortion_model} takes '
                f'{" or ".join(map(str, counts))} coefficients, got {len(self.D)}'
            )

    @property
    def size(self) -> tuple[int, int]:
        """Width and height [px]."""
        return self.width, self.height

    @property
    def distorted(self) -> bool:
        """Whether the lens bends straight lines: any coefficient is not zero."""
        return len(self.D) > 0

    def __eq__(self, other: object) -> bool:
        """Equal intrinsics; the name does not count."""
        return isinstance(other, Camera) and (
            self.size == other.size
            and self.distortion_model == other.distortion_model
            and np.array_equal(self.K, other.K)
            and np.array_equal(self.D, other.D)
        )

    @classmethod
    def from_fov(cls, width: int, height: int, hfov_deg: float, name: str = 'camera') -> Camera:
        """Ideal camera with square pixels and a horizontal field of view in (0, 180) deg.

        Raises:
            GeometryError: the field of view is another, or so small that it must be in radians.
        """
        if not 0 < hfov_deg < 180:
            raise GeometryError(f'a field of view lies between 0 and 180 deg, got {hfov_deg}')
        if hfov_deg < np.pi:
            raise GeometryError(
                f'a field of view is given in degrees; {hfov_deg:g} looks like radians, which are '
                f'{np.rad2deg(hfov_deg):.1f} deg. Give the calibration of a lens so long.'
            )
        f = width / 2 / np.tan(np.deg2rad(hfov_deg) / 2)
        K = [[f, 0, (width - 1) / 2], [0, f, (height - 1) / 2], [0, 0, 1]]
        return cls(width, height, np.array(K), name=name)

    def to_calibration(self) -> dict[str, Any]:
        """Return a ROS calibration; `calibration.camera_from_calibration` reads it back."""

        def matrix(values: NDArray[np.float64]) -> dict[str, Any]:
            rows, cols = values.shape
            return {'rows': rows, 'cols': cols, 'data': [float(v) for v in values.reshape(-1)]}

        D = self.D if len(self.D) else np.zeros(5 if self.distortion_model == 'plumb_bob' else 4)
        return {
            'image_width': self.width,
            'image_height': self.height,
            'camera_name': self.name,
            'camera_matrix': matrix(self.K),
            'distortion_model': self.distortion_model,
            'distortion_coefficients': matrix(D[None]),
            'rectification_matrix': matrix(np.eye(3)),
            'projection_matrix': matrix(np.hstack([self.K, np.zeros((3, 1))])),
        }

    def cropped(self, x: int, y: int, width: int, height: int) -> Camera:
        """Camera of the sub-image whose first pixel is column x, row y; may lie outside."""
        K = self.K.copy()
        K[0, 2] -= x
        K[1, 2] -= y
        return replace(self, width=width, height=height, K=K)

    def binned(self, binning_x: int, binning_y: int) -> Camera:
        """Camera of the image whose pixels are the means of binning_x x binning_y pixels."""
        size = self.width // binning_x, self.height // binning_y
        return self._scaled(1 / binning_x, 1 / binning_y, size)

    def resized(self, width: int, height: int) -> Camera:
        """Camera of the whole image, resized.

        Args:
            width: of the result [px].
            height: of the result, that its width gives, but for rounding [px].

        Raises:
            GeometryError: the ratio of width and height is another, so that the image is not
                resized alone but cropped, and nobody knows where.
        """
        # The smaller image has the size that was rounded.
        (small, low), (large, high) = sorted([self.size, (width, height)])
        if abs(high * small / large - low) >= 1:
            raise GeometryError(
                f'camera {self.name!r}: wanted a calibration of images of {width}x{height} '
                f'pixels, got one of {self.width}x{self.height}, another ratio of width and '
                'height. Calibrate this mode of the camera, or give its calibration or field of '
                'view.'
            )
        return self._scaled(width / self.width, height / self.height, (width, height))

    def _scaled(self, x: float, y: float, size: tuple[int, int]) -> Camera:
        scale = np.array([x, y])
        K = self.K.copy()
        K[:2] *= scale[:, None]
        K[:2, 2] = (self.K[:2, 2] + 0.5) * scale - 0.5
        return replace(self, width=size[0], height=size[1], K=K)

    def ideal(self) -> Camera:
        """The same intrinsics without lens distortion."""
        return replace(self, D=np.zeros(0)) if self.distorted else self


def project(camera: Camera, points: ArrayLike) -> NDArray[np.float64]:
    """Project camera-frame points to pixels, lens distortion included.

    Args:
        camera: intrinsics and distortion of the image the pixels belong to.
        points: (N, 3) points in the camera frame [m], z > 0.

    Returns:
        (N, 2) pixel coordinates, integer values at pixel centres; (0, 2) for no points.

    Raises:
        GeometryError: a point lies on or behind the image plane.

    Source: Hartley & Zisserman 2004, eq. 6.9; distortion as in OpenCV's `projectPoints`.
    """
    xyz = np.asarray(points, np.float64).reshape(-1, 3)
    if not len(xyz):
        return np.zeros((0, 2))
    if (xyz[:, 2] <= 0).any():
        raise GeometryError('points to project must lie in front of the camera (z > 0)')
    if not camera.distorted:
        return (xyz[:, :2] / xyz[:, 2:]) @ camera.K[:2, :2].T + camera.K[:2, 2]
    zero = np.zeros(3)
    if camera.distortion_model == 'equidistant':
        pixels, _ = cv2.fisheye.projectPoints(xyz[None], zero, zero, camera.K, camera.D)
    else:
        pixels, _ = cv2.projectPoints(xyz, zero, zero, camera.K, camera.D)
    return np.asarray(pixels, np.float64).reshape(-1, 2)


def unproject(camera: Camera, pixels: ArrayLike) -> NDArray[np.float64]:
    """Turn pixels into camera-frame rays, lens distortion removed; inverse of `project`.

    Args:
        camera: intrinsics and distortion.
        pixels: (N, 2) pixel coordinates.

    Returns:
        (N, 3) rays with z = 1.
    """
    uv = np.asarray(pixels, np.float64).reshape(-1, 1, 2)
    if not len(uv):
        return np.zeros((0, 3))
    if not camera.distorted:
        xy = (uv[:, 0] - camera.K[:2, 2]) @ np.linalg.inv(camera.K[:2, :2]).T
    elif camera.distortion_model == 'equidistant':
        xy = cv2.fisheye.undistortPoints(uv, camera.K, camera.D).reshape(-1, 2)
    else:
        # OpenCV's default of five fixed-point steps leaves whole pixels of error in wide lenses.
        criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-10)
        # OpenCV 4 keeps the variant with a stopping rule under a name of its own.
        undistort = getattr(cv2, 'undistortPointsIter', cv2.undistortPoints)
        rays = undistort(uv, camera.K, camera.D, R=None, P=None, criteria=criteria)
        xy = rays.reshape(-1, 2)
    return np.hstack([xy, np.ones((len(xy), 1))])


def opengl_projection(camera: Camera, near: float, far: float) -> NDArray[np.float64]:
    """Return the OpenGL projection matrix of the undistorted camera.

    Args:
        camera: intrinsics; distortion is ignored.
        near: distance of the near plane [m], > 0.
        far: distance of the far plane [m], > near.

    Returns:
        (4, 4) float64, for points in OpenGL's camera frame (x right, y up, z backward).
    """
    K, (width, height) = camera.K, camera.size
    matrix = np.zeros((4, 4))
    matrix[0, 0] = 2 * K[0, 0] / width
    matrix[0, 1] = -2 * K[0, 1] / width
    matrix[0, 2] = 1 - 2 * (K[0, 2] + 0.5) / width
    matrix[1, 1] = 2 * K[1, 1] / height
    matrix[1, 2] = 2 * (K[1, 2] + 0.5) / height - 1
    matrix[2, 2:] = (far + near) / (near - far), 2 * far * near / (near - far)
    matrix[3, 2] = -1
    return matrix
