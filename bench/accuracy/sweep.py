"""Run the cells of several grids in processes that stay, on a machine that is paid by the minute.

    python bench/accuracy/sweep.py bench/accuracy/gpu.yaml --out build/accuracy --jobs 8
    python bench/accuracy/sweep.py bench/accuracy/cpu.yaml --out build/accuracy --jobs 15 --cores 1

What `synth-detect experiment` does with a process for each command, this does in one process a
job: a GPU is warmed up once, and cells of all grids fill the jobs until the time is up. Data sets
are rendered side by side before. The results are those of `synth-detect experiment` with the same
`--out`, which the last lines write; what was not reached stands there as not done.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from synth_detect_ros.config import EvaluateConfig, SynthesizeConfig, TrainConfig
from synth_detect_ros.config.options import Options, read_mapping
from synth_detect_ros.dataset.synthesize import synthesize
from synth_detect_ros.evaluation.evaluate import evaluate
from synth_detect_ros.experiments.experiment import run_cell, tests_of, write_experiment
from synth_detect_ros.experiments.grid import read_grid, read_setup
from synth_detect_ros.experiments.plan import Run, plan
from synth_detect_ros.training.train import train

WARM_UP_STEPS = 3
RENDER_WORKERS = 2
# Reading the images is the work of a process beside the one that trains.
THREADS = 2
# Steps a second, to guess which cells take longest; of masks, a third of them.
GUESSED_RATE = 3.0

Tests = Mapping[str, EvaluateConfig]
logger = logging.getLogger('sweep')


class Here:
    """Stands for `processes.ProcessPool`: commands run in this process."""

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def command(self, name: str, config: Options, folder: Path) -> None:
        """Train or evaluate."""
        folder.mkdir(parents=True, exist_ok=True)
        if name == 'train':
            assert isinstance(config, TrainConfig)
            train(config)
        else:
            assert isinstance(config, EvaluateConfig)
            evaluate(config)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('plan', type=Path, help='YAML: grids by name, each a list of settings')
    parser.add_argument('--setup', type=Path, default=Path(__file__).with_name('setup.yaml'))
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--jobs', type=int, default=2)
    parser.add_argument('--cores', type=int, default=0, help='of each job alone; 0: all share all')
    parser.add_argument('--seconds', type=float, default=1e9, help='start no cell after this time')
    parser.add_argument('--only', nargs='*', help='grids; default: all of the plan')
    parser.add_argument('--step', choices=('all', 'render', 'train', 'write'), default='all')
    return parser.parse_args()


def read_plan(path: Path, only: Sequence[str] | None) -> dict[str, tuple[str, ...]]:
    """Return the settings of each grid: those of all, then its own."""
    mapping = read_mapping(path)
    shared = mapping.get('settings', [])
    grids: dict[str, list[str] | None] = mapping['grids']
    return {k: (*shared, *(v or ())) for k, v in grids.items() if not only or k in only}


def start_rendering(renders: Mapping[str, SynthesizeConfig]) -> list[Any]:
    """Start processes that render data sets side by side."""
    spawn = multiprocessing.get_context('spawn')
    children = [
        spawn.Process(target=synthesize, args=(r.replace(workers=RENDER_WORKERS),))
        for r in renders.values()
        if not (Path(r.out) / 'annotations.json').is_file()
    ]
    for child in children:
        child.start()
    return children


def guess(config: TrainConfig) -> float:
    """Return about how long a training takes [s]."""
    masks = config.detector.architecture == 'mask_rcnn'
    steps = config.steps / GUESSED_RATE * (3 if masks else 1)
    return min(steps, config.time_limit_s) if config.time_limit_s else steps


def work(queue: Any, deadline: float, cores: Sequence[int]) -> None:
    """Do runs until there are none, or the time is up; on some cores alone, or on all."""
    logging.basicConfig(level=logging.INFO, format='%(process)d %(asctime)s %(message)s')
    if cores:
        os.sched_setaffinity(0, cores)
        torch.set_num_threads(len(cores))
    warm = not torch.cuda.is_available()
    while (item := queue.get()) is not None and time.time() < deadline:
        run, tests = item
        try:
            if not warm:
                with tempfile.TemporaryDirectory() as folder:
                    train(run.train.replace(steps=WARM_UP_STEPS, out=folder))
                warm = True
            start = time.time()
            run_cell(Here(len(cores) or THREADS), run, tests)
            logger.info('done %s in %.0f s', run.folder.name, time.time() - start)
        except Exception:
            logger.exception('failed %s', run.folder.name)


def main() -> None:
    args = parse()
    logging.basicConfig(level=logging.INFO, format='%(asctime)s %(message)s')
    deadline = time.time() + args.seconds
    os.environ |= {f'{who}_NUM_THREADS': '1' for who in ('OMP', 'OPENBLAS', 'MKL')}  # of children
    setup, out = read_setup(args.setup), args.out.absolute()
    settings = read_plan(args.plan, args.only)
    grids = {name: read_grid(name, words) for name, words in settings.items()}
    runs = {name: plan(grid, setup, out) for name, grid in grids.items()}
    renderers = []
    if args.step in ('all', 'render'):
        renderers = start_rendering(
            {r.render.out: r.render for rows in runs.values() for r in rows if r.render}
        )
    tests = {
        name: {camera.name: tests_of(camera, grid, out) for camera in setup.cameras}
        for name, grid in grids.items()
    }
    for child in renderers:
        child.join()
    logger.info('rendered')
    if args.step in ('all', 'train'):
        todo: dict[str, tuple[Run, Tests]] = {}
        for name, rows in runs.items():
            for run in rows:  # cells of several grids are trained once, scored for each
                key = run.folder.name.rpartition('-')[2]
                first, before = todo.get(key, (run, {}))
                todo[key] = (first, {**before, **tests[name][run.camera.name]})
        spawn = multiprocessing.get_context('spawn')
        queue = spawn.Queue()
        longest_first = sorted(todo.values(), key=lambda item: -guess(item[0].train))
        for item in [*longest_first, *args.jobs * [None]]:
            queue.put(item)
        free = sorted(os.sched_getaffinity(0))
        seats = [free[k * args.cores :][: args.cores] for k in range(args.jobs)]
        children = [spawn.Process(target=work, args=(queue, deadline, seat)) for seat in seats]
        for child in children:
            child.start()
        for child in children:
            child.join()
        queue.cancel_join_thread()  # what was not reached stays in it
        runs = {name: plan(grid, setup, out) for name, grid in grids.items()}
    if args.step in ('all', 'write'):
        for name, grid in grids.items():
            write_experiment(grid, runs[name], tests[name], {}, out / name)


if __name__ == '__main__':
    main()
