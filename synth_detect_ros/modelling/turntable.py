"""A picture of an object from all sides, as the renderer of the training images draws it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.geometry.camera import Camera
from synth_detect_ros.rendering.backends import get_renderer
from synth_detect_ros.rendering.meshes.mesh import Mesh
from synth_detect_ros.rendering.renderer import Canvas, Instance, Light

# Views: turns around the upright axis, in two rows seen from above and from below.
TURNS, ELEVATIONS_DEG = 4, (30.0, -30.0)
CELL = 320  # side of one view [px]
FIELD_OF_VIEW_DEG = 30.0
MARGIN = 1.15  # distance over the least one at which all of the object is in view
PAPER = 255


def turntable(mesh: Mesh) -> NDArray[np.uint8]:
    """Draw an object at a quarter turn each, from above and from below; z is up.

    Args:
        mesh: the object.

    Returns:
        (2 * CELL, 4 * CELL, 3) uint8 RGB on white.

    Raises:
        RenderingError: there is no usable OpenGL.
    """
    azimuths = 360.0 / TURNS * (np.arange(TURNS) + 0.5)
    rows = [
        np.hstack([_view(mesh, azimuth, elevation) for azimuth in azimuths])
        for elevation in ELEVATIONS_DEG
    ]
    return np.vstack(rows)


def view_pose(mesh: Mesh, azimuth_deg: float, elevation_deg: float) -> NDArray[np.float64]:
    """Return T_camera_object (4, 4) [m] with the object's middle ahead and its z axis upright.

    Args:
        mesh: the object.
        azimuth_deg: of the camera around z; 0: in front, at negative y [deg].
        elevation_deg: of the camera above the xy plane [deg].
    """
    a, e = np.deg2rad([azimuth_deg, elevation_deg])
    towards = np.array([np.sin(a) * np.cos(e), -np.cos(a) * np.cos(e), np.sin(e)])
    right = np.array([np.cos(a), np.sin(a), 0.0])
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(right, towards), -towards])
    distance = MARGIN * mesh.radius / np.sin(np.deg2rad(FIELD_OF_VIEW_DEG / 2))
    pose[:3, 3] = [0, 0, distance] - pose[:3, :3] @ mesh.centre
    return pose


def _view(mesh: Mesh, azimuth_deg: float, elevation_deg: float) -> NDArray[np.uint8]:
    camera = Camera.from_fov(CELL, CELL, FIELD_OF_VIEW_DEG)
    canvas = Canvas(CELL, CELL)
    pose = view_pose(mesh, azimuth_deg, elevation_deg)
    canvas.add(get_renderer().draw(camera, Instance(mesh, pose), Light()))
    alpha = canvas.colour[..., 3:].astype(np.uint16)
    return np.asarray(canvas.colour[..., :3] + (PAPER * (255 - alpha) // 255), np.uint8)
