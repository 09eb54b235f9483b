"""From a grid and a setup to runs: which data sets are needed, and what is trained on which."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synth_detect_ros.config import SynthesizeConfig, TrainConfig
from synth_detect_ros.config.options import Options, build, leaves, read_mapping
from synth_detect_ros.config.presets import preset_path
from synth_detect_ros.errors import ConfigError
from synth_detect_ros.experiments.grid import Camera, Cell, Grid, Setup, merge

# What does not change a pixel of a data set.
NOT_IN_IMAGES = ('out', 'workers')
# What does not change what a run computes.
MACHINE = ('out', 'workers', 'device', 'checkpoint_every', 'log_every')


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        camera: whose images it trains and is tested on.
        cell: name of its cell.
        budget: option of `train` -> value, where the grid has budgets.
        train: what `synth-detect train` does.
        render: what is rendered before; None: it trains on real images.
    """

    camera: Camera
    cell: str
    budget: Mapping[str, Any]
    train: TrainConfig
    render: SynthesizeConfig | None

    @property
    def folder(self) -> Path:
        """Where its model, log and scores are."""
        return Path(self.train.out)


def class_names(camera: Camera) -> tuple[str, ...]:
    """Return the names of a camera's objects.

    Raises:
        ConfigError: the objects file is missing or lists none.
    """
    path = Path(camera.synthesize.get('objects', ''))
    rows = read_mapping(path).get('objects')
    try:
        return tuple(str(row['name']) for row in rows or ())
    except (KeyError, TypeError):
        raise ConfigError(f'{path}: wanted a list of objects, each with a name') from None


def plan(grid: Grid, setup: Setup, out: Path) -> list[Run]:
    """Return the runs of a grid: each cell, for each camera and budget.

    Raises:
        ConfigError: an option of a cell is unknown or out of bounds.
    """
    folders = {folder.name.rpartition('-')[2]: folder for folder in (out / 'runs').glob('*-*')}
    return [
        _run(grid, setup, camera, cell, budget, out, folders)
        for camera in setup.cameras
        for cell in grid.cells
        for budget in _budgets(grid)
    ]


def choose(runs: Sequence[Run], cells: str) -> list[Run]:
    """Return the runs of some cells.

    Args:
        runs: of all cells.
        cells: names with semicolons between; '' for all.

    Raises:
        ConfigError: there is no such cell.
    """
    wanted = [name.strip() for name in cells.split(';') if name.strip()]
    known = dict.fromkeys(run.cell for run in runs)
    for name in wanted:
        if name not in known:
            raise ConfigError(f'cells: {name!r} is not known. Choose some of {"; ".join(known)}.')
    return [run for run in runs if not wanted or run.cell in wanted]


def _budgets(grid: Grid) -> Iterator[dict[str, Any]]:
    if not grid.budgets:
        yield {}
    for key, values in grid.budgets.items():
        if not isinstance(values, list):
            raise ConfigError(f'budgets: {key}: wanted a list of values, got {values!r}')
        for value in values:
            yield {key: value}


def _run(
    grid: Grid,
    setup: Setup,
    camera: Camera,
    cell: Cell,
    budget: Mapping[str, Any],
    out: Path,
    folders: dict[str, Path],
) -> Run:
    """Plan one run; its folder is that of an equal one in `folders`, or else added there."""
    where = f'{cell.name}, {camera.name}'
    render, dataset = None, real_folder(camera, grid.real_share, out) / 'train'
    if cell.data == 'synthetic':
        options = merge(camera.synthesize, grid.synthesize, cell.synthesize)
        render = build(SynthesizeConfig, options, where)
        dataset = out / 'data' / f'{slug(camera.name)}-{digest(changed(render, NOT_IN_IMAGES))}'
        render = render.replace(out=str(dataset))
    options = _train_options(grid, setup, cell, budget)
    train = build(TrainConfig, {**options, 'dataset': str(dataset)}, where)
    facts = {**changed(train, (*MACHINE, 'dataset')), 'data': str(dataset.relative_to(out))}
    key = digest({**facts, 'files': _files_of(train)})
    label = slug('-'.join([camera.name, cell.name, *map(str, budget.values())]))
    folder = folders.setdefault(key, out / 'runs' / f'{label}-{key}')
    return Run(camera, cell.name, budget, train.replace(out=str(folder)), render)


def _train_options(
    grid: Grid, setup: Setup, cell: Cell, budget: Mapping[str, Any]
) -> dict[str, Any]:
    """Join the options of a cell: preset, extractor, setup, grid, cell, budget."""
    options = merge(setup.train, grid.train, cell.train, budget)
    preset = options.pop('preset', '')
    below = read_mapping(preset_path(preset)) if preset else {}
    detector = merge(below, options).get('detector', {})
    extractor = setup.extractors.get(detector.get('backbone', TrainConfig().detector.backbone), {})
    stands_for = {key: extractor[key] for key in extractor if key == 'backbone'}
    return merge(below, {'detector': extractor}, options, {'detector': stands_for})


def _files_of(train: TrainConfig) -> list[str]:
    """Return hashes of the files that a run rests on: with other contents it is another run."""
    backbone = train.detector.backbone.rpartition(':')[0]
    paths = (train.detector.weights, backbone, train.val_annotations)
    return [file_digest(Path(path)) for path in paths if path and Path(path).is_file()]


@functools.cache
def file_digest(path: Path) -> str:
    """Return a short name of the content of a file; it is read once."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def real_folder(camera: Camera, share: float, out: Path) -> Path:
    """Return where the split of a camera's real frames is kept.

    Raises:
        ConfigError: an annotation file is missing.
    """
    for real in camera.real:
        if not Path(real.annotations).is_file():
            raise ConfigError(f'{camera.name}, {real.name}: no such file: {real.annotations}')
    sets = [[*vars(real).values(), file_digest(Path(real.annotations))] for real in camera.real]
    facts = [share, class_names(camera), *sets]
    return out / 'data' / f'{slug(camera.name)}-real-{digest(facts)}'


def changed(config: Options, besides: Sequence[str]) -> dict[str, Any]:
    """Return the options that differ from their defaults: new options leave old runs valid."""
    default = {name: value for name, _, value in leaves(type(config)())}
    return {
        name: value
        for name, _, value in leaves(config)
        if name not in besides and value != default[name]
    }


def digest(facts: Any) -> str:
    """Return a short name of nested plain values."""
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def slug(text: str) -> str:
    """Return text as it may stand in the name of a folder."""
    return re.sub(r'[^a-z0-9.]+', '_', text.lower()).strip('_')
