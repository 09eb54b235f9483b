"""What an experiment is: a grid of cells (what is compared), and a setup (on whose images).

Both are YAML files, so that the same comparison runs on other cameras and objects.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from synth_detect_ros.config import DetectorConfig, SynthesizeConfig, TrainConfig
from synth_detect_ros.config.options import (
    Options,
    apply_overrides,
    build,
    read_mapping,
    resolve_paths,
)
from synth_detect_ros.config.presets import experiment_path
from synth_detect_ros.config.rules import option
from synth_detect_ros.documents import is_line
from synth_detect_ros.errors import ConfigError

# Held-out renderings among the labelled sets.
SYNTHETIC = 'synthetic'


class RealSet(Options):
    """Real labelled frames in the order in which they were taken."""

    name: str = option('', 'name in tables')
    images: str = option('', 'folder of images', path='always')
    annotations: str = option('', 'COCO file, images in order of time', path='always')
    exclude: str = option('', 'annotations in which this field is true do not count')


class CameraSetup(Options):
    """A camera: what is rendered for it and the real frames it took."""

    name: str = option('', 'name in tables and folders')
    synthesize: dict[str, Any] = option(dict, 'options of `synthesize`')
    real: tuple[RealSet, ...] = option((), 'real labelled frames')


class Setup(Options):
    """The user's cameras, objects and real frames."""

    cameras: tuple[CameraSetup, ...] = option((), 'at least one')
    train: dict[str, Any] = option(dict, 'options of `train` for all cells')
    extractors: dict[str, Any] = option(
        dict, 'detector options for cells with this extractor, for example where its weights are'
    )


class Cell(Options):
    """One system of the comparison."""

    name: str = option('', 'name in tables')
    data: Literal['synthetic', 'real'] = option('synthetic', 'what it trains on')
    train: dict[str, Any] = option(dict, 'options of `train`')
    synthesize: dict[str, Any] = option(dict, 'options of `synthesize`')


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
    plot: Literal['none', 'bars', 'curve'] = option('none', 'picture')
    cells: tuple[Cell, ...] = option((), 'at least one')


def read_setup(path: Path) -> Setup:
    """Read a setup; relative paths are taken from its folder.

    Raises:
        ConfigError: the file is missing or wrong, or says nothing of cameras or real frames.
    """
    folder, mapping = path.absolute().parent, read_mapping(path)
    mapping['train'] = resolve_paths(TrainConfig, _group(mapping, 'train', path), folder)
    extractors = _group(mapping, 'extractors', path)
    mapping['extractors'] = {
        key: resolve_paths(DetectorConfig, _group(extractors, key, path), folder)
        for key in extractors
    }
    for row in _rows(mapping, 'cameras', path):
        row['synthesize'] = _synthesize(row.get('synthesize', {}), folder)
        row['real'] = [resolve_paths(RealSet, part, folder) for part in _rows(row, 'real', path)]
    setup = build(Setup, mapping, str(path))
    for real in (real for camera in setup.cameras for real in camera.real):
        if not real.images or not real.annotations:
            raise ConfigError(f'{path}: {real.name}: give images and annotations')
        if real.name == SYNTHETIC:
            raise ConfigError(f'{path}: {SYNTHETIC} is the name of held-out renderings')
        if not is_line(real.name) or '/' in real.name or real.name.startswith('.'):
            raise ConfigError(f'{path}: real: wanted a name for files too, got {real.name!r}')
    return setup


def read_grid(name: str, overrides: Sequence[str] = ()) -> Grid:
    """Read a grid, a file or a shipped one, with the overrides of all cells in it.

    Raises:
        ConfigError: there is no such grid, or it is wrong.
    """
    path = Path(name)
    path = path if path.is_file() else experiment_path(name)
    folder, mapping = path.absolute().parent, read_mapping(path)
    top: dict[str, Any] = {'budgets': _group(mapping, 'budgets', path)}
    apply_overrides(top, overrides)
    given = _resolved(top, Path.cwd(), '--set')
    unknown = set(top) - {'train', 'synthesize', 'budgets'}
    if unknown:
        raise ConfigError(
            f'--set {unknown.pop()}: wanted train.<option>, '
            'synthesize.<option> or budgets.<option>'
        )
    mapping |= {'budgets': top['budgets'], **_resolved(mapping, folder, path)}
    for row in _rows(mapping, 'cells', path):
        own = _resolved(row, folder, path)
        row |= {key: merge(own[key], given[key]) for key in own}
    return build(Grid, mapping, str(path))


def _resolved(row: Mapping[str, Any], folder: Path, source: object) -> dict[str, Any]:
    """Return the options of `train` and `synthesize` in a mapping, relative paths joined."""
    return {
        'train': resolve_paths(TrainConfig, _group(row, 'train', source), folder),
        'synthesize': resolve_paths(SynthesizeConfig, _group(row, 'synthesize', source), folder),
    }


def _group(mapping: Mapping[str, Any], key: str, source: object) -> dict[str, Any]:
    """Return a group of options, {} for none.

    Raises:
        ConfigError: it is something else than a mapping.
    """
    value = mapping.get(key)
    if value is not None and not isinstance(value, Mapping):
        raise ConfigError(f'{source}: {key}: wanted a mapping of options, got {value!r}')
    return dict(value or {})


def _rows(mapping: Mapping[str, Any], key: str, source: object) -> list[dict[str, Any]]:
    """Return a list of named mappings.

    Raises:
        ConfigError: it is something else, empty, or a name is missing or stands there twice.
    """
    rows = mapping.get(key)
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise ConfigError(f'{source}: {key}: wanted a list of mappings, at least one')
    names = [str(row.get('name') or '') for row in rows]
    if not all(names) or len(set(names)) < len(names):
        raise ConfigError(f'{source}: {key}: each wants a name of its own, got {names}')
    return rows


def _synthesize(value: Any, folder: Path) -> Any:
    """Return the options of `synthesize` that a camera gives, in place or in a file."""
    if isinstance(value, str):
        path = folder / os.path.expanduser(value)
        value, folder = read_mapping(path), path.parent
    return resolve_paths(SynthesizeConfig, value, folder) if isinstance(value, dict) else value


def merge(base: Mapping[str, Any], *above: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested mappings joined; the later ones win."""
    joined = copy.deepcopy(dict(base))
    for mapping in above:
        for key, value in mapping.items():
            both = isinstance(value, Mapping) and isinstance(joined.get(key), Mapping)
            joined[key] = merge(joined[key], value) if both else copy.deepcopy(value)
    return joined
