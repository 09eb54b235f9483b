"""Levels of detail of a mesh: what is drawn where its full number of triangles cannot be seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.rendering.meshes.collapses import Surface
from synth_detect_ros.rendering.meshes.mesh import Level, Mesh, MeshPart, part_of_corners
from synth_detect_ros.rendering.meshes.simplify import simplify
from synth_detect_ros.rendering.meshes.surface import distinct_rows, point_numbers

# Meshes of fewer triangles are drawn as they are.
FEWEST = 500
# Largest error over the diameter: half a pixel of an object of 50 pixels.
LARGEST_ERROR = 0.01
# A level has at most this share of the triangles of the one before.
SHRINK = 0.9
# Texture coordinates that are equal [of the texture's size]: a hundredth of a pixel of 4096.
SAME_UV = 2.5e-6


def with_levels(mesh: Mesh) -> Mesh:
    """Return the mesh with its levels of detail; it takes a second for 16 000 triangles."""
    before = sum(len(part.faces) for part in mesh.parts)
    if before < FEWEST:
        return mesh
    surface, owner = _surface(mesh)
    levels = []
    for faces, error in simplify(surface, LARGEST_ERROR * mesh.diameter):
        if len(faces) <= SHRINK * before:
            before = len(faces)
            parts = [
                _part(part, surface, faces[owner[faces[:, 0]] == number])
                for number, part in enumerate(mesh.parts)
            ]
            levels.append(Level(tuple(parts), error))
    return replace(mesh, levels=tuple(levels))


def _surface(mesh: Mesh) -> tuple[Surface, NDArray[np.int64]]:
    """Return all parts as one surface, so that nothing opens between them, and whose a vertex is.

    Normals are left out: they are made again for each level, as they are for a file.
    """
    counts = [len(part.vertices) for part in mesh.parts]
    positions = np.concatenate([part.vertices for part in mesh.parts]).astype(np.float64)
    colours = np.concatenate([part.colours for part in mesh.parts]).astype(np.float64)
    charts = np.concatenate([_chart(part) for part in mesh.parts])
    owner = np.repeat(np.arange(len(counts)), counts)
    point = point_numbers(positions)
    looks = np.rint(np.nan_to_num(charts) / SAME_UV)
    first, same = distinct_rows(np.column_stack([point, owner, looks, colours]))
    starts = np.cumsum([0, *counts[:-1]])
    faces = [part.faces + start for part, start in zip(mesh.parts, starts, strict=True)]
    corners = same[np.concatenate(faces)]
    surface = Surface(corners, point[first], positions[first], charts[first], colours[first])
    return surface, owner[first]


def _chart(part: MeshPart) -> NDArray[np.float64]:
    if part.uv is None or part.texture is None:
        return np.full((len(part.vertices), 2), np.nan)
    return part.uv.astype(np.float64)


def _part(part: MeshPart, surface: Surface, faces: NDArray[np.int64]) -> MeshPart:
    """Return a part with other triangles."""
    corner = faces.reshape(-1)
    colours = surface.colour[corner].astype(np.uint8)
    uv = None if part.uv is None else surface.chart[corner].astype(np.float32)
    return part_of_corners(surface.position[corner], colours, uv, part.texture)
