"""CAD files to meshes in metres: geometry, normals and colour or texture.

A mesh keeps the frame of its file, so that a pose means what the CAD tool says. Normals are made
here, by one rule for all formats: smooth over a surface, sharp at its creases.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.errors import MeshError
from synth_detect_ros.rendering.meshes.formats.dae import read_dae
from synth_detect_ros.rendering.meshes.formats.gltf import read_gltf
from synth_detect_ros.rendering.meshes.formats.limits import read_regular
from synth_detect_ros.rendering.meshes.formats.obj import read_obj
from synth_detect_ros.rendering.meshes.formats.other import read_other
from synth_detect_ros.rendering.meshes.formats.pieces import GREY, Contents, Piece
from synth_detect_ros.rendering.meshes.formats.ply import read_ply
from synth_detect_ros.rendering.meshes.formats.sources import SourceFiles
from synth_detect_ros.rendering.meshes.formats.stl import read_stl
from synth_detect_ros.rendering.meshes.formats.textures import LARGEST_TEXTURE
from synth_detect_ros.rendering.meshes.mesh import Mesh, part_of_corners
from synth_detect_ros.rendering.meshes.surface import diameter_of, is_closed, twice_area

__all__ = ['GREY', 'LARGEST_TEXTURE', 'UNITS', 'hash_file', 'load_mesh']

UNITS = {'m': 1.0, 'cm': 1e-2, 'mm': 1e-3, 'inch': 0.0254}
# Diameters [m] that things in front of a robot's camera have; outside, the unit is wrong.
PLAUSIBLE_DIAMETER = (0.005, 5.0)
# A mesh that is this many diameters from the origin of its file gets an origin of its own: in 32
# bits its vertices would be off by more than 6e-6 of its size.
FAR = 100.0
# Bytes of a file that are hashed at a time.
CHUNK = 1 << 20

READERS: dict[str, Callable[[bytes, SourceFiles], Contents]] = {
    '.obj': read_obj,
    '.ply': read_ply,
    '.stl': read_stl,
    '.gltf': read_gltf,
    '.glb': read_gltf,
    '.dae': read_dae,
}


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


def load_mesh(
    path: Path, unit: str = 'auto', *, folders: Sequence[Path] = (), plain: bool = False
) -> Mesh:
    """Read a CAD file or 3D scan: OBJ, PLY, STL, GLB, GLTF, DAE, with what trimesh can read.

    Args:
        path: the file; a scene of several geometries is joined, their transforms applied.
        unit: 'm', 'cm', 'mm', 'inch', or 'auto': what the file says (GLTF: metres), else metres
            when that gives a diameter of at most 5 m, else mm.
        folders: where textures may lie, besides the folders of the model, see
            `formats.sources.find_source`.
        plain: textures that are missing or unreadable are drawn in plain colour, not refused.

    Raises:
        MeshError: the file is missing, unreadable, empty or larger than the limits, it says what
            is not read here, or its size shows a wrong unit.
    """
    if unit not in (*UNITS, 'auto'):
        raise MeshError(
            f'{path}: unit {unit!r} is not known. Choose one of {", ".join(UNITS)}, auto.'
        )
    if not path.exists():
        raise MeshError(f'{path}: no such CAD file')
    data = read_regular(path)
    files = SourceFiles(path, folders, plain)
    with np.errstate(all='ignore'):  # what is no number is refused below
        contents = READERS.get(path.suffix.lower(), read_other)(data, files)
    pieces = [piece for piece in contents.pieces if len(piece.corners)]
    corners = _corners(path, pieces)
    scale = _scale(path, diameter_of(corners), unit, contents.metre)
    origin = _origin(corners * scale)
    parts = tuple(
        part_of_corners(piece.corners * scale - origin, piece.colours, piece.uv, piece.texture)
        for piece in pieces
    )
    remarks = (*contents.remarks, *(['origin moved'] if origin.any() else []))
    sources = {path.name: hashlib.sha256(data).hexdigest(), **files.sha256}
    return Mesh(parts, is_closed(corners), sources=sources, origin=origin, remarks=remarks)


def _corners(path: Path, pieces: Sequence[Piece]) -> NDArray[np.float64]:
    """Return all corners (3F, 3); refuse numbers that are none and surfaces without area."""
    if not pieces:
        raise MeshError(
            f'{path}: wanted triangles, got none: an empty file or a point cloud cannot be drawn'
        )
    corners = np.concatenate([piece.corners for piece in pieces])
    charts = [piece.uv for piece in pieces if piece.uv is not None]
    if not np.isfinite(corners).all() or not np.abs(corners).max() < 1e30:
        raise MeshError(f'{path}: wanted finite vertices; the file holds NaN or infinity')
    if not all(np.isfinite(chart).all() for chart in charts):
        raise MeshError(
            f'{path}: wanted finite texture coordinates; the file holds NaN or infinity'
        )
    extent = float(np.ptp(corners, axis=0).max())
    middle = corners - (corners.min(axis=0) + corners.max(axis=0)) / 2
    area = twice_area(middle.reshape(-1, 3, 3)).sum() / 2
    if not area > 1e-12 * extent**2:
        raise MeshError(f'{path}: wanted a surface; all triangles are points or lines, of no area')
    return corners


def _origin(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where the mesh has its own origin (3,) in the frame of the file: 0, if not far."""
    low, high = corners.min(axis=0), corners.max(axis=0)
    middle = (low + high) / 2
    far = np.linalg.norm(middle) > FAR * np.linalg.norm(high - low)
    return middle if far else np.zeros(3)


def _scale(path: Path, diameter: float, unit: str, metre: float | None) -> float:
    """Return metres per file unit, after a check that the object's size is plausible.

    Args:
        path: of the file.
        diameter: in its unit.
        unit: of the objects file.
        metre: the unit that the file says [m], or None.
    """
    low, high = PLAUSIBLE_DIAMETER
    if metre is not None and unit != 'auto' and metre not in (1.0, UNITS[unit]):
        raise MeshError(f'{path}: the file says that its unit is {metre:g} m, the objects file '
                        f'{unit}: leave unit out, or correct one of them')  # fmt: skip
    scale, name = metre or 0.0, 'the unit that the file says'
    if unit != 'auto' or metre is None:
        name = ('m' if diameter <= high else 'mm') if unit == 'auto' else unit
        scale = UNITS[name]
    metres = diameter * scale
    if low <= metres <= high:
        return scale
    other = [u for u in ('m', 'mm', 'cm', 'inch') if low <= diameter * UNITS[u] <= high]
    advice = f'set unit: {" or ".join(other)}' if other else 'scale the model to metres or mm'
    raise MeshError(
        f'{path}: its diameter, read in {name}, is {metres:.4g} m; wanted {low} to {high} m: '
        f'in the objects file, {advice}'
    )
