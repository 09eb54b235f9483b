"""Lens distortion of a rendering: an ideal view that covers the object, bent as the lens bends it.

OpenGL draws straight lines only. So an object is drawn by an ideal camera, at the resolution the
lens gives it where it is, and each pixel of the distorted image looks up its own ray there.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.geometry.camera import Camera, project, unproject
from synth_detect_ros.rendering.renderer import Instance, Layer, Light, Renderer, fill_outline

# Rays are found for every 4th pixel; between them distortion is smooth (error < 0.01 px).
STEP = 4
# Share of the image beyond each border in which silhouettes are still complete.
MARGIN = 0.5
# A ray is valid when it projects back to its pixel this well [px]; beyond, distortion models fold.
TOLERANCE_PX = 0.1
NEWTON_STEPS = 12
# Rays farther from the optical axis than this tangent (75 deg) are not drawn on an image plane.
LARGEST_TANGENT = 3.7
# A point this far from the ray of its own pixel [px of the ideal view] lies where the model folds.
FOLD_PX = 8.0
# Resolution of the ideal view over that of the image where the object is, and its bounds.
OVERSAMPLING = 1.5
SMALLEST_ZOOM, LARGEST_ZOOM = 0.25, 3.0


class Lens:
    """Draws instances as a camera with or without distortion sees them.

    Args:
        camera: intrinsics and distortion.
    """

    def __init__(self, camera: Camera) -> None:
        self.camera = camera
        self._rays = _ray_map(camera) if camera.distorted else None

    def sees(self, pixel: NDArray[np.float64]) -> bool:
        """Whether a ray exists that the lens bends to `pixel` (2,)."""
        ray = unproject(self.camera, pixel[None])
        if self._rays is None:  # without distortion every ray is valid
            return bool((np.abs(ray[0, :2]) <= LARGEST_TANGENT).all())
        return bool(_valid_rays(self.camera, pixel[None], ray)[0])

    def draw(self, renderer: Renderer, instance: Instance, light: Light) -> Layer | None:
        """Draw one instance alone.

        Returns:
            The layer; None when the object reaches so far beyond the image that the lens model
            does not say what it looks like there.

        Raises:
            GeometryError, RenderingError: see `renderer.Renderer.draw`.
        """
        if self._rays is None:
            return renderer.draw(self.camera, instance, light)
        window = self._window(instance)
        if window is None:
            return None
        rays = self._rays[window]
        ideal = _ideal_camera(self.camera, rays)
        return self._bend(renderer.draw(ideal, instance, light), ideal, window)

    def _window(self, instance: Instance) -> tuple[slice, slice] | None:
        """Return rows and columns of the ray map that hold the instance; None: not all of it."""
        assert self._rays is not None
        points = instance.mesh.hull @ instance.pose[:3, :3].T + instance.pose[:3, 3]
        directions = points[:, :2] / points[:, 2:]
        if np.abs(directions).max() > LARGEST_TANGENT or not self._holds(points, directions):
            return None
        # A box in the ideal view has a bent outline in the image: look where its rays are, at
        # every STEP-th pixel, in a box wider by as much.
        nodes, slack = self._rays[::STEP, ::STEP], 2 * STEP / np.diag(self.camera.K)[:2]
        low, high = directions.min(axis=0) - slack, directions.max(axis=0) + slack
        inside = ((nodes >= low) & (nodes <= high)).all(axis=2)
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        return tuple(  # type: ignore[return-value]
            slice(max(STEP * (int(found[0]) - 1), 0), min(STEP * (int(found[-1]) + 1) + 1, size))
            for found, size in zip((rows, columns), self._rays.shape, strict=False)
        )

    def _holds(self, points: NDArray[np.float64], directions: NDArray[np.float64]) -> bool:
        """Whether the ray map holds these points (N, 3): each lies on the ray of its pixel."""
        assert self._rays is not None
        height, width = self._rays.shape[:2]
        x, y = np.rint(project(self.camera, points) + _margins(self.camera)).T
        if not ((x >= 0) & (y >= 0) & (x < width) & (y < height)).all():
            return False
        error = np.abs(self._rays[y.astype(int), x.astype(int)] - directions).max(axis=1)
        return bool((error * self.camera.K[0, 0] < FOLD_PX).all())

    def _bend(self, ideal_layer: Layer, ideal: Camera, window: tuple[slice, slice]) -> Layer:
        assert self._rays is not None
        rays = self._rays[window]
        lookup = rays * np.diag(ideal.K)[:2] + ideal.K[:2, 2] - (ideal_layer.x, ideal_layer.y)
        lookup = np.nan_to_num(lookup, nan=-1e4).astype(np.float32)
        x, y = np.ascontiguousarray(lookup[..., 0]), np.ascontiguousarray(lookup[..., 1])
        colour = np.asarray(cv2.remap(ideal_layer.colour, x, y, cv2.INTER_LINEAR), np.uint8)
        depth = cv2.remap(ideal_layer.depth, x, y, cv2.INTER_NEAREST, borderValue=(np.inf,))
        margin_x, margin_y = _margins(self.camera)
        return Layer(
            window[1].start - margin_x,
            window[0].start - margin_y,
            colour,
            fill_outline(np.asarray(depth, np.float32), colour[..., 3]),
        )


def _margins(camera: Camera) -> tuple[int, int]:
    """Return columns and rows of the ray map beyond each border of the image."""
    x, y = (-(-int(MARGIN * size) // STEP) * STEP for size in camera.size)
    return x, y


def _ray_map(camera: Camera) -> NDArray[np.float32]:
    """Return the rays (h, w, 2) [x/z, y/z] of all pixels of the image and its margin.

    Not a number where the lens model has no ray.
    """
    margin_x, margin_y = _margins(camera)
    counts = (camera.width + 2 * margin_x) // STEP + 1, (camera.height + 2 * margin_y) // STEP + 1
    # A node is the middle of STEP x STEP pixels, which is where cv2.resize takes it from.
    u = np.arange(counts[0]) * STEP - margin_x + (STEP - 1) / 2
    v = np.arange(counts[1]) * STEP - margin_y + (STEP - 1) / 2
    pixels = np.stack(np.meshgrid(u, v), axis=2).reshape(-1, 2)
    rays = _refined(camera, pixels, unproject(camera, pixels))
    rays[~_valid_rays(camera, pixels, rays)] = np.nan
    nodes = rays[:, :2].reshape(counts[1], counts[0], 2).astype(np.float32)
    full = cv2.resize(nodes, None, fx=STEP, fy=STEP, interpolation=cv2.INTER_CUBIC)
    return np.asarray(
        full[: camera.height + 2 * margin_y, : camera.width + 2 * margin_x], np.float32
    )


def _refined(
    camera: Camera, pixels: NDArray[np.float64], rays: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Find by Newton's method the rays (N, 3) that the fixed-point iteration did not."""
    rays = rays.copy()
    wrong = np.flatnonzero(~_valid_rays(camera, pixels, rays))
    rays[wrong] = unproject(camera.ideal(), pixels[wrong])
    for _ in range(NEWTON_STEPS):
        bounded = np.clip(rays[wrong], -2 * LARGEST_TANGENT, 2 * LARGEST_TANGENT)
        error = project(camera, bounded) - pixels[wrong]
        step = 1e-5
        slopes = [
            (project(camera, bounded + step * axis) - project(camera, bounded)) / step
            for axis in np.eye(3)[:2]
        ]
        jacobian = np.stack(slopes, axis=2) + 1e-6 * np.eye(2)
        bounded[:, :2] -= np.linalg.solve(jacobian, error[..., None])[..., 0]
        rays[wrong] = bounded
    return rays


def _valid_rays(
    camera: Camera, pixels: NDArray[np.float64], rays: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return (N,) whether each ray projects back to its pixel and is near enough to the axis."""
    with np.errstate(invalid='ignore'):
        usable = (np.abs(rays[:, :2]) <= LARGEST_TANGENT).all(axis=1)
    error = np.full(len(rays), np.inf)
    error[usable] = np.abs(project(camera, rays[usable]) - pixels[usable]).max(axis=1)
    return error <= TOLERANCE_PX


def _ideal_camera(camera: Camera, rays: NDArray[np.float32]) -> Camera:
    """Return the undistorted camera whose pixels are as dense as those of the image at `rays`."""
    columns = np.abs(np.diff(rays[..., 0], axis=1)) * camera.K[0, 0]
    rows = np.abs(np.diff(rays[..., 1], axis=0)) * camera.K[1, 1]
    spacing = np.nanmedian(np.concatenate([columns.reshape(-1), rows.reshape(-1)]))
    zoom = float(np.clip(OVERSAMPLING / spacing, SMALLEST_ZOOM, LARGEST_ZOOM))
    # Skew is left out: rays are looked up, so any pinhole that covers them will do.
    K = np.diag([camera.K[0, 0] * zoom, camera.K[1, 1] * zoom, 1.0])
    return replace(camera.ideal(), K=K)
