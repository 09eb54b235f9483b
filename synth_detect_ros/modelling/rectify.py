"""A flat face of an object, seen at a slant in a photograph, as if seen from straight ahead."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.errors import GeometryError
from synth_detect_ros.geometry.camera import Camera, project, unproject

Image = NDArray[np.uint8]
# Sides of a face in a photograph below this show no print [px].
SMALLEST_SIDE = 8.0
# Rows of a result that are made at a time.
STRIP = 64
# Variance below which a face has no contrast but rounding [grey levels^2].
FLAT = 0.1


def check_corners(corners: NDArray[np.float64], width: int, height: int) -> None:
    """Check that four corners are those of a flat face seen from its front.

    Args:
        corners: (4, 2) upper left, upper right, lower right, lower left as the print reads [px].
        width: of the photograph [px].
        height: of the photograph [px].

    Raises:
        GeometryError: a corner lies outside of the photograph, or the outline crosses itself, is
            bent inward, runs the wrong way round or is too small.
    """
    names = ('upper left', 'upper right', 'lower right', 'lower left')
    for name, (x, y) in zip(names, corners.tolist(), strict=True):
        if not (-0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5):
            raise GeometryError(
                f'the {name} corner ({x:g}, {y:g}) lies outside of the photograph of '
                f'{width} x {height} px'
            )
    sides = np.roll(corners, -1, axis=0) - corners
    turns = np.sign(_cross(sides, np.roll(sides, -1, axis=0)))
    if (turns < 0).all():
        raise GeometryError(
            'the corners run counter-clockwise: wanted upper left, upper right, lower right, '
            'lower left as the print reads; mirrored photographs cannot be used'
        )
    if not (turns > 0).all():
        raise GeometryError(
            'the outline of the corners crosses itself or is bent inward: wanted upper left, '
            'upper right, lower right, lower left as the print reads'
        )
    shortest = float(np.linalg.norm(sides, axis=1).min())
    if shortest < SMALLEST_SIDE:
        raise GeometryError(
            f'a side of the face is {shortest:.1f} px long, wanted {SMALLEST_SIDE:.0f} or more: '
            'take a photograph that shows it larger'
        )


def _cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0], np.float64)


def face_extent(corners: NDArray[np.float64]) -> tuple[float, float]:
    """Return the longer of the horizontal sides and of the vertical sides of a face [px].

    Args:
        corners: (4, 2), see `check_corners`.
    """
    a, b, c, d = corners
    sides = [float(np.linalg.norm(end - start)) for start, end in ((a, b), (d, c), (a, d), (b, c))]
    return max(sides[:2]), max(sides[2:])


def rectify(
    photograph: Image,
    corners: NDArray[np.float64],
    size: tuple[int, int],
    camera: Camera | None = None,
) -> Image:
    """Resample a flat face to a rectangle.

    Where the photograph has more pixels than the result, their mean is taken, so that fine print
    becomes grey and does not alias.

    Args:
        photograph: (H, W, 3) uint8 RGB.
        corners: (4, 2), see `check_corners`; of the outline of the face, so that the middle of
            the first texel lies half a texel inside of it.
        size: (width, height) of the result [px].
        camera: intrinsics of the photograph, whose lens distortion is taken out; None: it has
            none.

    Returns:
        (height, width, 3) uint8 RGB.

    Source: Hartley & Zisserman 2004, sec. 2.3 and 4.1, the homography of four points.
    """
    plane = corners if camera is None else unproject(camera, corners)[:, :2]
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    transform = cv2.getPerspectiveTransform(square, plane.astype(np.float32))
    homography = np.asarray(transform, np.float64)
    extent = face_extent(corners)
    across, down = (max(1, int(np.ceil(e / n))) for e, n in zip(extent, size, strict=True))
    u = (np.arange(size[0] * across) + 0.5) / (size[0] * across)
    strips = []
    for top in range(0, size[1], STRIP):  # a photograph of 50 megapixels would take gigabytes
        rows = min(STRIP, size[1] - top)
        v = (np.arange(top * down, (top + rows) * down) + 0.5) / (size[1] * down)
        x, y = _lookup(homography, u, v, camera)
        strip = cv2.remap(photograph, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        strips.append(cv2.resize(strip, (size[0], rows), interpolation=cv2.INTER_AREA))
    return np.asarray(np.vstack(strips), np.uint8)


def _lookup(
    homography: NDArray[np.float64],
    u: NDArray[np.float64],
    v: NDArray[np.float64],
    camera: Camera | None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return columns and rows (len(v), len(u)) of the photograph where texels are seen."""
    points = np.stack([*np.meshgrid(u, v), np.ones((len(v), len(u)))], axis=2) @ homography.T
    points /= points[..., 2:]
    if camera is not None:
        points = project(camera, points.reshape(-1, 3)).reshape(len(v), len(u), 2)
    pixels = points.astype(np.float32)
    return np.ascontiguousarray(pixels[..., 0]), np.ascontiguousarray(pixels[..., 1])


def sharpness(face: Image) -> float:
    """Return how much of a face's contrast is fine detail; comparable at one size only.

    The variance of the Laplacian over the variance of the grey levels, both after a blur that
    hides the noise of single pixels.

    Args:
        face: (h, w, 3) uint8 RGB.
    """
    grey = cv2.GaussianBlur(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1)
    spread = float(grey.var())
    return float(cv2.Laplacian(grey, cv2.CV_32F).var()) / spread if spread > FLAT else 0.0
