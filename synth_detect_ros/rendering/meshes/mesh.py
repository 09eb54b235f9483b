"""The mesh of an object: triangles with normals and colour or texture, in metres."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.rendering.meshes.surface import (
    corner_normals,
    diameter_of,
    distinct_rows,
    hull_of,
)


@dataclass(frozen=True, eq=False)
class MeshPart:
    """Triangles that share one texture.

    Attributes:
        vertices: (V, 3) float32 [m].
        faces: (F, 3) int32 indices into vertices.
        normals: (V, 3) float32, unit length.
        colours: (V, 3) uint8 RGB, multiplied with the texture where there is one.
        uv: (V, 2) float32 texture coordinates, v upward, or None.
        texture: (H, W, 3) uint8 RGB, first row at the top, or None.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    normals: NDArray[np.float32]
    colours: NDArray[np.uint8]
    uv: NDArray[np.float32] | None = None
    texture: NDArray[np.uint8] | None = None


@dataclass(frozen=True, eq=False)
class Level:
    """A mesh with fewer triangles, see `levels.with_levels`.

    Attributes:
        parts: as those of the mesh, in the same order, with the same textures.
        error: how far the surface and what is painted on it are from where they belong [m].
    """

    parts: tuple[MeshPart, ...]
    error: float


@dataclass(frozen=True, eq=False)
class Mesh:
    """One object: its parts, all in the frame of the CAD file [m].

    Attributes:
        parts: at least one.
        closed: the surface has no border and faces outward everywhere, so that back faces are
            never seen.
        levels: the same with fewer and fewer triangles, for views in which that cannot be seen.
        vertices: (N, 3) float32, the distinct vertices of all parts [m].
        centre: (3,) float64, middle of the bounding box [m].
        diameter: largest distance between two vertices [m].
        radius: largest distance of a vertex from the centre [m].
        hull: (K, 3) float32, the vertices on the convex hull: what decides how far the object
            reaches in any view [m].
    """

    parts: tuple[MeshPart, ...]
    closed: bool = False
    levels: tuple[Level, ...] = ()
    vertices: NDArray[np.float32] = field(init=False)
    centre: NDArray[np.float64] = field(init=False)
    diameter: float = field(init=False)
    radius: float = field(init=False)
    hull: NDArray[np.float32] = field(init=False)

    def __post_init__(self) -> None:
        vertices = np.concatenate([p.vertices for p in self.parts])
        vertices = vertices[distinct_rows(vertices)[0]]
        centre = (vertices.min(axis=0).astype(np.float64) + vertices.max(axis=0)) / 2
        object.__setattr__(self, 'vertices', vertices)
        object.__setattr__(self, 'centre', centre)
        object.__setattr__(self, 'diameter', diameter_of(vertices))
        radius = np.linalg.norm(vertices - centre, axis=1).max()
        object.__setattr__(self, 'radius', float(radius))
        object.__setattr__(self, 'hull', hull_of(vertices))


def part_of_corners(
    positions: NDArray[np.float64],
    colours: NDArray[np.uint8],
    uv: NDArray[np.float32] | None,
    texture: NDArray[np.uint8] | None,
) -> MeshPart:
    """Return triangles, given by their corners, with a vertex for each distinct corner.

    Args:
        positions: (3F, 3) [m], three rows a triangle; normals are made from them.
        colours: (3F, 3) RGB.
        uv: (3F, 2) texture coordinates, or None.
        texture: see `MeshPart`.
    """
    normals = corner_normals(positions)
    columns: list[NDArray[Any]] = [positions, normals, colours, *([] if uv is None else [uv])]
    table = np.hstack(columns).astype(np.float32).round(7)
    first, index = distinct_rows(table)
    table = table[first]
    return MeshPart(
        np.ascontiguousarray(table[:, :3]),
        index.reshape(-1, 3).astype(np.int32),
        np.ascontiguousarray(table[:, 3:6]),
        table[:, 6:9].astype(np.uint8),
        None if uv is None else np.ascontiguousarray(table[:, 9:11]),
        texture,
    )
