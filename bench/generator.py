"""Measure the generator: images a second and memory, beside a plain pyrender script if given.

    python bench/generator.py --data DATA [--peer plain_pyrender.py] [--count 320] [--json FILE]

Both make the same kind of images, 640x480 with one to three objects and up to three distractors
of DATA/models/ycb over DATA/backgrounds/xtion_tabletop, in turns and with the same number of
processes. Loading is left out of both. Ours also writes masks, poses and visible fractions.
`rss_growth` is the growth of the workers' memory over the second half of the run, as a share;
`--count 5000 --rounds 1` is a soak test.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from synth_detect_ros.config import PoseConfig, SceneConfig, SynthesizeConfig
from synth_detect_ros.dataset.storage import SHARD
from synth_detect_ros.dataset.synthesize import synthesize
from synth_detect_ros.dataset.workers import ONE_THREAD

# The choice of the peer's script.
TARGETS = ('004_sugar_box', '005_tomato_soup_can', '035_power_drill')
DISTRACTORS = (
    '002_master_chef_can',
    '010_potted_meat_can',
    '011_banana',
    '021_bleach_cleanser',
    '024_bowl',
    '025_mug',
)


def objects_file(path: Path, data: Path, names: tuple[str, ...]) -> str:
    meshes = data.resolve() / 'models' / 'ycb'
    objects = [
        {'name': name, 'mesh': str(meshes / name / 'textured.dae'), 'unit': 'm'} for name in names
    ]
    path.write_text(yaml.safe_dump({'objects': objects}))
    return str(path)


def resident_bytes() -> int:
    """Return the resident memory of the worker processes, or of this one when it works itself."""
    workers = [process.pid for process in multiprocessing.active_children()] or [os.getpid()]
    pages = [int(Path(f'/proc/{pid}/statm').read_text().split()[1]) for pid in workers]
    return sum(pages) * os.sysconf('SC_PAGE_SIZE')


def measure_ours(data: Path, count: int, processes: int) -> dict[str, Any]:
    """Make `count` images; return images a second after the first shards, and memory growth."""
    reports: list[tuple[float, int, int]] = []

    def note(done: int, total: int, rate: float) -> None:
        reports.append((time.perf_counter(), done, resident_bytes()))

    with tempfile.TemporaryDirectory() as folder:
        config = SynthesizeConfig(
            objects=objects_file(Path(folder, 'targets.yaml'), data, TARGETS),
            distractors=objects_file(Path(folder, 'distractors.yaml'), data, DISTRACTORS),
            backgrounds=str(data / 'backgrounds' / 'xtion_tabletop'),
            out=str(Path(folder, 'set')),
            count=count,
            workers=processes,
            pose=PoseConfig(distance_m=(0.3, 1.5)),
            scene=SceneConfig(targets=(1, 3), distractors=(0, 3)),
        )
        synthesize(config, note)
    start = reports[min(processes, len(reports)) - 1]
    end, half = reports[-1], reports[len(reports) // 2]
    return {
        'images_per_second': (end[1] - start[1]) / (end[0] - start[0]),
        'rss_growth': end[2] / half[2] - 1,
        'rss_mib': end[2] / 2**20,
    }


def measure_peer(script: Path, data: Path, count: int, processes: int) -> float:
    """Run the script in as many processes; return the sum of the images a second they print."""
    with tempfile.TemporaryDirectory() as folder:
        running = []
        for number in range(processes):
            command = [sys.executable, script, '--data', data, '--out', f'{folder}/{number}']
            command += ['--count', str(count // processes)]
            running.append(
                subprocess.Popen(
                    command, stdout=subprocess.PIPE, text=True, env={**os.environ, **ONE_THREAD}
                )
            )
        output = [process.communicate()[0] for process in running]
    rates = [re.search(r'([\d.]+) images/s', text) for text in output]
    if not all(rates):
        raise SystemExit(f'{script} printed no images/s: {output}')
    return sum(float(rate.group(1)) for rate in rates if rate)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--data', type=Path, required=True, help='folder of models, backgrounds')
    parser.add_argument('--peer', type=Path, help='plain_pyrender.py; default: ours alone')
    parser.add_argument('--count', type=int, default=320, help='images of ours in each round')
    parser.add_argument('--rounds', type=int, default=2, help='turns of both')
    parser.add_argument('--processes', type=int, default=2, help='of each')
    parser.add_argument('--json', type=Path, help='file for the result')
    args = parser.parse_args()
    count = -(-args.count // (SHARD * args.processes)) * SHARD * args.processes
    ours, peer = [], []
    for _ in range(args.rounds):
        if args.peer:
            # A third of the images: its rate needs no more, and it takes longer.
            peer.append(measure_peer(args.peer, args.data, count // 3, args.processes))
        ours.append(measure_ours(args.data, count, args.processes))
    result: dict[str, Any] = {key: median(o[key] for o in ours) for key in ours[0]}
    result |= {'peer_images_per_second': median(peer) if peer else None, 'images': count}
    result |= {'ratio': result['images_per_second'] / median(peer) if peer else None}
    print(json.dumps(result, indent=2))
    if args.json:
        args.json.write_text(json.dumps(result))


if __name__ == '__main__':
    main()
