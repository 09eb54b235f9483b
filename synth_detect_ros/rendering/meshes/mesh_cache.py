"""Meshes with their levels of detail, kept on disk: made once a model, read in milliseconds.

The files lie in `synth_detect_ros/meshes` of $XDG_CACHE_HOME (default: ~/.cache) and may be
deleted at any time; a process without a home has none. What is read is what would be made: an
entry holds the hashes of the model's files and of the code that made it, and is made again when
one of them is another.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from synth_detect_ros.documents import parse_json
from synth_detect_ros.errors import MeshError
from synth_detect_ros.files import make_folder, write_atomic
from synth_detect_ros.folders import remove_leftovers
from synth_detect_ros.rendering.meshes.cad_file import hash_file, load_mesh
from synth_detect_ros.rendering.meshes.formats.sources import find_source
from synth_detect_ros.rendering.meshes.levels import with_levels
from synth_detect_ros.rendering.meshes.mesh import Level, Mesh, MeshPart

logger = logging.getLogger(__name__)

# Entries that are kept, those used last; a scan takes some megabytes.
KEPT = 200
ARRAYS = ('vertices', 'faces', 'normals', 'colours', 'uv')


def load_with_levels(
    path: Path, unit: str = 'auto', *, folders: Sequence[Path] = (), plain: bool = False
) -> Mesh:
    """Read a CAD file and give it levels of detail, or take both from the cache.

    Args:
        path: the file.
        unit: see `cad_file.load_mesh`.
        folders: see there.
        plain: see there.

    Raises:
        MeshError: see `cad_file.load_mesh`.
    """
    look: dict[str, Any] = {'folders': folders} if folders else {}
    look |= {'plain': plain} if plain else {}
    load = partial(load_mesh, path, unit, **look)
    home = Path(os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache'))
    if not home.is_absolute():  # `~` where a container's user has no home
        return with_levels(load())
    named = [*map(os.path.realpath, (path, *folders)), unit, *(['plain'] * plain)]
    key = hashlib.sha256(' '.join(map(str, named)).encode(errors='surrogateescape')).hexdigest()
    entry = home / 'synth_detect_ros' / 'meshes' / f'{key}.safetensors'
    mesh = _read(entry, path, folders)
    if mesh is None:
        mesh = with_levels(load())
        if mesh.levels:  # others are small: read faster than looked up
            _write(entry, mesh)
    return mesh


def _read(entry: Path, path: Path, folders: Sequence[Path]) -> Mesh | None:
    """Return the mesh of a CAD file; None: it is not there whole, or a file of it has changed."""
    try:
        with safe_open(entry, 'np') as file:
            facts = parse_json(file.metadata()['facts'], str(entry), MeshError)
            found = {name: _hash(path, name, folders) for name in facts['sources']}
            if (facts['code'], facts['sources']) != (_code(), found):
                return None
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        with suppress(OSError):  # a cache that is only read
            os.utime(entry)
        return _mesh_of(facts, arrays)
    except (OSError, SafetensorError, MeshError, KeyError, TypeError):
        return None


def _mesh_of(facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Mesh:
    def part(level: int, number: int) -> MeshPart:
        columns: dict[str, Any] = {k: arrays.get(f'{level}/{number}/{k}') for k in ARRAYS}
        return MeshPart(**columns, texture=arrays.get(f'{number}/texture'))

    counts = range(1 + len(facts['errors'])), range(facts['parts'])
    full, *fewer = (tuple(part(level, number) for number in counts[1]) for level in counts[0])
    levels = tuple(map(Level, fewer, facts['errors']))
    mesh = Mesh(
        full, facts['closed'], levels, facts['sources'], arrays['origin'], tuple(facts['remarks'])
    )
    vars(mesh).update(facts['extent'], centre=arrays['centre'], hull=arrays['hull'])
    return mesh


def _hash(path: Path, name: str, folders: Sequence[Path]) -> str:
    """Return the hash of a file that a CAD file names, or of itself; empty where it is missing."""
    place = path if name == path.name else find_source(path, name, folders)
    return '' if place is None else hash_file(place)


def _write(entry: Path, mesh: Mesh) -> None:
    """Store a mesh; where that is not possible, the next run makes it again."""
    arrays = {'centre': mesh.centre, 'hull': mesh.hull, 'origin': mesh.origin}
    for number, part in enumerate(mesh.parts):
        arrays[f'{number}/texture'] = part.texture
    for number, level in enumerate(mesh.details):
        for place, part in enumerate(level.parts):
            arrays |= {f'{number}/{place}/{k}': getattr(part, k) for k in ARRAYS}
    tensors = {k: np.ascontiguousarray(v) for k, v in arrays.items() if v is not None}
    facts = {
        'code': _code(),
        'sources': mesh.sources,
        'closed': mesh.closed,
        'remarks': list(mesh.remarks),
        'parts': len(mesh.parts),
        'errors': [level.error for level in mesh.levels],
        'extent': {'diameter': mesh.diameter, 'radius': mesh.radius},
    }
    try:
        make_folder(entry.parent)
        remove_leftovers(entry.parent)
        write_atomic(entry, save(tensors, {'facts': json.dumps(facts)}))
        for old in sorted(entry.parent.glob('*.safetensors'), key=os.path.getmtime)[:-KEPT]:
            old.unlink(missing_ok=True)
    except OSError as error:
        logger.info('The next start takes longer: %s', error)


@cache
def _code() -> str:
    """Return a hash of what makes meshes: the modules of this folder and what they stand on."""
    stands_on = 'numpy', 'Pillow', 'pycollada', 'scipy', 'trimesh'
    versions = [*map(importlib.metadata.version, stands_on), cv2.__version__]
    digest = hashlib.sha256(' '.join(versions).encode())
    for module in sorted(Path(__file__).parent.rglob('*.py')):
        digest.update(module.read_bytes())
    return digest.hexdigest()
