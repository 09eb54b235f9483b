"""PLY files, text and binary: lists of any length, colours, textures by vertex or by corner."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.errors import MeshError
from synth_detect_ros.rendering.meshes.formats.limits import MEGATRIANGLES, check
from synth_detect_ros.rendering.meshes.formats.pieces import (
    GREY,
    UNPAINTED,
    WHITE,
    Colours,
    Contents,
    Piece,
    check_indices,
    one_colour,
    to_bytes,
)
from synth_detect_ros.rendering.meshes.formats.ply_tables import (
    PlyHead,
    PlyList,
    Table,
    read_head,
    read_tables,
)
from synth_detect_ros.rendering.meshes.formats.sources import SourceFiles

CHARTS = ('s', 't'), ('u', 'v'), ('texture_u', 'texture_v')


def read_ply(data: bytes, files: SourceFiles) -> Contents:
    """Read a PLY file; a texture counts before colours of faces, and these before vertices'.

    Args:
        data: its content.
        files: of the model.

    Raises:
        MeshError: it is cut off or broken, or a texture is missing.
    """
    try:
        head = read_head(data)
        tables = read_tables(head, data)
        return _contents(head, tables, files)
    except MeshError:
        raise
    except (IndexError, KeyError, ValueError, TypeError, OverflowError) as error:
        reason = f'no {error}' if isinstance(error, KeyError) else str(error)
        raise MeshError(f'{files.path}: no valid PLY: {reason[:200]}') from error


def _contents(head: PlyHead, tables: dict[str, Table], files: SourceFiles) -> Contents:
    vertex, face = tables.get('vertex', {}), tables.get('face', {})
    index = next((face[n] for n in ('vertex_indices', 'vertex_index') if n in face), None)
    if index is None or not vertex:
        if tables.get('tristrips'):
            raise ValueError('triangle strips are not read; export triangles')
        return Contents(())
    points = np.column_stack([np.asarray(vertex[axis], np.float64) for axis in 'xyz'])
    rows, place = _fans(index.lengths)
    check(len(rows) / 1e6, MEGATRIANGLES, f'{files.path}')
    corner = index.values.astype(np.int64)[place].reshape(-1)
    check_indices(corner, len(points), f'{files.path}: vertex')
    uv = _chart(vertex, face, corner, place)
    colours = _colours(vertex, face, corner, rows)
    number = np.zeros(len(rows), np.int64)
    if 'texnumber' in face and len(head.textures) > 1:
        number = np.asarray(face['texnumber'], np.int64)[rows]
        check_indices(number, len(head.textures), f'{files.path}: texture')
    pieces = []
    for k in np.unique(number):
        part = np.repeat(number == k, 3)
        texture = None
        if head.textures:
            name, line = head.textures[int(k)]
            texture = files.texture(name, f'{files.path}:{line}')
            if texture is not None and uv is None:
                files.lacking(f'{files.path}:{line}: texture {name!r} has no coordinates')
        shade = colours[part] if colours is not None else None
        if texture is not None and uv is not None:
            white = one_colour(WHITE, int(part.sum()))
            pieces.append(Piece(points[corner[part]], white, uv[part], texture))
        else:
            plain = one_colour(GREY if uv is None else UNPAINTED, int(part.sum()))
            pieces.append(Piece(points[corner[part]], plain if shade is None else shade))
    return Contents(tuple(pieces))


def _fans(lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return for each triangle of polygons its polygon (F,), and places (F, 3) in their lists.

    The order is that of trimesh: triangles, the halves of quadrangles, then the rest.
    """
    lengths = np.asarray(lengths, np.int64)
    start = np.cumsum(lengths) - lengths
    three, four = np.flatnonzero(lengths == 3), np.flatnonzero(lengths == 4)
    rest = np.repeat(np.arange(len(lengths)), np.where(lengths > 4, lengths - 2, 0))
    triangles = np.where(lengths > 4, lengths - 2, 0)
    step = np.arange(len(rest)) - (np.cumsum(triangles) - triangles)[rest]
    fan = np.stack([np.zeros_like(step), step + 1, step + 2], axis=1)
    rows = np.concatenate([three, four, four, rest])
    corners = [np.tile(c, (len(r), 1)) for c, r in (((0, 1, 2), three), ((0, 1, 2), four),
                                                    ((2, 3, 0), four))]  # fmt: skip
    return rows, np.concatenate([*corners, fan]) + start[rows, None]


def _chart(
    vertex: Table, face: Table, corner: NDArray[np.int64], place: NDArray[np.int64]
) -> NDArray[np.float32] | None:
    """Return texture coordinates (3F, 2): of corners, or else of vertices; None without."""
    listed = face.get('texcoord')
    if isinstance(listed, PlyList) and len(listed.values):
        pairs = listed.values.reshape(-1, 2)
        check_indices(place, len(pairs), 'texture coordinate')
        return np.asarray(pairs[place.reshape(-1)], np.float32)
    for names in CHARTS:
        if all(name in vertex for name in names):
            return np.column_stack([vertex[name] for name in names]).astype(np.float32)[corner]
    return None


def _colours(
    vertex: Table, face: Table, corner: NDArray[np.int64], rows: NDArray[np.int64]
) -> Colours | None:
    """Return colours (3F, 3) of faces, or else of vertices; None without."""
    for table, index in ((face, np.repeat(rows, 3)), (vertex, corner)):
        for pattern in ('{}', 'diffuse_{}'):
            names = [pattern.format(name) for name in ('red', 'green', 'blue')]
            if all(name in table for name in names):
                values = np.column_stack([table[name] for name in names])
                return _to_bytes(values)[index]
    return None


def _to_bytes(values: NDArray[Any]) -> Colours:
    """Return colours of any type as uint8: floats are shares of 1, 16 bits those of 65535."""
    most = values.max(initial=0)
    if values.dtype.kind == 'f':
        return to_bytes(values / (1 if most <= 1 else 255))
    return np.asarray(np.clip(values / (257 if most > 255 else 1), 0, 255).round(), np.uint8)
