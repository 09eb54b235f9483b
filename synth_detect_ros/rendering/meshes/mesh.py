"""The mesh of an object: triangles with normals and colour or texture, in metres."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
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
    """One object: its parts, all in one frame, that of the CAD file or one beside it [m].

    Attributes:
        parts: at least one.
        closed: the surface has no border and faces outward everywhere, so that back faces are
            never seen.
        levels: the same with fewer and fewer triangles, for views in which that cannot be seen.
        sources: SHA-256 of the files it was read from, the CAD file first, by the names that it
            gives them; none for a solid of the package's own.
        origin: (3,) float64 where the frame of the parts has its origin in that of the CAD file
            [m]: zero, but for a file whose numbers are far from theirs.
        remarks: what is not as the numbers in the file are, for example a turned frame.
    """

    parts: tuple[MeshPart, ...]
    closed: bool = False
    levels: tuple[Level, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    origin: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    remarks: tuple[str, ...] = ()

    @property
    def details(self) -> tuple[Level, ...]:
        """The mesh itself, without error, then its levels."""
        return Level(self.parts, 0.0), *self.levels

    @cached_property
    def vertices(self) -> NDArray[np.float32]:
        """The distinct vertices (N, 3) of all parts [m]."""
        vertices = np.concatenate([part.vertices for part in self.parts])
        return vertices[distinct_rows(vertices)[0]]

    @cached_property
    def centre(self) -> NDArray[np.float64]:
        """Middle of the bounding box (3,) [m]."""
        low, high = self.vertices.min(axis=0), self.vertices.max(axis=0)
        return (low.astype(np.float64) + high) / 2

    @cached_property
    def diameter(self) -> float:
        """Largest distance between two vertices [m]."""
        return diameter_of(self.vertices)

    @cached_property
    def radius(self) -> float:
        """Largest distance of a vertex from the centre [m]."""
        return float(np.linalg.norm(self.vertices - self.centre, axis=1).max())

    def file_pose(self, pose: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the pose (4, 4) of the CAD file's frame for one of the frame of the parts [m]."""
        moved = pose.copy()
        moved[:3, 3] -= pose[:3, :3] @ self.origin
        return moved

    @cached_property
    def hull(self) -> NDArray[np.float32]:
        """The vertices (K, 3) on the convex hull: how far the object reaches in any view [m]."""
        return hull_of(self.vertices)


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
