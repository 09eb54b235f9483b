"""Runs of the generator for `generator.py`: configurations to compare, and what a run takes."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
import yaml

from synth_detect_ros.compute.core_assignment import ONE_THREAD, CoreAssignment
from synth_detect_ros.compute.timing import Timing
from synth_detect_ros.config import PoseConfig, SceneConfig
from synth_detect_ros.config import SynthesizeConfig as Config
from synth_detect_ros.dataset.storage import SHARD
from synth_detect_ros.dataset.synthesize import synthesize
from synth_detect_ros.geometry.camera import Camera

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
# Of the peer's camera, and of the real one.
HFOV_DEG = float(np.rad2deg(2 * np.arctan(320 / 525)))


@dataclass(frozen=True)
class Run:
    """What one run took.

    Attributes:
        images: that were made.
        rate: images a second after the first shard of each worker.
        rss_mib: resident memory of the workers at the end [MiB].
        rss_growth: growth of it over the second half, as a share.
        stages: milliseconds an image of each stage.
    """

    images: int
    rate: float
    rss_mib: float
    rss_growth: float
    stages: dict[str, float]


def default_config(data: Path, folder: Path, size: tuple[int, int]) -> Config:
    """Return the peer's kind of images: 0.3 to 1.5 m away, 1 to 3 targets, 0 to 3 distractors.

    Args:
        data: folder with models/ycb and backgrounds/xtion_tabletop.
        folder: for the objects files and the camera.
        size: width and height of the images [px].
    """
    config = Config(
        objects=_objects_file(folder / 'targets.yaml', data, TARGETS),
        distractors=_objects_file(folder / 'distractors.yaml', data, DISTRACTORS),
        backgrounds=str(data / 'backgrounds' / 'xtion_tabletop'),
        pose=PoseConfig(distance_m=(0.3, 1.5)),
        scene=SceneConfig(targets=(1, 3), distractors=(0, 3)),
    )
    return resized(config, folder, size)


def resized(config: Config, folder: Path, size: tuple[int, int]) -> Config:
    """Return the configuration with images of another size and the same field of view."""
    camera = Camera.from_fov(*size, HFOV_DEG)
    path = folder / f'camera_{camera.width}x{camera.height}.yaml'
    path.write_text(yaml.safe_dump(camera.to_calibration()))
    return config.replace(camera=str(path))


def of_sphere(config: Config, folder: Path, level: int) -> Config:
    """Return the configuration with one smooth sphere of 20 * 4^level triangles, and no other."""
    path = folder / f'sphere_{level}.ply'
    trimesh.creation.icosphere(subdivisions=level, radius=0.08).export(path)
    objects = _write_objects(folder / f'sphere_{level}.yaml', {'sphere': path})
    return config.replace(objects=objects, distractors='')


def with_objects(config: Config, count: int) -> Config:
    """Return the configuration with `count` targets an image and no distractor."""
    return config.replace(scene=SceneConfig(targets=(count, count), distractors=(0, 0)))


def measure(config: Config, note: Callable[[int, int], None] | None = None) -> Run:
    """Make a data set, throw it away, and return what it took.

    Args:
        config: what to make; its count is rounded up to whole shards of all workers.
        note: called with (images there are, resident bytes of the workers) after each shard.
    """
    whole = SHARD * config.workers
    count = max(-(-config.count // whole), 2) * whole
    reports: list[tuple[float, int, int]] = []
    timings: list[Timing] = []

    def keep(done: int, total: int, timing: Timing) -> None:
        rss = _resident_bytes()
        reports.append((time.perf_counter(), done, rss))
        timings[:] = [timing]
        if note:
            note(done, rss)

    with tempfile.TemporaryDirectory() as folder:
        synthesize(config.replace(out=f'{folder}/set', count=count), keep)
    start, half, end = reports[config.workers - 1], reports[len(reports) // 2], reports[-1]
    return Run(
        images=count,
        rate=(end[1] - start[1]) / (end[0] - start[0]),
        rss_mib=end[2] / 2**20,
        rss_growth=end[2] / half[2] - 1,
        stages=timings[0].to_mapping()['ms_per_image'],
    )


def measure_one_worker(config: Config) -> Run:
    """Measure one worker, with one thread on one core as each of several has."""
    context = multiprocessing.get_context('spawn')
    cores = CoreAssignment((min(os.sched_getaffinity(0)),), None)
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        with ProcessPoolExecutor(1, context, cores.apply) as pool:
            return pool.submit(measure, config.replace(workers=1)).result()
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _objects_file(path: Path, data: Path, names: tuple[str, ...]) -> str:
    meshes = data.resolve() / 'models' / 'ycb'
    return _write_objects(path, {name: meshes / name / 'textured.dae' for name in names})


def _write_objects(path: Path, meshes: dict[str, Path]) -> str:
    objects = [{'name': name, 'mesh': str(mesh), 'unit': 'm'} for name, mesh in meshes.items()]
    path.write_text(yaml.safe_dump({'objects': objects}))
    return str(path)


def _resident_bytes() -> int:
    """Return the resident memory of the worker processes, or of this one when it works itself."""
    workers = [process.pid for process in multiprocessing.active_children()] or [os.getpid()]
    pages = [int(Path(f'/proc/{pid}/statm').read_text().split()[1]) for pid in workers]
    return sum(pages) * os.sysconf('SC_PAGE_SIZE')
