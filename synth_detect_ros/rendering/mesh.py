"""CAD files to meshes in metres: geometry, normals and colour or texture, through trimesh.

A `Mesh` keeps the frame of its file, so that a pose means what the CAD tool says. Normals are made
here, by one rule for all formats: smooth over a surface, sharp at its creases.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.config import PoseConfig
from synth_detect_ros.config.options import Options, build, read_mapping
from synth_detect_ros.config.rules import option
from synth_detect_ros.errors import ConfigError, MeshError
from synth_detect_ros.rendering.surface import (
    corner_normals,
    diameter_of,
    distinct_rows,
    hull_of,
    is_closed,
)

UNITS = {'m': 1.0, 'mm': 1e-3}
# Diameters [m] that things in front of a robot's camera have; outside, the unit is wrong.
PLAUSIBLE_DIAMETER = (0.005, 5.0)
# Side of a texture [px] beyond which it costs memory and start-up, and shows nothing more.
LARGEST_TEXTURE = 4096
# Colour of a file that has none.
GREY = (178, 178, 178)


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


def load_mesh(path: Path, unit: str = 'auto') -> Mesh:
    """Read a CAD file or 3D scan: OBJ, PLY, STL, GLB, GLTF, DAE, with what trimesh can read.

    Args:
        path: the file; a scene of several geometries is joined, their transforms applied.
        unit: 'm', 'mm', or 'auto': metres when that gives a diameter of at most 5 m, else mm.

    Raises:
        MeshError: the file is missing, unreadable or empty, or its size shows a wrong unit.
    """
    if unit not in (*UNITS, 'auto'):
        raise MeshError(f'{path}: unit {unit!r} is not known. Choose one of m, mm, auto.')
    geometries = _read_geometries(path)
    corners = np.concatenate([g.vertices[g.faces.reshape(-1)] for g in geometries])
    if not np.isfinite(corners).all():
        raise MeshError(f'{path}: wanted finite vertices; the file holds NaN or infinity')
    scale = _scale(path, diameter_of(corners), unit)
    return Mesh(tuple(_part(geometry, scale) for geometry in geometries), is_closed(corners))


def _read_geometries(path: Path) -> list[Any]:
    """Return the non-empty trimesh geometries of a file, transforms applied."""
    import trimesh  # noqa: PLC0415  half a second that reading a data set does not need

    if not path.is_file():
        raise MeshError(f'{path}: no such CAD file')
    try:
        scene = trimesh.load_scene(path, process=False)
        parts = scene.dump(concatenate=False)
    except Exception as error:  # every format has readers, and errors, of its own
        raise MeshError(f'{path}: cannot be read as a mesh: {error}') from error
    meshes = [g for g in parts if isinstance(g, trimesh.Trimesh) and len(g.faces)]
    if not meshes:
        raise MeshError(
            f'{path}: wanted triangles, got none: an empty file or a point cloud cannot be drawn'
        )
    return meshes


def _scale(path: Path, diameter: float, unit: str) -> float:
    """Return metres per file unit, after a check that the object's size is plausible."""
    low, high = PLAUSIBLE_DIAMETER
    name = ('m' if diameter <= high else 'mm') if unit == 'auto' else unit
    metres = diameter * UNITS[name]
    if low <= metres <= high:
        return UNITS[name]
    other = [u for u, s in UNITS.items() if low <= diameter * s <= high]
    advice = f'set unit: {other[0]}' if other else 'scale the model to metres or millimetres'
    raise MeshError(
        f'{path}: its diameter, read in {name}, is {metres:.4g} m; wanted {low} to {high} m: '
        f'in the objects file, {advice}'
    )


def _part(geometry: Any, scale: float) -> MeshPart:
    corner = np.asarray(geometry.faces, np.int64).reshape(-1)
    positions = np.asarray(geometry.vertices, np.float64)[corner] * scale
    uv, texture, colours = _appearance(geometry, corner)
    return part_of_corners(positions, colours, uv, texture)


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


def _appearance(geometry: Any, corner: NDArray[np.int64]) -> tuple[Any, Any, NDArray[np.uint8]]:
    """Return (uv (3F, 2) or None, texture or None, colours (3F, 3) uint8) of the corners."""
    visual = geometry.visual
    grey = np.full((len(corner), 3), GREY, np.uint8)
    if visual.kind == 'vertex':
        return None, None, np.asarray(visual.vertex_colors, np.uint8)[corner, :3]
    if visual.kind == 'face':
        return None, None, np.repeat(np.asarray(visual.face_colors, np.uint8)[:, :3], 3, axis=0)
    if visual.kind != 'texture':
        return None, None, grey
    material = visual.material
    image = getattr(material, 'baseColorTexture', None) or getattr(material, 'image', None)
    if image is None or visual.uv is None:
        return None, None, np.broadcast_to(material.main_color[:3], grey.shape).astype(np.uint8)
    factor = getattr(material, 'baseColorFactor', None)
    white = np.full_like(grey, 255) if factor is None else np.broadcast_to(factor[:3], grey.shape)
    uv = np.asarray(visual.uv, np.float32)[corner]
    return uv, _pixels(image), white.astype(np.uint8)


def _pixels(image: Any) -> NDArray[np.uint8]:
    """Return a PIL image as (H, W, 3) uint8 RGB of at most LARGEST_TEXTURE."""
    pixels = np.asarray(image.convert('RGB'), np.uint8)
    scale = LARGEST_TEXTURE / max(pixels.shape)
    if scale >= 1:
        return pixels
    size = max(round(image.width * scale), 1), max(round(image.height * scale), 1)
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


class PoseLimits(Options):
    """Limits of one object that replace those of the run; null: as in the run."""

    elevation_deg: tuple[float, float] | None = option(
        None, "elevation of the camera above the object's xy plane", unit='deg', low=-90, high=90
    )
    inplane_deg: tuple[float, float] | None = option(
        None, 'range of the in-plane turns', unit='deg', low=-180, high=180
    )
    distance_m: tuple[float, float] | None = option(
        None, 'distance range', unit='m', low=1e-3, high=1e3
    )

    def apply(self, pose: PoseConfig) -> PoseConfig:
        """Return the pose options of the run with this object's limits."""
        own = {name: value for name, value in vars(self).items() if value is not None}
        return pose.replace(**own)


class ObjectOptions(PoseLimits):
    """One entry of an objects file."""

    name: str = option('', 'class name')
    mesh: str = option('', 'CAD file, relative to the objects file')
    unit: Literal['m', 'mm', 'auto'] = option('auto', 'unit of the CAD file')


@dataclass(frozen=True, eq=False)
class ObjectModel:
    """An object to be rendered.

    Attributes:
        name: class name.
        mesh: geometry and appearance.
        limits: pose limits of its own.
        path: the CAD file; None for a built-in solid.
    """

    name: str
    mesh: Mesh
    limits: PoseLimits
    path: Path | None


def read_objects(path: Path) -> list[ObjectModel]:
    """Read an objects file and its CAD files.

    Raises:
        ConfigError: the file is missing or no list of objects, a key is unknown, a name is
            missing or used twice.
        MeshError: see `load_mesh`.
    """
    entries = read_mapping(path).get('objects')
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f'{path}: wanted a list `objects:` with at least one object')
    models: list[ObjectModel] = []
    for number, entry in enumerate(entries):
        source = f'{path}: objects[{number}]'
        if not isinstance(entry, dict):
            raise ConfigError(f'{source}: wanted name, mesh and unit, got {entry!r}')
        options = build(ObjectOptions, entry, source)
        if not options.name or not options.mesh:
            raise ConfigError(f'{source}: name and mesh must both be given')
        if options.name in [model.name for model in models]:
            raise ConfigError(f'{source}: the name {options.name!r} is used twice')
        file = path.parent / options.mesh
        limits = PoseLimits(**options.model_dump(include=set(PoseLimits.model_fields)))
        models.append(ObjectModel(options.name, load_mesh(file, options.unit), limits, file))
    return models
