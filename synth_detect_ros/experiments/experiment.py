"""An experiment from its files to its results: render, train, score, write them down."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from synth_detect_ros.bundle import read_bundle_info
from synth_detect_ros.config import EvaluateConfig, ExperimentConfig, SynthesizeConfig
from synth_detect_ros.config.options import build
from synth_detect_ros.dataset.synthesize import synthesize
from synth_detect_ros.experiments.execute import RECORD, Pool, score_cell, train_cell
from synth_detect_ros.experiments.grid import SYNTHETIC, Camera, Grid, read_grid, read_setup
from synth_detect_ros.experiments.page import write_page, write_plots
from synth_detect_ros.experiments.plan import (
    NOT_IN_IMAGES,
    Run,
    changed,
    choose,
    class_names,
    digest,
    plan,
    real_folder,
    slug,
)
from synth_detect_ros.experiments.real_split import write_split
from synth_detect_ros.experiments.tables import write_results

logger = logging.getLogger(__name__)

Tests = Mapping[str, EvaluateConfig]


def experiment(
    config: ExperimentConfig, report: Callable[[int, int], None] = lambda done, total: None
) -> int:
    """Run a grid, or go on with it, and write its results to `config.out`.

    Args:
        config: what to run; `grid`, `setup` and `out` are needed.
        report: called with (runs done, runs in all).

    Returns:
        How many cells failed; the results say why.

    Raises:
        ConfigError: an option, the grid or the setup is wrong.
        SynthDetectError: a data set cannot be made.
        KeyboardInterrupt: passed on; the next run goes on.
    """
    config.require('grid', 'setup', 'out')
    out, grid = Path(config.out), read_grid(config.grid, config.settings)
    setup = read_setup(Path(config.setup))
    runs = plan(grid, setup, out)
    chosen = choose(runs, config.cells)
    tests = {camera.name: tests_of(camera, grid, out) for camera in setup.cameras}
    for render in {r.render.out: r.render for r in chosen if r.render}.values():
        logger.info('data set %s', render.out)
        synthesize(render)
    pool = Pool(config.jobs)
    todo = {run.folder: run for run in chosen}  # equal cells are trained once
    tasks = [
        functools.partial(run_cell, pool, run, tests[run.camera.name]) for run in todo.values()
    ]

    folder = out / slug(Path(config.grid).stem)

    def note(done: int, total: int) -> None:
        write_experiment(grid, runs, tests, {}, folder)
        report(done, total)

    errors = dict(zip(todo, pool.map(tasks, note), strict=True))
    write_experiment(grid, runs, tests, errors, folder)
    return sum(bool(errors[run.folder]) for run in chosen)


def write_experiment(
    grid: Grid,
    runs: Sequence[Run],
    tests: Mapping[str, Tests],
    errors: Mapping[Path, str],
    folder: Path,
) -> None:
    """Write the tables and the page of what is done so far.

    Args:
        grid: that is run.
        runs: its runs, done or not.
        tests: how the runs of each camera are scored, see `tests_of`.
        errors: of runs that failed, by folder.
        folder: gets the files.
    """
    rows = [_row(run, tests[run.camera.name], errors.get(run.folder, '')) for run in runs]
    write_results(grid, rows, folder)
    write_page(grid, rows, folder)
    write_plots(grid, rows, folder)


def tests_of(camera: Camera, grid: Grid, out: Path) -> Tests:
    """Return how each run of a camera is scored, by name of the labelled set.

    Writes the split of the real frames, and renders held-out images where the grid asks for them.
    """
    folder = real_folder(camera, grid.real_share, out)
    split = write_split(camera.real, class_names(camera), grid.real_share, folder)
    tests = {
        real.name: EvaluateConfig(
            images=real.images,
            annotations=str(split[real.name]),
            exclude=real.exclude,
            worst=grid.overlays,
            runtime='torch',
        )
        for real in camera.real
    }
    if grid.synthetic_validation:
        tests[SYNTHETIC] = _synthetic(camera, grid, out)
    return tests


def _synthetic(camera: Camera, grid: Grid, out: Path) -> EvaluateConfig:
    """Render held-out images of the camera, with a seed of their own."""
    options = build(SynthesizeConfig, camera.synthesize, camera.name)
    options = options.replace(count=grid.synthetic_validation, seed=options.seed + 1)
    facts = changed(options, NOT_IN_IMAGES)
    folder = out / 'data' / f'{slug(camera.name)}-validation-{digest(facts)}'
    synthesize(options.replace(out=str(folder)))
    return EvaluateConfig(
        images=str(folder / 'images'),
        annotations=str(folder / 'annotations.json'),
        worst=grid.overlays,
        runtime='torch',
    )


def run_cell(pool: Pool, run: Run, tests: Tests) -> None:
    """Train and score one run, what is not there yet."""
    workers = 0 if pool.threads == 1 else run.train.workers
    train_cell(pool, run.train.replace(workers=workers))
    for name, test in tests.items():
        score_cell(pool, _test_of(run, name, test))


def _test_of(run: Run, name: str, test: EvaluateConfig) -> EvaluateConfig:
    label = f'{slug(name)}-{digest(Path(test.annotations).parts[-3:])}'
    folder = run.folder / 'scores'
    overlays = str(folder / label / 'overlays') if test.worst else ''
    file = str(folder / f'{label}.json')
    return test.replace(model=str(run.folder / 'bundle'), json=file, overlays=overlays)


def _row(run: Run, tests: Tests, error: str) -> dict[str, Any]:
    """Return what is known of a run: its facts, and its metrics by labelled set."""
    row: dict[str, Any] = {
        'camera': run.camera.name,
        'cell': run.cell,
        'budget': run.budget,
        'error': error,
        'folder': str(run.folder),
    }
    if not (run.folder / RECORD).is_file():
        return row
    info = read_bundle_info(run.folder / 'bundle')
    row |= {'trainable': info['freeze'].get('trainable')}
    row |= json.loads((run.folder / RECORD).read_text())
    row |= {'scores': {}, 'overlays': {}}
    for name, test in tests.items():
        done = _test_of(run, name, test)
        if Path(done.json).is_file():
            row['scores'][name] = json.loads(Path(done.json).read_text())
            row['overlays'] |= {name: done.overlays} if done.overlays else {}
    return row
