"""STL files, binary and text."""

from __future__ import annotations

import re

import numpy as np

from synth_detect_ros.errors import MeshError
from synth_detect_ros.rendering.meshes.formats.limits import MEGATRIANGLES, check
from synth_detect_ros.rendering.meshes.formats.pieces import GREY, Contents, Piece, one_colour
from synth_detect_ros.rendering.meshes.formats.sources import SourceFiles

_HEAD = 84
_FACET = np.dtype([('normal', '<f4', 3), ('corners', '<f4', (3, 3)), ('attribute', '<u2')])
_VERTEX = re.compile(rb'^\s*vertex\b(.*)$', re.IGNORECASE | re.MULTILINE)


def read_stl(data: bytes, files: SourceFiles) -> Contents:
    """Read an STL file: binary where its length says so, whatever its first word is.

    Args:
        data: its content.
        files: of the model.

    Raises:
        MeshError: it ends early or holds no facets, or a vertex that is none.
    """
    count = int.from_bytes(data[80:_HEAD], 'little') if len(data) >= _HEAD else -1
    whole = _HEAD + count * _FACET.itemsize
    text = re.match(rb'\s*solid', data, re.IGNORECASE) and b'\0' not in data[_HEAD:][:1000]
    # Some programs write bytes behind the last facet; a text never has a length that fits.
    if count >= 0 and (len(data) == whole or (not text and len(data) > whole)):
        corners = np.frombuffer(data, _FACET, count, _HEAD)['corners'].reshape(-1, 3)
    elif text:
        corners = _text(data.replace(b'\r', b'\n'), files)
    elif count < 0:
        raise MeshError(f'{files.path}: no STL file: {len(data)} bytes')
    else:
        raise MeshError(f'{files.path}: ends early: its head says {count} triangles, '
                        f'{whole} bytes; there are {len(data)}')  # fmt: skip
    check(len(corners) / 3e6, MEGATRIANGLES, f'{files.path}')
    points = corners.astype(np.float64)
    return Contents((Piece(points, one_colour(GREY, len(points))),) if len(points) else ())


def _text(data: bytes, files: SourceFiles) -> np.ndarray:
    found = list(_VERTEX.finditer(data))
    rows = [match[1].split() for match in found]
    try:
        values = np.array([[float(word) for word in row] for row in rows], np.float64)
        values = values.reshape(-1, 3)
    except ValueError:
        raise MeshError(_bad_vertex(data, found, files)) from None
    facets = len(re.findall(rb'^\s*facet\b', data, re.IGNORECASE | re.MULTILINE))
    if len(values) != 3 * facets:
        raise MeshError(f'{files.path}: wanted three vertices a facet, got {len(values)} for '
                        f'{facets}: the file is cut off or broken')  # fmt: skip
    return values


def _bad_vertex(data: bytes, found: list[re.Match[bytes]], files: SourceFiles) -> str:
    for match in found:
        try:
            good = len([float(word) for word in match[1].split()]) == 3
        except ValueError:
            good = False
        if not good:
            line = data.count(b'\n', 0, match.start(1)) + 1
            got = match[1].decode('latin-1').strip()[:60]
            return f'{files.path}:{line}: wanted a vertex of three numbers, got {got!r}'
    raise AssertionError('no vertex is wrong')
