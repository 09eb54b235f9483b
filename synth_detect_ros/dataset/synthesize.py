"""Render CAD models over real backgrounds: sample i of a run is a pure function of (config, i)."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import platform
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.config import SynthesizeConfig
from synth_detect_ros.dataset.backgrounds import BackgroundSet, read_background_set
from synth_detect_ros.dataset.storage import DatasetWriter
from synth_detect_ros.dataset.workers import Progress, Stop, default_workers, run_shards
from synth_detect_ros.errors import ConfigError, UncalibratedCameraError
from synth_detect_ros.geometry.boxes import boxes_of_ids
from synth_detect_ros.geometry.camera import CALIBRATION_ADVICE, Camera, read_camera
from synth_detect_ros.geometry.poses import Schedule
from synth_detect_ros.options import to_mapping
from synth_detect_ros.rendering.compose import compose, vary_background
from synth_detect_ros.rendering.mesh import ObjectModel, read_objects
from synth_detect_ros.rendering.renderer import get_renderer
from synth_detect_ros.rendering.scene import PlacedScene, SceneFactory
from synth_detect_ros.rendering.sensor import apply_sensor
from synth_detect_ros.structures import Instances, Sample

logger = logging.getLogger(__name__)

# Each step has random numbers of its own: switching one off leaves the others as they were.
_SCENE, _BACKGROUND, _COMPOSE, _SENSOR = range(31, 35)
# Decoded background frames kept in each process [bytes]; others are read each time.
FRAME_MEMORY = 128 << 20

# Share of the objects that may find no room before the run says so.
MANY_LEFT_OUT = 0.05


class Generator:
    """Everything that samples are made from, read once.

    Args:
        config: of the run.

    Attributes:
        config: of the run.
        camera: of the images.
        classes: names of the target objects; labels index them.

    Raises:
        ConfigError: a path is not given or a file holds something else.
        MeshError, BackgroundError, GeometryError: a file is missing or broken.
        UncalibratedCameraError: nothing says what the intrinsics are.
        RenderingError: there is no usable OpenGL.
    """

    def __init__(self, config: SynthesizeConfig) -> None:
        self.config = config
        targets, distractors, self._backgrounds, self.camera = read_inputs(config)
        self.classes = tuple(model.name for model in targets)
        self._scenes = SceneFactory(
            config, self.camera, targets, distractors, get_renderer(config.renderer)
        )
        # Read at once and never dropped: the memory of a process stays flat.
        fitting = max(FRAME_MEMORY // self._backgrounds.read(0).nbytes, 1)
        kept = range(min(fitting, len(self._backgrounds)))
        self._frames = [self._backgrounds.read(number) for number in kept]

    def rng(self, stream: int, index: int) -> np.random.Generator:
        """Return the random numbers of one step of sample `index`."""
        return np.random.default_rng((stream, self.config.seed, index))

    def scene(self, index: int) -> PlacedScene:
        """Place and render the objects of sample `index`."""
        return self._scenes.make(index, self.rng(_SCENE, index))

    def background(self, index: int) -> NDArray[np.uint8]:
        """Return the background (H, W, 3) uint8 of sample `index`."""
        rng = self.rng(_BACKGROUND, index)
        number = int(rng.integers(len(self._backgrounds)))
        kept = number < len(self._frames)
        frame = self._frames[number] if kept else self._backgrounds.read(number)
        return vary_background(frame, self.camera.size, self.config.background, rng)


def make_sample(generator: Generator, index: int) -> Sample:
    """Make sample `index`, a pure function: scene, background, composition, sensor."""
    config, scene = generator.config, generator.scene(index)
    canvas, count = scene.canvas, len(scene.labels)
    image = compose(
        generator.background(index), canvas, config.compose, generator.rng(_COMPOSE, index)
    )
    if config.sensor.enabled:
        image = apply_sensor(image, config.sensor, generator.rng(_SENSOR, index))
    ids = np.where(canvas.ids <= count, canvas.ids, 0).astype(np.uint8)
    instances = Instances(
        labels=scene.labels,
        boxes=boxes_of_ids(ids, count),
        amodal_boxes=np.array([layer.box for layer in canvas.layers[:count]]).reshape(-1, 4),
        visib_fract=canvas.visible_fractions()[:count],
        poses=scene.poses,
    )
    return Sample(image, ids, instances)


def read_inputs(
    config: SynthesizeConfig,
) -> tuple[list[ObjectModel], list[ObjectModel], BackgroundSet, Camera]:
    """Read objects, distractors, backgrounds and camera of a run; errors as in `Generator`."""
    for key in ('objects', 'backgrounds'):
        if not getattr(config, key):
            raise ConfigError(f'{key}: wanted a path, got none; it has no default')
    targets = read_objects(Path(config.objects))
    distractors = read_objects(Path(config.distractors)) if config.distractors else []
    backgrounds = read_background_set(Path(config.backgrounds))
    if config.camera:
        camera = read_camera(Path(config.camera))
    elif config.camera_hfov_deg:
        height, width = backgrounds.read(0).shape[:2]
        camera = Camera.from_fov(width, height, config.camera_hfov_deg)
    elif backgrounds.camera is not None:
        camera = backgrounds.camera
    else:
        raise UncalibratedCameraError(
            f'{backgrounds.folder} has no camera.yaml: give a calibration with the option camera, '
            f'or {CALIBRATION_ADVICE}'
        )
    return targets, distractors, backgrounds, camera


def synthesize(
    config: SynthesizeConfig, progress: Progress | None = None, stop: Stop | None = None
) -> Path:
    """Render the data set of a configuration, or go on with it.

    Args:
        config: what to render; `out` is the folder.
        progress: called with (images done, images in all, images per second of this run).
        stop: asked now and then; True ends the run early, and the next run goes on.

    Returns:
        The folder. It holds annotations.json unless `stop` ended the run early.

    Raises:
        DatasetError: the folder holds a data set of other inputs.
        StorageError: writing failed; what was written is intact and the next run goes on.
        RenderingError: no usable OpenGL, or a worker process died.
        SynthDetectError: inputs as in `Generator`.
    """
    if not config.out:
        raise ConfigError('out: wanted a folder for the data set, got none')
    targets, distractors, backgrounds, camera = read_inputs(config)
    writer = DatasetWriter(Path(config.out), config.count, config.output)
    writer.begin(_info(config, camera, backgrounds, targets, distractors))
    if writer.complete:
        return writer.folder
    shards = writer.missing()
    before = config.count - sum(map(len, shards))
    finished = run_shards(
        partial(make_shard, config),
        shards,
        min(config.workers or default_workers(), max(len(shards), 1)),
        lambda done, rate: progress(before + done, config.count, rate) if progress else None,
        stop or (lambda: False),
    )
    if finished:
        names = [model.name for model in targets]
        _log_counts(config, dict(zip(names, writer.finish(names).tolist(), strict=True)))
    return writer.folder


def _log_counts(config: SynthesizeConfig, counts: dict[str, int]) -> None:
    """Say how many objects there are, and warn when many found no room."""
    schedule = Schedule(len(counts), config.scene.targets, config.seed)
    made, wanted = sum(counts.values()), schedule.before(config.count)
    logger.info('%d images, objects: %s', config.count, counts)
    if made < (1 - MANY_LEFT_OUT) * wanted:
        logger.warning(
            '%d of %d objects found no room within the limits and were left out: allow more '
            'truncation or occlusion, less visibility, fewer or smaller objects',
            wanted - made,
            wanted,
        )


def make_shard(config: SynthesizeConfig, shard: range) -> None:
    """Make and store the samples of one shard; what a worker process does."""
    generator = _generator(config)
    writer = DatasetWriter(Path(config.out), config.count, config.output)
    writer.write_shard(shard, [writer.write_image(i, make_sample(generator, i)) for i in shard])


@lru_cache(maxsize=1)
def _generator(config: SynthesizeConfig) -> Generator:
    """Return this process's generator; made in the first shard, so its errors are reported."""
    return Generator(config)


def _info(
    config: SynthesizeConfig,
    camera: Camera,
    backgrounds: BackgroundSet,
    targets: list[ObjectModel],
    distractors: list[ObjectModel],
) -> dict[str, Any]:
    """Return the content of dataset.yaml; `fingerprint` changes with whatever changes a pixel."""
    calibration = camera.to_calibration()
    # Where a data set lies, and who makes it, does not change it.
    options = to_mapping(replace(config, out='', workers=0))
    for key in ('objects', 'distractors', 'backgrounds', 'camera'):
        del options[key]
    models = [
        {
            'name': model.name,
            'limits': to_mapping(model.limits),
            'sha256': _hash_folder(model.path),
        }
        for model in (*targets, *distractors)
    ]
    inputs = {
        'config': options,
        'camera': calibration,
        'models': models,
        'backgrounds': _hash_files(backgrounds.frames),
    }
    return {
        'format': 1,
        'classes': [model.name for model in targets],
        'fingerprint': hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest(),
        'seed': config.seed,
        'count': config.count,
        'camera': calibration,
        'config': to_mapping(config),
        'inputs': {'models': models, 'backgrounds': inputs['backgrounds']},
        'versions': _versions(),
    }


def _versions() -> dict[str, str]:
    names = ('numpy', 'opencv-python', 'pyrender', 'trimesh')
    versions = {'python': platform.python_version()}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # opencv has several distributions
            versions[name] = 'unknown'
    return versions


def _hash_folder(mesh: Path) -> str:
    """Hash a CAD file with all files beside it, where materials and textures lie."""
    return _hash_files(sorted(path for path in mesh.parent.iterdir() if path.is_file()))


def _hash_files(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
