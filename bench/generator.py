"""Measure the generator beside a plain pyrender script and Blender: images a second, memory.

    python bench/generator.py --data DATA --peer plain_pyrender.py [--quick] [--json FILE]

Ours and the peer make the same kind of images, one to three objects and up to three distractors of
DATA/models/ycb over DATA/backgrounds/xtion_tabletop, in turns and with as many processes of one
thread each. Loading is left out of both. Ours also writes masks, poses and visible fractions.
`generator_workers` compares two workers with one, each bound to one core. Blender makes a few
images only, by an interpreter that has bpy (`--peers-python`): it is slow.
`--tables` adds images a second by resolution, triangles, objects and workers; `--soak N` makes N
images instead and prints the workers' memory.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import generator_runs as runs
from generator_runs import Run
from report import Result, report, table

from synth_detect_ros.compute.core_assignment import ONE_THREAD

SIZES = {'640x480': (640, 480), '1280x1024': (1280, 1024)}
# Images of ours at each size, and of one process of the peer; ten to fifteen seconds each.
OURS = {'640x480': 640, '1280x1024': 192}
PEER = {'640x480': 30, '1280x1024': 12}
QUICK = 8  # times fewer images, one round
BLENDER_IMAGES, BLENDER_LIMIT_S = 4, 120


def measure_peer(script: Path, data: Path, size: str, count: int, processes: int) -> float:
    """Run the script in as many processes; return the sum of the images a second they print."""
    width, height = SIZES[size]
    with tempfile.TemporaryDirectory() as folder:
        running = [
            subprocess.Popen(
                [
                    *(sys.executable, script, '--data', data, '--out', f'{folder}/{number}'),
                    *('--count', str(count), '--width', str(width), '--height', str(height)),
                ],
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, **ONE_THREAD},
            )
            for number in range(processes)
        ]
        output = [process.communicate()[0] for process in running]
    rates = [re.search(r'([\d.]+) images/s', text) for text in output]
    if not all(rates):
        raise SystemExit(f'{script} printed no images/s: {output}')
    return sum(float(rate.group(1)) for rate in rates if rate)


def measure_blender(python: Path, data: Path, count: int, processes: int) -> float | None:
    """Return Blender's images a second on as many cores; None, and why, where it does not run."""
    script = Path(__file__).with_name('blender_peer.py')
    command = [python, script, '--data', data, '--count', str(count), '--threads', str(processes)]
    command += ['--seconds', str(BLENDER_LIMIT_S)]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        print(f'Blender is left out: {error}', flush=True)
        return None
    rate = re.search(r'([\d.]+) images/s', run.stdout)
    if rate is None:
        why = run.stderr.strip().splitlines()[-1:] or ['it printed no images/s']
        print(f'Blender is left out: {why[0]}', flush=True)
    return float(rate.group(1)) if rate else None


def compare(options: argparse.Namespace) -> list[Result]:
    """Measure ours and the peers in turns; return the results that were asked for."""
    shrink, rounds = (QUICK, 1) if options.quick else (1, options.rounds)

    def config(size: str) -> runs.Config:
        count = options.count or OURS[size] // shrink
        base = runs.default_config(options.data, options.scratch, SIZES[size])
        return base.replace(count=count, workers=options.processes)

    def at_size(size: str) -> tuple[Run, float]:
        images = max(PEER[size] // shrink, 4)
        peer = measure_peer(options.peer, options.data, size, images, options.processes)
        return runs.measure(config(size)), peer

    def two_and_one() -> tuple[Run, float]:
        whole = config('640x480').replace(workers=2)
        half = whole.replace(count=whole.count // 2)
        return runs.measure(whole), runs.measure_one_worker(half).rate

    wanted: dict[str, Callable[[], tuple[Run, float]]] = {
        'generator_640x480': lambda: at_size('640x480'),
        'generator_1280x1024': lambda: at_size('1280x1024'),
        'generator_workers': two_and_one,
    }
    if options.only:
        wanted = {name: measure for name, measure in wanted.items() if name in options.only}
    if not options.peer:
        wanted = {name: wanted[name] for name in wanted if name == 'generator_workers'}
    pairs: dict[str, list[tuple[Run, float]]] = {}
    for _ in range(rounds):
        for name, measure in wanted.items():
            run, peer = measure()
            pairs.setdefault(name, []).append((run, peer))
            print(f'{name}: {run.rate:.1f} / {peer:.1f} images/s', flush=True)
    results = [result(name, measured, options) for name, measured in pairs.items()]
    return results + blender(results, options)


def result(name: str, measured: list[tuple[Run, float]], options: argparse.Namespace) -> Result:
    """Return the medians of all rounds."""
    ours, peers = [run for run, _ in measured], [peer for _, peer in measured]
    workers = name == 'generator_workers'
    return Result(
        name,
        ours=median(run.rate for run in ours),
        peer=median(peers),
        unit='images/s',
        peer_name='one worker of ours' if workers else options.peer.name,
        details={
            'processes': 2 if workers else options.processes,
            'images': sum(run.images for run in ours),
            'rss_mib': median(run.rss_mib for run in ours),
            'rss_growth': median(run.rss_growth for run in ours),
            'ms_per_image': ours[-1].stages,
        },
    )


def blender(results: list[Result], options: argparse.Namespace) -> list[Result]:
    """Return ours at 640x480 beside Blender, where both were measured."""
    ours = [result for result in results if result.name == 'generator_640x480']
    if not ours or not options.peers_python:
        return []
    images = 1 if options.quick else BLENDER_IMAGES
    rate = measure_blender(options.peers_python, options.data, images, options.processes)
    name = f'{ours[0].name}_blender'
    return [replace(ours[0], name=name, peer=rate, peer_name='Blender (Cycles)')] if rate else []


def tables(options: argparse.Namespace) -> None:
    """Print what the cost of an image depends on."""
    count = 32 if options.quick else 128

    def show(title: str, values: list[Any], config: Callable[[Any], runs.Config]) -> None:
        configs = [config(value).replace(count=count) for value in values]
        measured = [
            runs.measure_one_worker(each) if each.workers == 1 else runs.measure(each)
            for each in configs
        ]
        head = (title, 'images/s', *(f'{name} ms' for name in measured[0].stages))
        rows = [
            (value, run.rate, *run.stages.values())
            for value, run in zip(values, measured, strict=True)
        ]
        print(table(head, rows), end='\n\n', flush=True)

    scratch = options.scratch
    base = runs.default_config(options.data, scratch, SIZES['640x480'])
    base = base.replace(workers=options.processes)
    sizes = [(320, 240), (640, 480), (1280, 1024), (1920, 1080)]
    show('resolution', sizes, lambda size: runs.resized(base, scratch, size))
    show('triangles, 20 * 4^n', [3, 4, 5, 6], lambda n: runs.of_sphere(base, scratch, n))
    show('objects', [1, 2, 4, 8], lambda number: runs.with_objects(base, number))
    cores = len(os.sched_getaffinity(0))
    workers = sorted({*(2**n for n in range(10) if 2**n < cores), cores})
    show('workers', workers, lambda number: base.replace(workers=number))


def soak(options: argparse.Namespace) -> None:
    """Print the workers' memory as it makes many images."""
    config = runs.default_config(options.data, options.scratch, SIZES['640x480'])
    last = 0

    def note(done: int, rss: int) -> None:
        nonlocal last
        if done // 1000 > last // 1000 or done == options.soak:
            print(f'{done:7d} images  {rss / 2**20:8.1f} MiB', flush=True)
            last = done

    run = runs.measure(config.replace(count=options.soak, workers=options.processes), note)
    print(f'{run.rate:.1f} images/s, memory grew by {run.rss_growth:+.2%} over the second half')


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--data', type=Path, required=True, help='folder of models, backgrounds')
    parser.add_argument('--peer', type=Path, help='plain_pyrender.py; default: ours alone')
    parser.add_argument('--peers-python', type=Path, help='interpreter that has bpy')
    parser.add_argument('--only', nargs='*', help='results to measure; default: all')
    parser.add_argument('--count', type=int, help='images of ours a round; default: by size')
    parser.add_argument('--rounds', type=int, default=2, help='turns of both')
    parser.add_argument('--processes', type=int, default=2, help='of each')
    parser.add_argument('--quick', action='store_true', help='a short run: does it work?')
    parser.add_argument('--tables', action='store_true', help='cost against size as well')
    parser.add_argument('--soak', type=int, metavar='N', help='memory over N images, no peer')
    parser.add_argument('--json', type=Path, help='file for the results')
    return parser.parse_args()


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory() as scratch:
        options.scratch = Path(scratch)
        if options.soak:
            soak(options)
            return
        results = compare(options)
        report(results, options.json)
        if options.tables:
            tables(options)


if __name__ == '__main__':
    main()
