"""What an experiment is: a grid of cells (what is compared), and a setup (on whose images).

Both are YAML files, so that the same comparison runs on other cameras and objects.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from synth_detect_ros.config import SynthesizeConfig, TrainConfig
from synth_detect_ros.errors import ConfigError
from synth_detect_ros.options import (
    Options,
    apply_overrides,
    build,
    option,
    read_mapping,
    resolve_paths,
)
from synth_detect_ros.presets import experiment_path


@dataclass(frozen=True)
class RealSet(Options):
    """Real labelled frames in the order in which they were taken."""

    name: str = option('', 'name in tables')
    images: str = option('', 'folder of images', path='always')
    annotations: str = option('', 'COCO file, images in order of time', path='always')
    exclude: str = option('', 'annotations in which this field is true do not count')


@dataclass(frozen=True)
class Camera(Options):
    """A camera: what is rendered for it and the real frames it took."""

    name: str = option('', 'name in tables and folders')
    synthesize: dict[str, Any] = option(dict, 'options of `synthesize`')
    real: tuple[RealSet, ...] = option((), 'real labelled frames')


@dataclass(frozen=True)
class Setup(Options):
    """The user's cameras, objects and real frames."""

    cameras: tuple[Camera, ...] = option((), 'at least one')
    train: dict[str, Any] = option(dict, 'options of `train` for all cells')
    extractors: dict[str, Any] = option(
        dict, 'detector options for cells with this backbone, for example where its weights are'
    )


@dataclass(frozen=True)
class Cell(Options):
    """One system of the comparison."""

    name: str = option('', 'name in tables')
    data: str = option('synthetic', 'what it trains on', choices=('synthetic', 'real'))
    train: dict[str, Any] = option(dict, 'options of `train`')
    synthesize: dict[str, Any] = option(dict, 'options of `synthesize`')


@dataclass(frozen=True)
class Grid(Options):
    """The systems that are compared."""

    title: str = option('', 'heading of the page')
    note: str = option('', 'what is compared and why')
    real_share: float = option(
        0.5, 'first share of the real frames, for training; the rest tests', low=0.01, high=0.99
    )
    train: dict[str, Any] = option(dict, 'options of `train` for all cells')
    synthesize: dict[str, Any] = option(dict, 'options of `synthesize` for all cells')
    budgets: dict[str, Any] = option(
        dict, 'option of `train` -> values: each cell is trained once for each'
    )
    synthetic_validation: int = option(
        0, 'held-out synthetic images that boxes and masks are scored on as well', low=0
    )
    overlays: int = option(0, 'pictures of the worst real frames of each cell', low=0)
    plot: str = option('none', 'picture', choices=('none', 'bars', 'curve'))
    cells: tuple[Cell, ...] = option((), 'at least one')


def read_setup(path: Path) -> Setup:
    """Read a setup; relative paths are taken from its folder.

    Raises:
        ConfigError: the file is missing or wrong, or says nothing of cameras or real frames.
    """
    folder, mapping = path.absolute().parent, read_mapping(path)
    mapping['train'] = resolve_paths(TrainConfig, mapping.get('train', {}), folder)
    for key, extractor in mapping.get('extractors', {}).items():
        resolved = resolve_paths(TrainConfig, {'detector': extractor}, folder)
        mapping['extractors'][key] = resolved['detector']
    for row in _rows(mapping, 'cameras', path):
        row['synthesize'] = _synthesize(row.get('synthesize', {}), folder)
        row['real'] = [resolve_paths(RealSet, part, folder) for part in _rows(row, 'real', path)]
    setup = build(Setup, mapping, str(path))
    _check_names([camera.name for camera in setup.cameras], f'{path}: cameras')
    for camera in setup.cameras:
        _check_names([real.name for real in camera.real], f'{path}: real sets of {camera.name}')
        for real in camera.real:
            if not real.images or not real.annotations:
                raise ConfigError(f'{path}: {real.name}: give images and annotations')
    return setup


def read_grid(name: str, overrides: Sequence[str] = ()) -> Grid:
    """Read a grid, a file or a shipped one, with the overrides of all cells in it.

    Raises:
        ConfigError: there is no such grid, or it is wrong.
    """
    path = Path(name)
    path = path if path.is_file() else experiment_path(name)
    mapping = read_mapping(path)
    grid = build(Grid, mapping, str(path))
    _check_names([cell.name for cell in grid.cells], f'{path}: cells')
    top: dict[str, Any] = {'budgets': copy.deepcopy(grid.budgets)}
    apply_overrides(top, overrides)
    unknown = set(top) - {'train', 'synthesize', 'budgets'}
    if unknown:
        raise ConfigError(
            f'--set {unknown.pop()}: wanted train.<option>, '
            'synthesize.<option> or budgets.<option>'
        )
    mapping['budgets'] = top['budgets']
    mapping['cells'] = [
        {**row, **{k: merge(row.get(k, {}), top.get(k, {})) for k in ('train', 'synthesize')}}
        for row in mapping['cells']
    ]
    return build(Grid, mapping, str(path))


def choose_cells(grid: Grid, names: str) -> Grid:
    """Return a grid of some of the cells.

    Args:
        grid: all of them.
        names: with commas between; '' for all.

    Raises:
        ConfigError: there is no such cell.
    """
    wanted = [name.strip() for name in names.split(',') if name.strip()]
    known = {cell.name: cell for cell in grid.cells}
    for name in wanted:
        if name not in known:
            raise ConfigError(f'cells: {name!r} is not known. Choose some of {"; ".join(known)}.')
    return replace(grid, cells=tuple(known[n] for n in wanted)) if wanted else grid


def merge(base: Mapping[str, Any], *above: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested mappings joined; the later ones win."""
    joined = copy.deepcopy(dict(base))
    for mapping in above:
        for key, value in mapping.items():
            both = isinstance(value, Mapping) and isinstance(joined.get(key), Mapping)
            joined[key] = merge(joined[key], value) if both else copy.deepcopy(value)
    return joined


def _synthesize(value: Any, folder: Path) -> Any:
    """Return the options of `synthesize` that a camera gives, in place or in a file."""
    if isinstance(value, str):
        path = folder / Path(value).expanduser()
        value, folder = read_mapping(path), path.parent
    return resolve_paths(SynthesizeConfig, value, folder) if isinstance(value, dict) else value


def _rows(mapping: Mapping[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    rows = mapping.get(key)
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise ConfigError(f'{path}: {key}: wanted a list of mappings, at least one')
    return rows


def _check_names(names: Sequence[str], source: str) -> None:
    if not names or not all(names) or len(set(names)) < len(names):
        raise ConfigError(f'{source}: wanted at least one, each with a name of its own')
