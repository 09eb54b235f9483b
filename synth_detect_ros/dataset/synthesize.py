"""Render CAD models over real backgrounds: sample i of a run is a pure function of (config, i)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.compute.core_assignment import default_workers
from synth_detect_ros.compute.timing import Seconds, Stopwatch, Timing
from synth_detect_ros.compute.workers import Stop, run_shards
from synth_detect_ros.config import SynthesizeConfig
from synth_detect_ros.dataset.inputs import Inputs, provenance, read_inputs
from synth_detect_ros.dataset.storage import DatasetWriter
from synth_detect_ros.errors import DatasetError
from synth_detect_ros.folders import FolderLock
from synth_detect_ros.geometry.boxes import boxes_of_ids
from synth_detect_ros.geometry.poses import Schedule
from synth_detect_ros.rendering.backends import get_renderer
from synth_detect_ros.rendering.compose import compose, vary_background
from synth_detect_ros.rendering.scene import PlacedScene, SceneFactory
from synth_detect_ros.rendering.sensor import apply_sensor
from synth_detect_ros.structures import Instances, Sample

logger = logging.getLogger(__name__)

# Each step has its own random numbers: switching one off does not change the others.
_SCENE, _BACKGROUND, _COMPOSE, _SENSOR = range(31, 35)
# Decoded background frames kept in each process [bytes]; others are read each time.
FRAME_MEMORY = 128 << 20
# Images that may wait for the disk while the next is rendered.
QUEUE = 2
# Share of the objects that may find no room before the run says so.
MANY_LEFT_OUT = 0.05


class Generator:
    """Everything that samples are made from.

    Args:
        config: of the run.
        inputs: objects, backgrounds and camera, read from its files.

    Attributes:
        config: of the run.
        camera: of the images.
        watch: time taken by the stages of its samples.

    Raises:
        RenderingError: there is no usable OpenGL.
    """

    def __init__(self, config: SynthesizeConfig, inputs: Inputs) -> None:
        self.config, self.camera = config, inputs.camera
        self.watch = Stopwatch()
        self._backgrounds = inputs.backgrounds
        self._scenes = SceneFactory(
            config, inputs.camera, inputs.targets, inputs.distractors,
            get_renderer(config.renderer),
        )  # fmt: skip
        # Read at the start and kept: the memory of a process stays flat.
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
    config, watch = generator.config, generator.watch
    with watch.stage('scene'):
        scene = generator.scene(index)
    with watch.stage('background'):
        background = generator.background(index)
    canvas, count = scene.canvas, len(scene.labels)
    with watch.stage('compose'):
        image = compose(background, canvas, config.compose, generator.rng(_COMPOSE, index))
    if config.sensor.enabled:
        with watch.stage('sensor'):
            image = apply_sensor(image, config.sensor, generator.rng(_SENSOR, index))
    ids = canvas.ids * (canvas.ids <= count)  # distractors are background
    instances = Instances(
        labels=scene.labels,
        boxes=boxes_of_ids(ids, count),
        amodal_boxes=np.array([layer.box for layer in canvas.layers[:count]]).reshape(-1, 4),
        visib_fract=canvas.visible_fractions()[:count],
        poses=scene.poses,
    )
    return Sample(image, ids, instances)


def synthesize(
    config: SynthesizeConfig,
    progress: Callable[[int, int, Timing], None] | None = None,
    stop: Stop | None = None,
) -> Path:
    """Render the data set of a configuration, or go on with it.

    Args:
        config: what to render; `out` is the folder.
        progress: called after each shard with (images done, images in all, timing of this run).
        stop: asked now and then; True ends the run between two images; the next run goes on.

    Returns:
        The folder. It holds annotations.json unless `stop` ended the run early.

    Raises:
        DatasetError: the folder holds a data set of other inputs; or no object found room.
        StorageError: writing failed, what was written is intact and the next run goes on; or
            another process makes this data set now.
        RenderingError: no usable OpenGL, or a worker process died.
        SynthDetectError: see `inputs.read_inputs`.
    """
    config.require()
    inputs = read_inputs(config)
    writer = DatasetWriter(Path(config.out), config.count, config.output)
    if writer.settled:  # perhaps where nothing can be written
        writer.begin(provenance(config, inputs))
        return writer.folder
    with FolderLock(writer.folder):
        writer.begin(provenance(config, inputs))
        if not writer.complete:
            _render_missing(config, inputs, writer, progress, stop or (lambda: False))
    return writer.folder


def _render_missing(
    config: SynthesizeConfig,
    inputs: Inputs,
    writer: DatasetWriter,
    progress: Callable[[int, int, Timing], None] | None,
    stop: Stop,
) -> None:
    """Render the shards that are missing; finish the data set unless `stop` ends the run."""
    shards = writer.missing()
    before = config.count - sum(map(len, shards))
    workers = min(config.workers or default_workers(), max(len(shards), 1))
    timing, start = Timing(0, workers, 0.0, {}), time.perf_counter()

    def note(done: int, stages: Seconds) -> None:
        nonlocal timing
        timing = timing.plus(done - timing.images, time.perf_counter() - start, stages)
        if progress:
            progress(before + done, config.count, timing)

    if run_shards(ShardMaker(config, inputs, writer), shards, workers, note, stop):
        counts = writer.finish(inputs.classes, timing).tolist()
        _log_counts(config, dict(zip(inputs.classes, counts, strict=True)))


class ShardMaker:
    """Renders and stores the samples of a shard; sent to each worker process once.

    Args:
        config: of the run.
        inputs: read from its files.
        writer: of the data set.
    """

    def __init__(self, config: SynthesizeConfig, inputs: Inputs, writer: DatasetWriter) -> None:
        self._config, self._inputs, self._writer = config, inputs, writer
        self._generator: Generator | None = None

    def __call__(self, shard: range, stop: Stop) -> Seconds | None:
        """Do one shard; the first opens OpenGL in the process that does it.

        A thread encodes and writes each image while the next is made. The shard is recorded when
        all its images are on disk.

        Returns:
            Time of each stage [s]; None when `stop` came before the last image.

        Raises:
            StorageError: writing failed; the shard is not recorded.
        """
        if self._generator is None:
            self._generator = Generator(self._config, self._inputs)
        generator, written = self._generator, list[Future[dict[str, Any]]]()
        with ThreadPoolExecutor(1) as thread:
            for number, index in enumerate(shard):
                if stop():
                    return None
                if number >= QUEUE:
                    written[number - QUEUE].result()
                sample = make_sample(generator, index)
                write = self._writer.write_image
                written.append(thread.submit(write, index, sample, generator.watch))
            self._writer.write_shard(shard, [record.result() for record in written])
        return generator.watch.take()


def _log_counts(config: SynthesizeConfig, counts: dict[str, int]) -> None:
    """Log the number of objects, and warn when many found no room.

    Raises:
        DatasetError: none did.
    """
    schedule = Schedule(len(counts), config.scene.targets, config.seed)
    made, wanted = sum(counts.values()), schedule.before(config.count)
    logger.info('%d images, objects: %s', config.count, counts)
    if not made and wanted:
        raise DatasetError(
            f'{config.out}: none of {wanted} objects found room, so there is nothing to learn. '
            'Allow more truncation or occlusion, less visibility or other sizes, in a new out.'
        )
    if made < (1 - MANY_LEFT_OUT) * wanted:
        logger.warning(
            '%d of %d objects found no room within the limits and were left out: allow more '
            'truncation or occlusion, less visibility, fewer or smaller objects',
            wanted - made,
            wanted,
        )
