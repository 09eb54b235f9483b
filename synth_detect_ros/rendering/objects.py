"""The objects file: which CAD files are rendered, in which unit and from where."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from synth_detect_ros.config import PoseConfig
from synth_detect_ros.config.options import Options, build, read_mapping
from synth_detect_ros.config.rules import option
from synth_detect_ros.documents import is_line
from synth_detect_ros.errors import ConfigError
from synth_detect_ros.rendering.meshes.cad_file import READERS, load_mesh
from synth_detect_ros.rendering.meshes.mesh import Mesh

logger = logging.getLogger(__name__)

# Of files that stand in an objects file, and are taken for one.
CAD_SUFFIXES = {*READERS, '.3mf', '.fbx', '.off', '.step', '.stl', '.stp'}


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
    unit: Literal['m', 'cm', 'mm', 'inch', 'auto'] = option(
        'auto', 'unit of the CAD file; auto: what it says, else by its size'
    )
    textures: str = option(
        '', 'another folder that may hold the textures, relative to the objects file'
    )
    plain: bool = option(
        False, 'draw what misses its texture in plain colour; false: refuse it'
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class ObjectModel:
    """An object to be rendered.

    Attributes:
        name: class name.
        mesh: geometry and appearance.
        limits: pose limits of its own.
    """

    name: str
    mesh: Mesh
    limits: PoseLimits


def read_objects(path: Path, load: Callable[..., Mesh] = load_mesh) -> list[ObjectModel]:
    """Read an objects file and its CAD files.

    Args:
        path: the objects file.
        load: reads a CAD file in a unit: `load_mesh` or `mesh_cache.load_with_levels`.

    Raises:
        ConfigError: the file is missing or no list of objects, a key is unknown, a name is
            missing or used twice.
        MeshError: see `load_mesh`.
    """
    models: list[ObjectModel] = []
    for number, entry in enumerate(_entries(path)):
        source = f'{path}: objects[{number}]'
        if not isinstance(entry, dict):
            raise ConfigError(f'{source}: wanted name, mesh and unit, got {entry!r}')
        options = build(ObjectOptions, entry, source)
        if not options.name or not options.mesh:
            raise ConfigError(f'{source}: name and mesh must both be given')
        if not is_line(options.name):
            raise ConfigError(f'{source}: wanted a name in one line, got {options.name!r}')
        if options.name in [model.name for model in models]:
            raise ConfigError(f'{source}: the name {options.name!r} is used twice')
        mesh = load(
            path.parent / options.mesh,
            options.unit,
            folders=_folders(path, options),
            plain=options.plain,
        )
        for name in [name for name, sha256 in mesh.sources.items() if not sha256]:
            logger.warning('%s: %s is missing: drawn without it', source, name)
        limits = PoseLimits(**options.model_dump(include=set(PoseLimits.model_fields)))
        models.append(ObjectModel(options.name, mesh, limits))
    return models


def _entries(path: Path) -> list[Any]:
    """Return what an objects file lists."""
    if path.suffix.lower() in CAD_SUFFIXES:
        raise ConfigError(
            f'{path}: is a CAD file. Wanted an objects file, YAML that names it: '
            f'objects: [{{name: {path.stem}, mesh: {path.name}, unit: mm}}]'
        )
    entries = read_mapping(path).get('objects')
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f'{path}: wanted a list `objects:` with at least one object')
    return entries


def _folders(path: Path, options: ObjectOptions) -> list[Path]:
    """Return where textures may lie: in the folder of the objects file, if the mesh does, too."""
    here, mesh = (Path(os.path.realpath(p)) for p in (path.parent, path.parent / options.mesh))
    own = [here] if mesh.is_relative_to(here) else []
    return [*own, *([path.parent / options.textures] if options.textures else [])]
