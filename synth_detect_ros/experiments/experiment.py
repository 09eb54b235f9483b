"""An experiment from its files to its results: render, train, score, write them down."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from synth_detect_ros import __version__
from synth_detect_ros.bundle import read_bundle_info
from synth_detect_ros.config import EvaluateConfig, ExperimentConfig, SynthesizeConfig
from synth_detect_ros.config.options import build
from synth_detect_ros.dataset.synthesize import synthesize
from synth_detect_ros.detectors.extractors.build import is_own
from synth_detect_ros.detectors.extractors.own_code import read_own_code
from synth_detect_ros.experiments.grid import (
    SYNTHETIC,
    CameraSetup,
    Grid,
    read_grid,
    read_setup,
)
from synth_detect_ros.experiments.page import write_page
from synth_detect_ros.experiments.plan import (
    RECORD,
    Run,
    choose,
    class_names,
    digest,
    in_folder,
    plan,
    read_record,
    real_folder,
    slug,
    superseded,
)
from synth_detect_ros.experiments.processes import ProcessPool, machine
from synth_detect_ros.experiments.real_split import write_split
from synth_detect_ros.experiments.results import write_results
from synth_detect_ros.files import write_atomic
from synth_detect_ros.folders import FolderLock, remove_leftovers
from synth_detect_ros.training.checkpoint import read_progress

logger = logging.getLogger(__name__)

# How each run of a camera is scored, by name of the labelled set.
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
        StorageError: another process runs an experiment in `out`, or it cannot be written.
        KeyboardInterrupt: passed on; the next run goes on.
    """
    config.require()
    with FolderLock(Path(config.out)):
        remove_leftovers(Path(config.out), below=True)
        return _experiment(config, report)


def _experiment(config: ExperimentConfig, report: Callable[[int, int], None]) -> int:
    out, grid = Path(config.out), read_grid(config.grid, config.settings)
    setup = read_setup(Path(config.setup))
    runs = plan(grid, setup, out)
    chosen = choose(runs, config.cells)
    if older := superseded(runs, out):
        logger.warning(older)
    tests = {camera.name: tests_of(camera, grid, out) for camera in setup.cameras}
    _render(chosen)
    folder = out / slug(Path(config.grid).stem)
    write = functools.partial(write_experiment, grid, runs, tests, folder=folder)

    def note(done: int, total: int) -> None:
        write({})
        report(done, total)

    pool, once = ProcessPool(config.jobs), {run.folder: run for run in chosen}
    tasks = [functools.partial(run_cell, pool, r, tests[r.camera.name]) for r in once.values()]
    errors = dict(zip(once, pool.map(tasks, note), strict=True))
    write(errors)
    return sum(bool(errors[run.folder]) for run in chosen)


def _render(runs: Sequence[Run]) -> None:
    """Make the data sets of some runs, each once."""
    for render in {run.render.out: run.render for run in runs if run.render}.values():
        logger.info('data set %s', render.out)
        synthesize(render)


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
        tests: of each camera, see `tests_of`.
        errors: of runs that failed, by their folder.
        folder: gets the files; it lies in the folder of all results.
    """
    results = [result_of(r, tests[r.camera.name], errors.get(r.folder, '')) for r in runs]
    older = superseded(runs, folder.parent)
    write_results(grid, results, older, folder)
    write_page(grid, results, older, folder)


def tests_of(camera: CameraSetup, grid: Grid, out: Path) -> Tests:
    """Return how each run of a camera is scored, by name of the labelled set.

    Writes the split of the real frames, and renders held-out images where the grid asks for them.
    """
    folder = real_folder(camera, grid.real_share, out)
    split = write_split(camera.real, class_names(camera), grid.real_share, folder)
    common = EvaluateConfig(worst=grid.overlays, runtime='torch')
    tests = {
        real.name: common.replace(
            images=real.images,
            annotations=str(split[real.name]),
            exclude=real.exclude,
        )
        for real in camera.real
    }
    if grid.synthetic_validation:  # with a seed of its own
        options = build(SynthesizeConfig, camera.synthesize, camera.name)
        options = options.replace(count=grid.synthetic_validation, seed=options.seed + 1)
        options = in_folder(options, f'{camera.name}-validation', out)
        synthesize(options)
        images, file = (str(Path(options.out) / part) for part in ('images', 'annotations.json'))
        tests[SYNTHETIC] = common.replace(images=images, annotations=file)
    return tests


def run_cell(pool: ProcessPool, run: Run, tests: Tests) -> None:
    """Train and score one run, what is not there yet; see `write_experiment`.

    A record beside the model says by which version, on what machine, how far and how long.

    Raises:
        CommandError: training or scoring failed.
    """
    if not read_record(run.folder / RECORD):
        workers = 0 if pool.threads == 1 else run.train.workers
        pool.command('train', run.train.replace(workers=workers), run.folder)
        done = read_progress(run.folder)
        record = {
            'version': __version__,
            'steps': done.step,
            'seconds': done.elapsed_s,
            **machine(),
            'threads': pool.threads,
        }
        write_atomic(run.folder / RECORD, json.dumps(record, indent=2).encode())
    for name, test in tests.items():
        config = _test_of(run, name, test)
        scores = Path(config.json)
        if not read_record(scores) or (config.overlays and not Path(config.overlays).is_dir()):
            # The file that the setup names is trusted, what became of it in between not.
            extractor = run.train.detector.extractor
            trust = str(read_own_code(extractor).file) if is_own(extractor) else ''
            pool.command('evaluate', config.replace(trust_code=trust), scores.with_suffix(''))


def _test_of(run: Run, name: str, test: EvaluateConfig) -> EvaluateConfig:
    """Return how a run is scored; its files are named after what it is scored on."""
    files = run.folder / 'scores' / f'{slug(name)}-{digest(Path(test.annotations).parts[-3:])}'
    return test.replace(
        model=str(run.folder / 'bundle'),
        json=f'{files}.json',
        overlays=str(files / 'overlays') if test.worst else '',
    )


def result_of(run: Run, tests: Tests, error: str) -> dict[str, Any]:
    """Return what is known of a run: its facts, and its metrics by labelled set."""
    result: dict[str, Any] = {
        'camera': run.camera.name,
        'cell': run.cell,
        'budget': run.budget,
        'error': error,
        'folder': str(run.folder),
    }
    if not (record := read_record(run.folder / RECORD)):
        return result
    info = read_bundle_info(run.folder / 'bundle')
    result |= {'trainable': info['freeze'].get('trainable')}
    result |= record
    result |= {'scores': {}, 'overlays': {}}
    for name, test in tests.items():
        done = _test_of(run, name, test)
        if metrics := read_record(Path(done.json)):
            result['scores'][name] = metrics
            result['overlays'] |= {name: done.overlays} if done.overlays else {}
    return result
