"""Distractors for those who have no other CAD files: textured boxes, cylinders and spheres.

Half of them carry parts of the user's own background frames, the others patterns. They teach the
detector what is not the object: an edge, a print, a colour (Tremblay et al. 2018 call such solids
flying distractors).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.rendering.meshes.mesh import Mesh, part_of_corners
from synth_detect_ros.rendering.meshes.surface import twice_area
from synth_detect_ros.rendering.objects import ObjectModel, PoseLimits

Image = NDArray[np.uint8]
Points = NDArray[np.float64]
# How many there are; a third of each shape.
COUNT = 24
# Shortest and longest side of a solid over the diameter of the objects it distracts from.
SIDE = (0.15, 0.8)
TEXTURE = 256  # side of a texture [px]
# Sides of a cylinder and meridians of a sphere, and circles of latitude.
SEGMENTS, CIRCLES = 32, 16
# Side of the part of a photograph that becomes a texture, over its shorter side.
CROP = (0.2, 0.8)


def primitives(
    rng: np.random.Generator,
    photographs: Sequence[Image],
    diameter: float,
) -> list[ObjectModel]:
    """Return textured solids of random size, about as large as the objects they distract from.

    Args:
        rng: of shapes, sizes and textures.
        photographs: (H, W, 3) uint8 RGB images whose parts become textures of every other solid;
            without any, all have patterns.
        diameter: of the objects they distract from [m].
    """
    shapes: list[Callable[[np.random.Generator], tuple[Points, Points]]] = [box, cylinder, sphere]
    models = []
    for number in range(COUNT):
        shape = shapes[number % len(shapes)]
        positions, uv = shape(rng)
        photographic = bool(photographs) and number // len(shapes) % 2 == 0
        texture = _photograph(rng, photographs) if photographic else _pattern(rng)
        white = np.full((len(positions), 3), 255, np.uint8)
        part = part_of_corners(positions * diameter, white, uv.astype(np.float32), texture)
        mesh = Mesh((part,), closed=True)
        models.append(ObjectModel(f'{shape.__name__}_{number:02d}', mesh, PoseLimits()))
    return models


def box(rng: np.random.Generator) -> tuple[Points, Points]:
    """Return corners of triangles (3F, 3) and texture coordinates (3F, 2) of a box."""
    half = rng.uniform(*SIDE, 3) / 2
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 0], [1, 1], [0, 1]], np.float64)
    positions, uv = [], []
    for axis in range(3):
        for sign in (-1, 1):
            face = np.empty((6, 3))
            face[:, axis] = sign
            # Seen from outside, the other two axes run counter-clockwise.
            face[:, [(axis + 1) % 3, (axis + 2) % 3][::sign]] = 2 * square - 1
            positions.append(face * half)
            uv.append(square)
    return np.concatenate(positions), np.concatenate(uv)


def cylinder(rng: np.random.Generator) -> tuple[Points, Points]:
    """Return corners of triangles (3F, 3) and texture coordinates (3F, 2) of a cylinder."""
    radius, height = rng.uniform(*SIDE, 2) / 2
    angle = np.linspace(0, 2 * np.pi, SEGMENTS + 1)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    low, high = (
        np.column_stack([radius * circle, np.full(len(circle), z)]) for z in (-height, height)
    )
    u = np.linspace(0, 1, SEGMENTS + 1)
    around = (
        _strip(low, high),
        _strip(np.column_stack([u, 0 * u]), np.column_stack([u, 0 * u + 1])),
    )
    caps = []
    for ring in (low, high):
        middle = np.broadcast_to([0, 0, ring[0, 2]], (SEGMENTS, 3))
        rim = (ring[1:], ring[:-1]) if ring is low else (ring[:-1], ring[1:])
        caps.append(np.stack([middle, *rim], axis=1).reshape(-1, 3))
    lids = np.concatenate(caps)
    return np.concatenate([around[0], lids]), np.concatenate(
        [around[1], lids[:, :2] / radius / 2 + 0.5]
    )


def sphere(rng: np.random.Generator) -> tuple[Points, Points]:
    """Return corners of triangles (3F, 3) and texture coordinates (3F, 2) of a sphere."""
    radius = rng.uniform(*SIDE) / 2
    u, v = np.linspace(0, 1, SEGMENTS + 1), np.linspace(0, 1, CIRCLES + 1)
    longitude, latitude = 2 * np.pi * u, np.pi * (v - 0.5)
    rings = [
        radius
        * np.stack(
            [np.cos(longitude) * np.cos(t), np.sin(longitude) * np.cos(t), 0 * u + np.sin(t)],
            axis=1,
        )
        for t in latitude
    ]
    lines = [np.column_stack([u, 0 * u + t]) for t in v]
    pairs = list(zip(rings[:-1], rings[1:], lines[:-1], lines[1:], strict=True))
    positions = np.concatenate([_strip(a, b) for a, b, _, _ in pairs])
    uv = np.concatenate([_strip(a, b) for _, _, a, b in pairs])
    # At the poles one triangle of each pair is none.
    corners = positions.reshape(-1, 3, 3)
    real = np.repeat(twice_area(corners) > 1e-6 * radius**2, 3)
    return positions[real], uv[real]


def _strip(low: Points, high: Points) -> Points:
    """Return the corners (6 n, d) of the triangles between two lines of points (n + 1, d)."""
    corners = (low[:-1], low[1:], high[1:], low[:-1], high[1:], high[:-1])
    return np.stack(corners, axis=1).reshape(-1, low.shape[1])


def _photograph(rng: np.random.Generator, photographs: Sequence[Image]) -> Image:
    image = photographs[int(rng.integers(len(photographs)))]
    side = max(int(rng.uniform(*CROP) * min(image.shape[:2])), 1)
    y, x = (int(rng.integers(size - side + 1)) for size in image.shape[:2])
    crop = image[y : y + side, x : x + side]
    how = cv2.INTER_AREA if side > TEXTURE else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(crop, (TEXTURE, TEXTURE), interpolation=how), np.uint8)


def _pattern(rng: np.random.Generator) -> Image:
    """Return a texture (TEXTURE, TEXTURE, 3) of few colours, dirty as things are."""
    kinds = (_stripes, _checks, _dots, _patches)
    colours = rng.integers(0, 256, (4, 3))
    index = kinds[int(rng.integers(len(kinds)))](rng)
    dirt = cv2.resize(rng.normal(0, 12, (8, 8)), (TEXTURE, TEXTURE), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(colours[index] + dirt[..., None], 0, 255), np.uint8)


def _grid() -> tuple[Points, Points]:
    x, y = np.meshgrid(np.arange(TEXTURE) / TEXTURE, np.arange(TEXTURE) / TEXTURE)
    return x, y


def _stripes(rng: np.random.Generator) -> NDArray[np.int64]:
    x, y = _grid()
    angle, count = rng.uniform(0, np.pi), rng.integers(2, 12)
    return ((np.cos(angle) * x + np.sin(angle) * y) * count).astype(np.int64) % 3


def _checks(rng: np.random.Generator) -> NDArray[np.int64]:
    x, y = _grid()
    columns, rows = rng.integers(2, 10, 2)
    return ((x * columns).astype(np.int64) + (y * rows).astype(np.int64)) % 2


def _dots(rng: np.random.Generator) -> NDArray[np.int64]:
    x, y = _grid()
    count, radius = rng.integers(2, 9), rng.uniform(0.15, 0.45)
    inside = (x * count % 1 - 0.5) ** 2 + (y * count % 1 - 0.5) ** 2 < radius**2
    return inside.astype(np.int64)


def _patches(rng: np.random.Generator) -> NDArray[np.int64]:
    """Return rectangles on a ground, as the print of a package has."""
    index = np.zeros((TEXTURE, TEXTURE), np.int64)
    for _ in range(int(rng.integers(4, 16))):
        x, y = rng.integers(0, TEXTURE, 2)
        width, height = rng.integers(4, TEXTURE // 2, 2)
        index[y : y + height, x : x + width] = rng.integers(4)
    return index
