"""Tables of PLY files, text and binary, with lists of any length."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.rendering.meshes.formats.sources import spellings

TYPES = {
    **{'char': 'i1', 'int8': 'i1', 'uchar': 'u1', 'uint8': 'u1', 'short': 'i2', 'int16': 'i2'},
    **{'ushort': 'u2', 'uint16': 'u2', 'int': 'i4', 'int32': 'i4', 'uint': 'u4', 'uint32': 'u4'},
    **{'int64': 'i8', 'uint64': 'u8', 'float16': 'f2', 'float': 'f4', 'float32': 'f4'},
    **{'double': 'f8', 'float64': 'f8'},
}
FORMATS = {'ascii': '', 'binary_little_endian': '<', 'binary_big_endian': '>'}
# Lines of a head beyond which it is none.
MOST_LINES = 10_000


@dataclass
class PlyProperty:
    """A column: its type, and that of the length of a list, where it is one."""

    name: str
    kind: str
    length: str | None = None


@dataclass
class PlyElement:
    """A table: its properties and rows."""

    name: str
    count: int
    properties: list[PlyProperty] = field(default_factory=list)


@dataclass
class PlyList:
    """Lists of any length: their values one after the other, and how many each has."""

    values: NDArray[Any]
    lengths: NDArray[np.int64]


@dataclass
class PlyHead:
    """What stands above the tables; a texture comes with its line."""

    order: str = ''
    elements: list[PlyElement] = field(default_factory=list)
    textures: list[tuple[str, int]] = field(default_factory=list)
    size: int = 0


Table = dict[str, Any]


def read_head(data: bytes) -> PlyHead:
    """Return what stands above the tables.

    Raises:
        ValueError, KeyError, IndexError: it is no head.
    """
    head = PlyHead()
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


def _head_line(head: PlyHead, words: list[str], raw: bytes, number: int) -> None:
    if words[:1] == ['format']:
        head.order = FORMATS[words[1]]
    elif words[:1] == ['element']:
        count = int(words[2])
        if count < 0:
            raise ValueError(f'line {number}: {count} elements')
        head.elements.append(PlyElement(words[1], count))
    elif words[:2] == ['property', 'list']:
        column = PlyProperty(words[4], TYPES[words[3]], TYPES[words[2]])
        head.elements[-1].properties.append(column)
    elif words[:1] == ['property']:
        head.elements[-1].properties.append(PlyProperty(words[2], TYPES[words[1]]))
    elif words[:1] == ['comment'] and words[1:2] and words[1].lower() == 'texturefile':
        name = raw[raw.lower().index(b'texturefile') + len('texturefile') :].strip()
        head.textures.append((spellings(name)[0], number))


def read_tables(head: PlyHead, data: bytes) -> dict[str, Table]:
    """Return the tables by name; their columns are arrays, or lists.

    Raises:
        ValueError: the data end early or hold no numbers.
    """
    if not head.order:
        words = data[head.size :].split()
        return _read_all(head, lambda element, place: _from_text(element, words, place), 0)
    return _read_all(
        head, lambda element, place: _from_bytes(element, data, place, head.order), head.size
    )


def _read_all(head: PlyHead, read: Any, place: int) -> dict[str, Table]:
    tables: dict[str, Table] = {}
    for element in head.elements:
        try:
            tables[element.name], place = read(element, place)
        except (IndexError, BufferError) as error:
            raise ValueError(f'it ends in the table {element.name!r}') from error
    return tables


def _from_text(element: PlyElement, words: list[bytes], place: int) -> tuple[Table, int]:
    """Return a table and the place behind it, from the words of a text."""
    columns = element.properties
    if element.count > len(words) - place:
        raise IndexError
    if not any(column.length for column in columns):
        end = place + element.count * len(columns)
        if end > len(words):
            raise IndexError
        flat = np.array(words[place:end]).astype(np.float64).reshape(element.count, len(columns))
        return {c.name: flat[:, k].astype(c.kind) for k, c in enumerate(columns)}, end
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
        flat = np.array(values[k], 'S').astype(np.float64).astype(column.kind)
        table[column.name] = PlyList(flat, np.array(lengths[k])) if column.length else flat
    return table, place


def _from_bytes(element: PlyElement, data: bytes, place: int, order: str) -> tuple[Table, int]:
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
                    table[column.name] = PlyList(values.reshape(-1), sizes)
                else:
                    table[column.name] = values
            return table, place + element.count * fixed.itemsize
    return _from_rows(element, data, place, order)


def _dtype(
    columns: list[PlyProperty], data: bytes, place: int, order: str, lengths: dict[str, int]
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


def _from_rows(element: PlyElement, data: bytes, place: int, order: str) -> tuple[Table, int]:
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
        table[column.name] = PlyList(flat, lengths) if column.length else flat
    return table, place
