"""CAD files to meshes in metres: geometry, normals and colour or texture, through trimesh.

A mesh keeps the frame of its file, so that a pose means what the CAD tool says. Normals are made
here, by one rule for all formats: smooth over a surface, sharp at its creases.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.errors import MeshError
from synth_detect_ros.rendering.meshes.mesh import Mesh, MeshPart, part_of_corners
from synth_detect_ros.rendering.meshes.surface import diameter_of, is_closed

UNITS = {'m': 1.0, 'mm': 1e-3}
# Diameters [m] that things in front of a robot's camera have; outside, the unit is wrong.
PLAUSIBLE_DIAMETER = (0.005, 5.0)
# Side of a texture [px] beyond which it costs memory and start-up, and shows nothing more.
LARGEST_TEXTURE = 4096
# Colour of a file that has none.
GREY = (178, 178, 178)
# Bytes of a file that are hashed at a time.
CHUNK = 1 << 20


class SourceFiles:
    """A resolver for trimesh: reads the files that a CAD file names, and records them.

    Attributes:
        file_name: of the CAD file.
        sha256: of the content of each file that was asked for, by the name in the CAD file; empty
            for one that is missing.

    Args:
        path: the CAD file; names are relative to its folder.
    """

    def __init__(self, path: Path) -> None:
        self.file_name = path.name
        self.sha256: dict[str, str] = {}
        self._folder = path.parent

    def get(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            FileNotFoundError: there is no such file.
        """
        self.sha256[name] = ''
        data = find_source(self._folder, name).read_bytes()
        self.sha256[name] = hashlib.sha256(data).hexdigest()
        return data

    __getitem__ = get


def find_source(folder: Path, name: str) -> Path:
    """Return the file that a CAD file in a folder means by a name.

    It may lie outside of the folder, as textures of Gazebo models do. The absolute paths that
    some exporters write are looked up in the folder where they lead nowhere.
    """
    name = name.strip()
    places = [folder / name, folder / name.lstrip('/'), folder / Path(name).name]
    return next((place for place in places if place.is_file()), places[0])


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's content; empty where there is no such file."""
    digest = hashlib.sha256()
    try:
        with path.open('rb') as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    except FileNotFoundError:
        return ''
    return digest.hexdigest()


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
    geometries, sources = _read_geometries(path)
    corners = np.concatenate([g.vertices[g.faces.reshape(-1)] for g in geometries])
    if not np.isfinite(corners).all():
        raise MeshError(f'{path}: wanted finite vertices; the file holds NaN or infinity')
    scale = _scale(path, diameter_of(corners), unit)
    parts = tuple(_part(geometry, scale) for geometry in geometries)
    return Mesh(parts, is_closed(corners), sources=sources)


def _read_geometries(path: Path) -> tuple[list[Any], Mapping[str, str]]:
    """Return the non-empty trimesh geometries of a file, transforms applied, and its sources."""
    import trimesh  # noqa: PLC0415  half a second that reading a data set does not need

    if not path.is_file():
        raise MeshError(f'{path}: no such CAD file')
    files = SourceFiles(path)
    resolver: Any = files
    try:
        scene = trimesh.load_scene(path, process=False, resolver=resolver)
        parts = scene.dump(concatenate=False)
    except Exception as error:  # every format has readers, and errors, of its own
        raise MeshError(f'{path}: cannot be read as a mesh: {error}') from error
    meshes = [g for g in parts if isinstance(g, trimesh.Trimesh) and len(g.faces)]
    if not meshes:
        raise MeshError(
            f'{path}: wanted triangles, got none: an empty file or a point cloud cannot be drawn'
        )
    return meshes, {path.name: hash_file(path), **files.sha256}


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
