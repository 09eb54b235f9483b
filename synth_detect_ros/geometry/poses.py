"""Which object, seen from where: an even enumeration of the pose space by an index.

Rotations as Hinterstoisser et al. 2017, sec. 3.1: vertices of a recursively divided icosahedron
for the two out-of-plane angles, equally spaced in-plane turns; scale logarithmic; position
uniform over the image. The order is coarse to fine: a short run covers everything already.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from synth_detect_ros.config import PoseConfig
from synth_detect_ros.errors import GeometryError

# Streams of random numbers, so that no two uses share one.
_ORDER_STREAM, _PERMUTATION_STREAM, _COUNT_STREAM = 11, 12, 13
# The root of x^4 = x + 1: its powers are the most evenly spread directions in three dimensions
# (Roberts 2018, "The unreasonable effectiveness of quasirandom sequences").
_PHI_3 = 1.2207440846057596


@lru_cache(maxsize=8)
def icosphere(level: int) -> NDArray[np.float64]:
    """Return the vertices of an icosahedron whose triangles were divided `level` times.

    Returns:
        (10 * 4^level + 2, 3) float64 unit vectors.
    """
    g = (1 + 5**0.5) / 2
    signs = [(a, b) for a in (-1, 1) for b in (-g, g)]
    points = np.array([p for a, b in signs for p in ((0, a, b), (a, b, 0), (b, 0, a))], np.float64)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    gram = points @ points.T
    near = (gram > 0.4) & (gram < 0.6)  # neighbours of an icosahedron: cosine 1/sqrt(5)
    faces = np.array([
        (i, j, k)
        for i in range(12) for j in range(i + 1, 12) for k in range(j + 1, 12)
        if near[i, j] and near[j, k] and near[i, k]
    ])  # fmt: skip
    for _ in range(level):
        edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
        unique, index = np.unique(edges, axis=0, return_inverse=True)
        middles = points[unique].sum(axis=1)
        m = index.reshape(-1, 3) + len(points)
        points = np.vstack([points, middles / np.linalg.norm(middles, axis=1, keepdims=True)])
        a, b, c = faces.T
        ab, bc, ca = m.T
        split = np.array([(a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca)])
        faces = split.transpose(0, 2, 1).reshape(-1, 3)
    points.setflags(write=False)
    return points


def coarse_to_fine(points: NDArray[np.float64], first: int) -> NDArray[np.int64]:
    """Return an order of (N, 3) unit vectors in which each is the farthest from all before it."""
    order = np.empty(len(points), np.int64)
    nearest = np.full(len(points), np.inf)
    index = first
    for k in range(len(points)):
        order[k] = index
        nearest = np.minimum(nearest, 1 - points @ points[index])
        nearest[index] = -1
        index = int(np.argmax(nearest))
    return order


def view_rotation(view: ArrayLike, turn_rad: float) -> NDArray[np.float64]:
    """Return R_camera_object of a camera that looks at the object along its optical axis.

    Args:
        view: (3,) unit vector from the object to the camera, in the object's frame.
        turn_rad: in-plane turn [rad]; at 0 the object's z axis points up in the image.
    """
    x, y, z = (-float(v) for v in np.asarray(view))  # forward
    # The cross product of forward and up: the z axis, or y where that is the line of sight.
    a, b, c = (y, -x, 0.0) if abs(z) < 1 - 1e-9 else (-z, 0.0, x)
    length = math.hypot(a, b, c)
    a, b, c = a / length, b / length, c / length
    level = np.array([[a, b, c], [y * c - z * b, z * a - x * c, x * b - y * a], [x, y, z]])
    cos, sin = math.cos(turn_rad), math.sin(turn_rad)
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ level


def ray_rotation(ray: ArrayLike) -> NDArray[np.float64]:
    """Return the smallest rotation that turns the optical axis (0, 0, 1) onto `ray` (3,).

    Applied to `view_rotation`, an object beside the optical axis shows the side that was asked
    for. Source: Rodrigues' formula for two unit vectors.
    """
    x, y, z = np.asarray(ray, np.float64) / np.linalg.norm(ray)
    cross = np.array([[0, 0, x], [0, 0, y], [-x, -y, 0]])
    return np.eye(3) + cross + cross @ cross / (1 + z)


@dataclass(frozen=True)
class Placement:
    """One point of the pose space.

    Attributes:
        rotation: (3, 3) R_camera_object as seen along the optical axis.
        distance: where in the logarithmic range of distances, in [0, 1).
        position: where in the image, right and down, each in [0, 1).
    """

    rotation: NDArray[np.float64]
    distance: float
    position: tuple[float, float]


class PoseSequence:
    """All poses of one object in an even order; element r is a pure function of (config, seed, r).

    Every pair of view and in-plane turn comes exactly once in `len(self)` elements.

    Args:
        config: views, turns and their limits.
        seed: another seed, another order and other offsets.

    Raises:
        GeometryError: no view lies in the range of elevations.
    """

    def __init__(self, config: PoseConfig, seed: tuple[int, ...]) -> None:
        views = icosphere(config.view_level)
        elevation = np.rad2deg(np.arcsin(np.clip(views[:, 2], -1, 1)))
        low, high = config.elevation_deg
        views = views[(elevation >= low - 1e-6) & (elevation <= high + 1e-6)]
        if not len(views):
            raise GeometryError(
                f'no view of level {config.view_level} has an elevation of {low} to {high} deg; '
                'widen elevation_deg or raise view_level'
            )
        rng = np.random.default_rng((_ORDER_STREAM, *seed))
        self._views = views[coarse_to_fine(views, int(rng.integers(len(views))))]
        self._turns = _turns(config)
        self._offsets = rng.integers(len(self._turns), size=len(views))
        self._stride = _coprime_near_golden(len(self._turns))
        self._shift = rng.random(3)

    def __len__(self) -> int:
        """Return the number of distinct rotations."""
        return len(self._views) * len(self._turns)

    def __getitem__(self, ordinal: int) -> Placement:
        """Return element `ordinal`, any number from 0."""
        cycle, view = divmod(ordinal, len(self._views))
        turn = (int(self._offsets[view]) + cycle * self._stride) % len(self._turns)
        distance, u, v = (self._shift + (ordinal + 1) * _PHI_3 ** -np.arange(1.0, 4.0)) % 1
        rotation = view_rotation(self._views[view], float(self._turns[turn]))
        return Placement(rotation, float(distance), (float(u), float(v)))


def _turns(config: PoseConfig) -> NDArray[np.float64]:
    """Return the in-plane turns [rad]; a full circle has no turn twice."""
    low, high = np.deg2rad(config.inplane_deg)
    count = config.inplane_turns
    if count == 1:
        return np.array([(low + high) / 2])
    return np.linspace(low, high, count, endpoint=high - low < 2 * np.pi - 1e-9)


def _coprime_near_golden(count: int) -> int:
    """Return a step that visits 0..count-1 all once and leaves no large gap for long."""
    golden = round(count * 0.6180339887498949)
    steps = sorted(range(1, count + 1), key=lambda step: abs(step - golden))
    return next(step for step in steps if np.gcd(step, count) == 1)


def distance_range(
    config: PoseConfig, diameter: float, focal_px: float, short_side_px: int
) -> tuple[float, float]:
    """Return the nearest and farthest distance [m] of an object from the camera.

    Either `distance_m`, or the distances at which the object appears as large as `size_fraction`
    of the image's shorter side.
    """
    if config.distance_m is not None:
        return config.distance_m
    small, large = config.size_fraction
    scale = focal_px * diameter / short_side_px
    return scale / large, scale / small


def log_interpolate(low: float, high: float, share: float) -> float:
    """Return the number between low and high, both > 0, at `share` of the way in logarithms."""
    return float(low * (high / low) ** share)


class Schedule:
    """Which objects stand in which image, as pure functions of the image index.

    Over each block of images every number of targets occurs once; over each round every object
    occurs once. Nothing is stored, so that any worker can start anywhere.

    Args:
        objects: number of target objects.
        targets: least and largest number of targets in an image.
        seed: another seed, another order.
    """

    def __init__(self, objects: int, targets: tuple[int, int], seed: int) -> None:
        self._objects, self._seed = objects, seed
        self._counts = np.arange(targets[0], targets[1] + 1)

    def slots(self, image: int) -> list[tuple[int, int]]:
        """Return (object, ordinal of its pose) of each target in image `image`."""
        return [self._slot(k) for k in range(self.before(image), self.before(image + 1))]

    def before(self, image: int) -> int:
        """Return the number of targets in all images before image `image`."""
        block, place = divmod(image, len(self._counts))
        order = self._permutation(_COUNT_STREAM, block, len(self._counts))
        return block * int(self._counts.sum()) + int(self._counts[order][:place].sum())

    def _slot(self, ordinal: int) -> tuple[int, int]:
        cycle, place = divmod(ordinal, self._objects)
        return int(self._permutation(_PERMUTATION_STREAM, cycle, self._objects)[place]), cycle

    def _permutation(self, stream: int, number: int, size: int) -> NDArray[np.int64]:
        return np.random.default_rng((stream, self._seed, number)).permutation(size)
