"""Formats that trimesh alone reads: OFF, 3MF and others."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np

from synth_detect_ros.errors import MeshError
from synth_detect_ros.rendering.meshes.formats.limits import FILE_MB, MEGATRIANGLES, check
from synth_detect_ros.rendering.meshes.formats.pieces import (
    GREY,
    WHITE,
    Contents,
    Piece,
    check_indices,
    one_colour,
    to_bytes,
)
from synth_detect_ros.rendering.meshes.formats.sources import SourceFiles

# Units by the names that trimesh gives them [m].
METRES = {'millimeter': 1e-3, 'millimeters': 1e-3, 'mm': 1e-3, 'centimeter': 1e-2, 'cm': 1e-2,
          'inch': 0.0254, 'inches': 0.0254, 'in': 0.0254, 'foot': 0.3048, 'feet': 0.3048,
          'meter': 1.0, 'meters': 1.0, 'm': 1.0, 'micron': 1e-6, 'microns': 1e-6}  # fmt: skip
# Formats that say their unit in the file; of others trimesh guesses.
_SAYS_UNIT = ('3mf',)


def read_other(data: bytes, files: SourceFiles) -> Contents:
    """Read a file of any other format.

    Args:
        data: its content.
        files: of the model.

    Raises:
        MeshError: it is broken, or no format that is known.
    """
    import trimesh  # noqa: PLC0415  half a second that reading a data set does not need

    kind = files.path.suffix[1:].lower()
    if kind not in trimesh.exchange.load.mesh_loaders:
        raise MeshError(f'{files.path}: {kind!r} is not read. Export OBJ, PLY, STL, GLB, GLTF or '
                        'DAE')  # fmt: skip
    resolver: Any = files
    try:
        if data[:2] == b'PK':
            members = zipfile.ZipFile(io.BytesIO(data)).infolist()
            check(sum(m.file_size for m in members) / 1e6, FILE_MB, f'{files.path}: unpacked, it')
        scene = trimesh.load_scene(
            io.BytesIO(data), file_type=kind, process=False, resolver=resolver
        )
        found = scene.dump(concatenate=False)
    except MeshError:
        raise
    except ImportError as error:
        raise MeshError(
            f'{files.path}: {kind!r} is read with the package {error.name}: pip install '
            f'{error.name}, or export OBJ, PLY, STL, GLB, GLTF or DAE'
        ) from error
    except Exception as error:  # every format has readers, and errors, of its own
        raise MeshError(f'{files.path}: cannot be read as a mesh: {error}'[:300]) from error
    meshes = [g for g in found if isinstance(g, trimesh.Trimesh) and len(g.faces)]
    check(sum(len(g.faces) for g in meshes) / 1e6, MEGATRIANGLES, f'{files.path}')
    metre = METRES.get(str(scene.units)) if kind in _SAYS_UNIT else None
    return Contents(tuple(_piece(geometry, files) for geometry in meshes), metre)


def _piece(geometry: Any, files: SourceFiles) -> Piece:
    corner = np.asarray(geometry.faces, np.int64).reshape(-1)
    check_indices(corner, len(geometry.vertices), f'{files.path}: vertex')
    corners = np.asarray(geometry.vertices, np.float64)[corner]
    visual = geometry.visual
    if visual.kind == 'vertex':
        return Piece(corners, np.asarray(visual.vertex_colors, np.uint8)[corner, :3])
    if visual.kind == 'face':
        faces = np.asarray(visual.face_colors, np.uint8)[:, :3]
        return Piece(corners, np.repeat(faces, 3, axis=0))
    if visual.kind != 'texture':
        return Piece(corners, one_colour(GREY, len(corner)))
    material = visual.material
    image = getattr(material, 'baseColorTexture', None) or getattr(material, 'image', None)
    if image is None or visual.uv is None:
        return Piece(corners, one_colour(material.main_color, len(corner)))
    encoded = io.BytesIO()
    image.save(encoded, 'PNG')
    texture = files.decoded(encoded.getvalue(), f'{files.path}: texture')
    factor = getattr(material, 'baseColorFactor', None)
    colour = WHITE if factor is None else to_bytes(np.asarray(factor) / 255)
    uv = np.asarray(visual.uv, np.float32)[corner]
    return Piece(corners, one_colour(colour, len(corner)), uv if texture is not None else None,
                 texture)  # fmt: skip
