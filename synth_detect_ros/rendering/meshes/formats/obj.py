"""OBJ files: vertices with colours, faces of any number of corners, materials by line."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.errors import MeshError
from synth_detect_ros.rendering.meshes.formats.limits import MEGATRIANGLES, check
from synth_detect_ros.rendering.meshes.formats.mtl import MtlMaterial, lines_of, read_mtl
from synth_detect_ros.rendering.meshes.formats.pieces import (
    GREY,
    UNPAINTED,
    WHITE,
    Contents,
    Floats,
    Piece,
    one_colour,
    to_bytes,
)
from synth_detect_ros.rendering.meshes.formats.sources import SourceFiles, spellings
from synth_detect_ros.rendering.meshes.formats.textures import laid_out

logger = logging.getLogger(__name__)

Lines = list[tuple[int, bytes]]


@dataclass
class _Group:
    """Faces of one material.

    Attributes:
        material: as the file writes it, and the line of the first `usemtl`; None without one.
        faces: lines `f`, each with how many v, vt and vn stand in front of it.
    """

    material: tuple[bytes, int] | None
    faces: list[tuple[int, bytes, tuple[int, int]]] = field(default_factory=list)


@dataclass
class _Text:
    """The lines of a file by what they say; a line comes with its number."""

    v: Lines = field(default_factory=list)
    vt: Lines = field(default_factory=list)
    libraries: Lines = field(default_factory=list)
    groups: dict[bytes | None, _Group] = field(default_factory=dict)


def read_obj(data: bytes, files: SourceFiles) -> Contents:
    """Read an OBJ file; a texture counts before colours of vertices, and these before `Kd`.

    Args:
        data: its content, in any encoding.
        files: of the model.

    Raises:
        MeshError: by line: what is no number, points at nothing or cannot be found.
    """
    text = _sort(data)
    materials = _materials(text, files)
    points, colours = _vertices(text.v, files)
    table = _rows(text.vt, 1, files)
    chart = table if table.shape[1] > 1 else np.hstack([table, np.zeros((len(table), 1))])
    pieces: list[Piece] = []
    # The order in which trimesh gave them: the last material first.
    for group in reversed(text.groups.values()):
        pieces += _pieces(group, materials, points, colours, chart[:, :2], files)
    return Contents(tuple(pieces))


def _sort(data: bytes) -> _Text:
    text = _Text()
    group = None
    material: tuple[bytes, int] | None = None
    for number, line in enumerate(lines_of(data), 1):
        words = line.split(None, 1)
        if len(words) < 2:
            continue
        key, rest = words
        if key == b'v':
            text.v.append((number, rest))
        elif key == b'vt':
            text.vt.append((number, rest))
        elif key == b'f':
            if group is None:
                name = material and material[0]
                group = text.groups.setdefault(name, _Group(material))
            group.faces.append((number, rest, (len(text.v), len(text.vt))))
        elif key == b'usemtl':
            material, group = (rest.strip(), number), None
        elif key == b'mtllib':
            text.libraries.append((number, rest.strip()))
    return text


def _materials(text: _Text, files: SourceFiles) -> list[MtlMaterial] | None:
    """Return the materials of all libraries; None without one."""
    found: list[MtlMaterial] = []
    for number, rest in text.libraries:
        where = f'{files.path}:{number}'
        # Several names may stand on a line, and a name may hold spaces.
        whole = spellings(rest)[0]
        for name in [whole] if _is_there(files, whole) else [*map(_decode, rest.split())]:
            if _is_there(files, name):
                found += read_mtl(files.get(name), str(files.find(name)), files)
            else:
                files.record(name)
                files.lacking(f'{where}: material library {name!r} is not there')
    return found if text.libraries else None


def _is_there(files: SourceFiles, name: str) -> bool:
    return files.find(name) is not None


def _decode(word: bytes) -> str:
    return spellings(word)[0]


def _rows(lines: Lines, least: int, files: SourceFiles) -> Floats:
    """Return the numbers of lines as an array; what the shortest line has in columns.

    Raises:
        MeshError: a line holds fewer than `least`, or something else.
    """
    words = [rest.split(b'#', 1)[0].split() for _, rest in lines]
    columns = min(map(len, words), default=least)
    try:
        if columns < least:
            raise ValueError
        flat = [*map(float, chain.from_iterable(row[:columns] for row in words))]
    except ValueError:
        raise MeshError(_bad_line(lines, words, least, files)) from None
    return np.array(flat, np.float64).reshape(len(lines), columns)


def _bad_line(lines: Lines, words: list[list[bytes]], least: int, files: SourceFiles) -> str:
    """Return what is wrong with the first line that does not hold numbers."""
    for (number, rest), row in zip(lines, words, strict=True):
        try:
            good = len([float(word) for word in row]) >= least
        except ValueError:
            good = False
        if not good:
            got = rest.decode('latin-1').strip()[:60]
            advice = ' with a point, not a comma' if b',' in rest else ''
            return f'{files.path}:{number}: wanted at least {least} numbers{advice}, got {got!r}'
    raise AssertionError('no line is wrong')


def _vertices(lines: Lines, files: SourceFiles) -> tuple[Floats, NDArray[np.uint8] | None]:
    """Return positions (V, 3) and colours (V, 3); white where only other vertices have one."""
    points = _rows(lines, 3, files)
    if points.shape[1] >= 6:
        return points[:, :3], to_bytes(_shares(points[:, 3:6]))
    coloured = [row for row, (_, rest) in enumerate(lines) if len(rest.split()) >= 6]
    if not coloured:
        return points[:, :3], None
    colours = one_colour(WHITE, len(points)).copy()
    some = _rows([lines[row] for row in coloured], 6, files)
    colours[coloured] = to_bytes(_shares(some[:, 3:6]))
    return points[:, :3], colours


def _shares(colours: Floats) -> Floats:
    """Return colours as 0..1; some programs write 0..255."""
    return colours / 255 if colours.max(initial=0) > 1 else colours


def _pieces(
    group: _Group,
    materials: list[MtlMaterial] | None,
    points: Floats,
    colours: NDArray[np.uint8] | None,
    chart: Floats,
    files: SourceFiles,
) -> list[Piece]:
    """Return the triangles of a material: with texture coordinates, and without."""
    corner, uv, lines = _triangles(group, len(points), len(chart), files)
    material = _material(group, materials, files)
    texture = None
    named = material.texture if material else None
    painted = np.repeat((uv >= 0).reshape(-1, 3).all(axis=1), 3)
    if named is not None:
        texture = files.texture(named.name, named.where)
        if texture is not None and not painted.all():
            bare = lines[np.flatnonzero(~painted)[0] // 3]
            files.lacking(f'{files.path}:{bare}: this face has no texture coordinates, its '
                          f'material the texture {named.name!r}')  # fmt: skip
    found = []
    for part in (painted, ~painted):
        if not part.any():
            continue
        place = corner[part]
        if texture is not None and named is not None and part is painted:
            laid = chart[uv[part]] * named.scale + named.offset
            wrap = 'clamp' if named.clamp else 'repeat'
            laid_uv, laid_texture = laid_out(laid.astype(np.float32), texture, (wrap, wrap))
            white = one_colour(WHITE, len(place))
            found.append(Piece(points[place], white, laid_uv, laid_texture))
        else:
            colour = _plain(material, bool(painted.all()))
            shade = one_colour(colour, len(place)) if colours is None else colours[place]
            found.append(Piece(points[place], shade))
    return found


def _plain(material: MtlMaterial | None, painted: bool) -> Sequence[int]:
    if material is None:
        return UNPAINTED if painted else GREY
    if material.diffuse is None or len(material.diffuse) != 3:
        return UNPAINTED
    return [int(value) for value in to_bytes(material.diffuse)]


def _material(
    group: _Group, materials: list[MtlMaterial] | None, files: SourceFiles
) -> MtlMaterial | None:
    if group.material is None:
        return None
    raw, number = group.material
    names = set(spellings(raw))
    # The last one of a name counts, as in a dictionary.
    for material in reversed(materials or []):
        if material.names & names:
            return material
    where = f'{files.path}:{number}: material {min(names)!r}'
    if materials is None:  # of a file that names no library
        logger.warning('%s is used, and no library is named: drawn in plain colour', where)
    else:
        files.lacking(f'{where} is in none of the material libraries')
    return None


def _triangles(
    group: _Group, points: int, charts: int, files: SourceFiles
) -> tuple[NDArray[np.int64], NDArray[np.int64], list[int]]:
    """Return the vertices (3F,) and texture coordinates (3F,), -1 for none, of fans of triangles.

    The third is the line of each triangle.
    """
    corner: list[int] = []
    uv: list[int] = []
    lines: list[int] = []
    quadrangles = True
    for number, rest, before in group.faces:
        try:
            face = [_corner(word, before) for word in rest.split(b'#', 1)[0].split()]
        except (ValueError, IndexError):
            got = rest.decode('latin-1').strip()[:60]
            raise MeshError(f'{files.path}:{number}: wanted a face like 1/1 2/2 3/3, '
                            f'got {got!r}') from None  # fmt: skip
        if len(face) < 3:
            continue  # a point or a line: nothing to be seen
        quadrangles &= len(face) == 4
        for k, (v, t) in enumerate(face):
            if not 0 <= v < points or not -1 <= t < charts:
                kind = 'vertex' if not 0 <= v < points else 'texture coordinate'
                got = rest.split()[k].decode('latin-1')[:60]
                raise MeshError(f'{files.path}:{number}: {kind} of {got!r} is not there: '
                                f'there are {points} and {charts}')  # fmt: skip
        for k in range(1, len(face) - 1):
            fan = face[0], face[k], face[k + 1]
            if len(face) == 4 and k == 2:
                fan = face[2], face[3], face[0]
            corner += [v for v, _ in fan]
            uv += [t for _, t in fan]
            lines.append(number)
    check(len(lines) / 1e6, MEGATRIANGLES, f'{files.path}')
    order = np.arange(len(lines))
    if quadrangles:  # the order of trimesh: all first halves, then all second ones
        order = np.concatenate([order[::2], order[1::2]])
    table = np.array([corner, uv], np.int64).reshape(2, -1, 3)[:, order].reshape(2, -1)
    return table[0], table[1], [lines[k] for k in order]


def _corner(word: bytes, before: tuple[int, int]) -> tuple[int, int]:
    """Return the numbers, from 0, of a vertex and its texture coordinates, -1 for none."""
    v, *more = word.split(b'/')
    index = int(v)
    place = index - 1 if index > 0 else before[0] + index if index else -1
    if not more or not more[0]:
        return place, -1
    index = int(more[0])
    return place, index - 1 if index > 0 else before[1] + index if index else -2
