"""PLY files, text and binary: lists of any length, colours, textures by vertex or by corner."""

from __future__ import annotations

from dataclasses import dataclass, field
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
from synth_detect_ros.rendering.meshes.formats.sources import SourceFiles, spellings

TYPES = {
    **{'char': 'i1', 'int8': 'i1', 'uchar': 'u1', 'uint8': 'u1', 'short': 'i2', 'int16': 'i2'},
    **{'ushort': 'u2', 'uint16': 'u2', 'int': 'i4', 'int32': 'i4', 'uint': 'u4', 'uint32': 'u4'},
    **{'int64': 'i8', 'uint64': 'u8', 'float16': 'f2', 'float': 'f4', 'float32': 'f4'},
    **{'double': 'f8', 'float64': 'f8'},
}
FORMATS = {'ascii': '', 'binary_little_endian': '<', 'binary_big_endian': '>'}
CHARTS = ('s', 't'), ('u', 'v'), ('texture_u', 'texture_v')
# Lines of a head beyond which it is none.
MOST_LINES = 10_000


@dataclass
class _Property:
    """A column: its type, and that of the length of a list, where it is one."""

    name: str
    kind: str
    length: str | None = None


@dataclass
class _Element:
    """A table: its properties and rows."""

    name: str
    count: int
    properties: list[_Property] = field(default_factory=list)


@dataclass
class _List:
    """Lists of any length: their values one after the other, and how many each has."""

    values: NDArray[Any]
    lengths: NDArray[np.int64]


@dataclass
class _Head:
    """What stands above the tables; a texture comes with its line."""

    order: str = ''
    elements: list[_Element] = field(default_factory=list)
    textures: list[tuple[str, int]] = field(default_factory=list)
    size: int = 0


Table = dict[str, Any]


def read_ply(data: bytes, files: SourceFiles) -> Contents:
    """Read a PLY file; a texture counts before colours of faces, and these before vertices'.

    Args:
        data: its content.
        files: of the model.

    Raises:
        MeshError: it is cut off or broken, or a texture is missing.
    """
    try:
        head = _head(data)
        tables = _tables(head, data)
        return _contents(head, tables, files)
    except MeshError:
        raise
    except (IndexError, KeyError, ValueError, TypeError, OverflowError) as error:
        reason = f'no {error}' if isinstance(error, KeyError) else str(error)
        raise MeshError(f'{files.path}: no valid PLY: {reason[:200]}') from error


def _head(data: bytes) -> _Head:
    head = _Head()
    place, number = 0, 0
    while number < MOST_LINES:
        ends = [end for end in (data.find(b'\n', place), data.find(b'\r', place)) if end >= 0]
        if not ends:
            break
        end = min(ends)
        raw = data[place:end].strip()
        place = end + (2 if data[end : end + 2] == b'\r\n' else 1)
        number += 1
        words = raw.decode('latin-1').split()
        if number == 1 and words[:1] != ['ply']:
            break
        if words[:1] == ['end_header']:
            head.size = place
            return head
        _head_line(head, words, raw, number)
    raise ValueError('wanted a head from ply to end_header')


def _head_line(head: _Head, words: list[str], raw: bytes, number: int) -> None:
    if words[:1] == ['format']:
        head.order = FORMATS[words[1]]
    elif words[:1] == ['element']:
        count = int(words[2])
        if count < 0:
            raise ValueError(f'line {number}: {count} elements')
        head.elements.append(_Element(words[1], count))
    elif words[:2] == ['property', 'list']:
        column = _Property(words[4], TYPES[words[3]], TYPES[words[2]])
        head.elements[-1].properties.append(column)
    elif words[:1] == ['property']:
        head.elements[-1].properties.append(_Property(words[2], TYPES[words[1]]))
    elif words[:1] == ['comment'] and words[1:2] and words[1].lower() == 'texturefile':
        name = raw[raw.lower().index(b'texturefile') + len('texturefile') :].strip()
        head.textures.append((spellings(name)[0], number))


def _tables(head: _Head, data: bytes) -> dict[str, Table]:
    """Return the tables by name."""
    if not head.order:
        words = data[head.size :].split()
        return _read_all(head, lambda element, place: _from_text(element, words, place), 0)
    return _read_all(
        head, lambda element, place: _from_bytes(element, data, place, head.order), head.size
    )


def _read_all(head: _Head, read: Any, place: int) -> dict[str, Table]:
    tables: dict[str, Table] = {}
    for element in head.elements:
        try:
            tables[element.name], place = read(element, place)
        except (IndexError, BufferError) as error:
            raise ValueError(f'it ends in the table {element.name!r}') from error
    return tables


def _from_text(element: _Element, words: list[bytes], place: int) -> tuple[Table, int]:
    """Return a table and the place behind it, from the words of a text."""
    columns = element.properties
    if element.count > len(words) - place:
        raise IndexError
    if not any(column.length for column in columns):
        end = place + element.count * len(columns)
        if end > len(words):
            raise IndexError
        flat = np.array(words[place:end]).astype(np.float64).reshape(element.count, len(columns))
        return {column.name: flat[:, k] for k, column in enumerate(columns)}, end
    values: list[list[bytes]] = [[] for _ in columns]
    lengths: list[list[int]] = [[] for _ in columns]
    for _ in range(element.count):
        for k, column in enumerate(columns):
            size = 1
            if column.length:
                size = int(words[place])
                place += 1
            if size < 0 or place + size > len(words):
                raise IndexError
            values[k] += words[place : place + size]
            lengths[k].append(size)
            place += size
    table: Table = {}
    for k, column in enumerate(columns):
        flat = np.array(values[k], 'S').astype(np.float64)
        table[column.name] = _List(flat, np.array(lengths[k])) if column.length else flat
    return table, place


def _from_bytes(element: _Element, data: bytes, place: int, order: str) -> tuple[Table, int]:
    """Return a table and the place behind it, from bytes."""
    columns = element.properties
    if element.count > len(data) - place:
        raise BufferError
    lengths: dict[str, int] = {}
    fixed = _dtype(columns, data, place, order, lengths) if element.count else None
    if fixed is not None and place + element.count * fixed.itemsize <= len(data):
        rows = np.frombuffer(data, fixed, element.count, place)
        if all((rows[f'{name}#'] == size).all() for name, size in lengths.items()):
            table: Table = {}
            for column in columns:
                values = rows[column.name]
                if column.length:
                    sizes = np.full(element.count, lengths[column.name])
                    table[column.name] = _List(values.reshape(-1), sizes)
                else:
                    table[column.name] = values
            return table, place + element.count * fixed.itemsize
    return _from_rows(element, data, place, order)


def _dtype(
    columns: list[_Property], data: bytes, place: int, order: str, lengths: dict[str, int]
) -> Any:
    """Return the type of a row whose lists are as long as those of the first row."""
    fields: list[Any] = []
    for column in columns:
        if column.length:
            start = place + np.dtype(fields).itemsize if fields else place
            size = int(np.frombuffer(data, order + column.length, 1, start)[0])
            if not 0 <= size <= len(data):
                raise BufferError
            lengths[column.name] = size
            fields.append((f'{column.name}#', order + column.length))
            fields.append((column.name, order + column.kind, (size,)))
        else:
            fields.append((column.name, order + column.kind))
    return np.dtype(fields)


def _from_rows(element: _Element, data: bytes, place: int, order: str) -> tuple[Table, int]:
    """Return a table row by row, as lists of different lengths need it."""
    values: list[list[NDArray[Any]]] = [[] for _ in element.properties]
    kinds = [np.dtype(order + column.kind) for column in element.properties]
    sizes = [np.dtype(order + column.length) if column.length else None
             for column in element.properties]  # fmt: skip
    for _ in range(element.count):
        for k, kind in enumerate(kinds):
            count, length = 1, sizes[k]
            if length is not None:
                count = int(np.frombuffer(data, length, 1, place)[0])
                place += length.itemsize
            if count < 0 or place + count * kind.itemsize > len(data):
                raise BufferError
            values[k].append(np.frombuffer(data, kind, count, place))
            place += count * kind.itemsize
    table: Table = {}
    for k, column in enumerate(element.properties):
        flat = np.concatenate(values[k]) if values[k] else np.zeros(0)
        lengths = np.array([len(row) for row in values[k]], np.int64)
        table[column.name] = _List(flat, lengths) if column.length else flat
    return table, place


def _contents(head: _Head, tables: dict[str, Table], files: SourceFiles) -> Contents:
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
    if isinstance(listed, _List) and len(listed.values):
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
    if values.dtype.kind == 'f' and most <= 1 and (values != values.round()).any():
        return to_bytes(values)
    return np.asarray(np.clip(values / (257 if most > 255 else 1), 0, 255).round(), np.uint8)
