"""From a grid and a setup to runs: which data sets are needed, and what is trained on which.

A run's folder is named after all that it depends on: the resolved options, the contents of files
and the version of this package. Whatever changes makes another run; the old one stays.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from synth_detect_ros import __version__
from synth_detect_ros.config import SynthesizeConfig, TrainConfig
from synth_detect_ros.config.options import Options, build, read_mapping, to_mapping
from synth_detect_ros.config.presets import fit_detector, preset_path
from synth_detect_ros.detectors.extractors.build import is_own
from synth_detect_ros.detectors.extractors.own_code import read_own_code
from synth_detect_ros.documents import is_line, read_json
from synth_detect_ros.errors import ConfigError
from synth_detect_ros.experiments.grid import CameraSetup, Cell, Grid, Setup, merge

# What does not change a pixel of a data set.
NOT_IN_IMAGES = ('out', 'workers')
# What does not change what a run computes; the data set is named by its own digest.
NOT_IN_RUN = ('out', 'workers', 'device', 'checkpoint_every', 'log_every', 'dataset')
# Written when a run is trained.
RECORD = 'trained.json'


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

    camera: CameraSetup
    cell: str
    budget: Mapping[str, Any]
    train: TrainConfig
    render: SynthesizeConfig | None

    @property
    def folder(self) -> Path:
        """Where its model, log and scores are."""
        return Path(self.train.out)

    @property
    def label(self) -> str:
        """What its folder's name begins with."""
        return slug('-'.join([self.camera.name, self.cell, *map(str, self.budget.values())]))


def plan(grid: Grid, setup: Setup, out: Path) -> list[Run]:
    """Return the runs of a grid: each cell, for each camera and budget.

    Runs that compute the same share a folder, also with those of other grids in `out`.

    Raises:
        ConfigError: an option of a cell is unknown or out of bounds.
    """
    folders = {folder.name.rpartition('-')[2]: folder for folder in (out / 'runs').glob('*-*')}
    runs = []
    for camera, cell, budget in itertools.product(setup.cameras, grid.cells, _budgets(grid)):
        run = _run(grid, setup, camera, cell, budget, out)
        facts = _options(run.train, NOT_IN_RUN), str(Path(run.train.dataset).relative_to(out))
        key = digest(*facts, _files_of(run.train))
        folder = folders.setdefault(key, out / 'runs' / f'{run.label}-{key}')
        runs.append(replace(run, train=run.train.replace(out=str(folder))))
    return runs


def _budgets(grid: Grid) -> list[dict[str, Any]]:
    for key, values in grid.budgets.items():
        if not isinstance(values, list):
            raise ConfigError(f'budgets: {key}: wanted a list of values, got {values!r}')
    budgets = [{key: value} for key, values in grid.budgets.items() for value in values]
    return budgets if grid.budgets else [{}]


def _run(
    grid: Grid,
    setup: Setup,
    camera: CameraSetup,
    cell: Cell,
    budget: Mapping[str, Any],
    out: Path,
) -> Run:
    """Return a run that has no folder yet."""
    where = f'{cell.name}, {camera.name}'
    render, dataset = None, real_folder(camera, grid.real_share, out) / 'train'
    if cell.data == 'synthetic':
        options = merge(camera.synthesize, grid.synthesize, cell.synthesize)
        render = in_folder(build(SynthesizeConfig, options, where), camera.name, out)
        dataset = Path(render.out)
    options = {**_train_options(grid, setup, cell, budget), 'dataset': str(dataset)}
    return Run(camera, cell.name, budget, build(TrainConfig, options, where), render)


def _train_options(
    grid: Grid, setup: Setup, cell: Cell, budget: Mapping[str, Any]
) -> dict[str, Any]:
    """Join the options of a cell: preset, extractor, setup, grid, cell, budget."""
    options = merge(setup.train, grid.train, cell.train, budget)
    preset = options.pop('preset', '')
    below = fit_detector(read_mapping(preset_path(preset)), options) if preset else {}
    detector = merge(below, options).get('detector', {})
    name = detector.get('extractor', TrainConfig().detector.extractor)
    extractor = setup.extractors.get(name, {})
    stands_for = {key: extractor[key] for key in extractor if key == 'extractor'}
    return merge(below, {'detector': extractor}, options, {'detector': stands_for})


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


def superseded(runs: Sequence[Run], out: Path) -> str:
    """Return a sentence about trained runs of the same names that are not these; '' for none."""
    current, labels = {run.folder for run in runs}, {run.label for run in runs}
    found = []
    for record in sorted((out / 'runs').glob(f'*-*/{RECORD}')):
        if record.parent not in current and record.parent.name.rpartition('-')[0] in labels:
            version = read_record(record).get('version', 'unknown')
            found.append(f'{record.parent.name} (version {version})')
    if not found:
        return ''
    return (
        'Kept, and not counted here, are runs of the same names that were trained with other '
        f'options or files, or by another version of synth_detect_ros than {__version__}: '
        f'{", ".join(found)}.'
    )


def read_record(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file; {} where it is missing or was not written whole."""
    try:
        content = read_json(path, ConfigError)
    except ConfigError:
        return {}
    return content if isinstance(content, dict) else {}


def in_folder(render: SynthesizeConfig, name: str, out: Path) -> SynthesizeConfig:
    """Return what is rendered, into a folder that is named after all that the images depend on."""
    folder = out / 'data' / f'{slug(name)}-{digest(_options(render, NOT_IN_IMAGES))}'
    return render.replace(out=str(folder))


def real_folder(camera: CameraSetup, share: float, out: Path) -> Path:
    """Return where the split of a camera's real frames is kept.

    Raises:
        ConfigError: an annotation file is missing.
    """
    for real in camera.real:
        if not Path(real.annotations).is_file():
            raise ConfigError(f'{camera.name}, {real.name}: no such file: {real.annotations}')
    sets = [[to_mapping(real), file_digest(Path(real.annotations))] for real in camera.real]
    key = digest(share, class_names(camera), sets)
    return out / 'data' / f'{slug(camera.name)}-real-{key}'


def class_names(camera: CameraSetup) -> tuple[str, ...]:
    """Return the names of a camera's objects.

    Raises:
        ConfigError: the objects file is not given, missing, or no list of named objects.
    """
    objects = camera.synthesize.get('objects')
    if not isinstance(objects, str) or not objects:
        raise ConfigError(f'{camera.name}: synthesize: wanted objects, a file, got {objects!r}')
    rows = read_mapping(Path(objects)).get('objects')
    rows = rows if isinstance(rows, list) else []
    found = [row.get('name') if isinstance(row, Mapping) else None for row in rows]
    names = tuple(name for name in found if is_line(name))
    if not names or len(names) < len(found):
        raise ConfigError(f'{objects}: wanted a list of objects, each with a name')
    return names


def _files_of(train: TrainConfig) -> list[str]:
    """Return digests of the files that a run reads: with other contents it is another run."""
    paths, extractor = (train.detector.weights, train.val_annotations), train.detector.extractor
    code = [read_own_code(extractor).sha256[:16]] if is_own(extractor) else []
    return code + [file_digest(Path(path)) for path in paths if path and Path(path).is_file()]


@functools.cache
def file_digest(path: Path) -> str:
    """Return a short name of the content of a file; it is read once."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _options(config: Options, besides: Sequence[str]) -> dict[str, Any]:
    """Return all options, also those at their defaults, which another version may change."""
    return {key: value for key, value in to_mapping(config).items() if key not in besides}


def digest(*facts: Any) -> str:
    """Return a short name of nested plain values and of this version of the package."""
    text = json.dumps([__version__, *facts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def slug(text: str) -> str:
    """Return text as it may stand in the name of a folder."""
    return re.sub(r'[^a-z0-9.]+', '_', text.lower()).strip('_')
