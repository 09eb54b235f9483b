"""The part of the image plane that an instance covers, and the projection that fills it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.errors import GeometryError
from synth_detect_ros.geometry.camera import Camera, opengl_projection, project
from synth_detect_ros.rendering.renderer import Instance

# OpenGL's camera frame (x right, y up, z backward) seen from the ROS optical frame.
T_OPTICAL_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Viewport:
    """A rectangle of pixels around one instance; it may lie beyond the image.

    Attributes:
        x: image column of the first column.
        y: image row of the first row.
        width: columns.
        height: rows.
        near: distance of the near plane, in front of the instance [m].
        far: distance of the far plane, behind the instance [m].
        projection: (4, 4) OpenGL matrix of this rectangle.
        scale: pixels that a step on the instance moves its picture by at most [px/m].
    """

    x: int
    y: int
    width: int
    height: int
    near: float
    far: float
    projection: NDArray[np.float64]
    scale: float

    @classmethod
    def around(cls, camera: Camera, instance: Instance, largest: int) -> Viewport:
        """Return the smallest viewport that holds all of an instance.

        Args:
            camera: intrinsics; lens distortion is ignored.
            instance: what is to be drawn.
            largest: side that OpenGL can draw at most [px].

        Raises:
            GeometryError: part of the instance is on or behind the image plane, or it is so near
                that its picture is too large.
        """
        points = instance.mesh.hull @ instance.pose[:3, :3].T + instance.pose[:3, 3]
        pixels = project(camera.ideal(), points)
        x, y = (int(v) for v in np.floor(pixels.min(axis=0)))
        right, bottom = (int(v) for v in np.ceil(pixels.max(axis=0)))
        width, height = right - x + 1, bottom - y + 1
        if max(width, height) > largest:
            raise GeometryError(
                f'an object of {width}x{height} px is too near for this camera; '
                f'the largest picture OpenGL can draw here has {largest} px'
            )
        near, far = 0.9 * float(points[:, 2].min()), 1.1 * float(points[:, 2].max())
        projection = opengl_projection(camera.cropped(x, y, width, height), near, far)
        steepest = np.linalg.norm(points, axis=1) / points[:, 2] ** 2  # of x/z and y/z
        scale = float(np.diag(camera.K)[:2].max() * steepest.max())
        return cls(x, y, width, height, near, far, projection, scale)
