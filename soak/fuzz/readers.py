"""What reads each kind of file: public functions, used as commands and nodes use them."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import tiny
import yaml

from soak.fuzz import seeds
from synth_detect_ros.bundle import load_bundle, read_bundle_info
from synth_detect_ros.config import (
    DetectConfig,
    ExportConfig,
    ReplayConfig,
    SynthesizeConfig,
    TrainConfig,
)
from synth_detect_ros.config.options import read_config
from synth_detect_ros.dataset.backgrounds import (
    BackgroundWriter,
    FrameRecord,
    read_background_set,
)
from synth_detect_ros.dataset.coco import read_coco
from synth_detect_ros.dataset.export import export
from synth_detect_ros.dataset.image_files import image_files
from synth_detect_ros.dataset.loader import TrainingSet, read_labelled
from synth_detect_ros.dataset.storage import read_info
from synth_detect_ros.detectors.build import build_detector
from synth_detect_ros.detectors.extractors.weights import read_weights
from synth_detect_ros.errors import SynthDetectError
from synth_detect_ros.evaluation.metrics import score
from synth_detect_ros.evaluation.selection import select
from synth_detect_ros.experiments.grid import read_grid, read_setup
from synth_detect_ros.experiments.plan import plan
from synth_detect_ros.geometry.calibration import read_camera
from synth_detect_ros.inference.predictor import Predictor
from synth_detect_ros.modelling.box_file import read_box
from synth_detect_ros.nodes.recordings import open_recording
from synth_detect_ros.rendering.meshes.cad_file import load_mesh
from synth_detect_ros.rendering.meshes.mesh_cache import load_with_levels
from synth_detect_ros.rendering.objects import read_objects
from synth_detect_ros.report.show import show
from synth_detect_ros.structures import Detections
from synth_detect_ros.training.checkpoint import load_checkpoint, read_progress, refuse_other_run
from synth_detect_ros.training.data import open_data
from synth_detect_ros.training.log import RunLog
from synth_detect_ros.training.optimizer import build_optimizer

FRAMES = 6


def dataset(folder: Path, rng: Random) -> None:
    """Train on it, score on it, hand it on, look at it."""
    how = rng.randrange(6)
    if how == 0:
        labelled = read_labelled(folder / 'images', folder / 'annotations.json')
        own = range(len(labelled))
        items = TrainingSet(labelled, own, TrainConfig().augment, 0, masks=labelled.has_masks)
        for key in own:
            items[key]
    elif how == 1:
        _score(folder)
    elif how == 2:
        read_info(folder)
        open_data(tiny.train_config(folder, folder / 'run'))
    elif how == 3:
        show(folder, folder / 'sheet.png', 4)
    else:
        kind = ('yolo', 'bop')[how - 4]
        export(ExportConfig(dataset=str(folder), out=str(folder / 'out'), format=kind))


def _score(folder: Path) -> None:
    truth = read_coco(folder / 'annotations.json')
    image_files(folder / 'images', [row['file_name'] for row in truth['images']])
    boxes, masks = np.array([[10.0, 10, 50, 50]]), np.zeros((1, tiny.HEIGHT, tiny.WIDTH), bool)
    masks[0, 10:50, 10:50] = True
    found = [Detections(np.zeros(1, np.int64), np.ones(1), boxes, masks)] * len(truth['images'])
    ids = [row['id'] for row in truth['images']]
    score(select(found, ids, truth, tiny.CLASSES, 'iscrowd'), masks=True)


def camera(folder: Path, rng: Random) -> None:
    read_camera(folder / 'camera.yaml')


def objects(folder: Path, rng: Random) -> None:
    read_objects(folder / 'objects.yaml', load_mesh)


def options(folder: Path, rng: Random) -> None:
    """Read all of them, build the network, plan the experiment."""
    config = read_config(TrainConfig, folder / 'train.yaml')
    read_config(DetectConfig, None, [f'model={folder}'])
    read_config(SynthesizeConfig, folder / 'synthesize.yaml')
    setup, grid = read_setup(folder / 'setup.yaml'), read_grid(str(folder / 'grid.yaml'))
    plan(grid, setup, folder / 'out')
    build_detector(config.detector, ['a', 'b'], load_weights=False)


def bundle(folder: Path, rng: Random) -> None:
    """Load and run it; half of the changed files have the hash that fits."""
    model, weights = (folder / 'bundle' / name for name in ('model.yaml', 'weights.safetensors'))
    if weights.is_file() and not weights.is_symlink() and model.is_file() and rng.randrange(2):
        _sign(model, weights)
    read_bundle_info(folder / 'bundle')
    show(folder / 'bundle', folder / 'sheet.png', 4)
    load_bundle(folder / 'bundle')
    Predictor(folder / 'bundle', 'cpu', runtime='torch').detect(seeds.frame(0))


def _sign(model: Path, weights: Path) -> None:
    try:
        info = yaml.safe_load(model.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError, ValueError):
        return
    if isinstance(info, dict):
        info['weights_sha256'] = hashlib.sha256(weights.read_bytes()).hexdigest()
        model.write_text(yaml.safe_dump(info, sort_keys=False))


def run(folder: Path, rng: Random) -> None:
    """Go on with a run, but for the training itself."""
    out = folder / 'run'
    config = tiny.train_config(seeds.RUN_DATASET, out, steps=2)
    if rng.randrange(2):
        read_progress(out)
    refuse_other_run(config)
    detector = build_detector(config.detector, tiny.CLASSES, load_weights=False)
    progress = load_checkpoint(out, detector, build_optimizer(config.optimizer, detector))
    with RunLog(out, progress.step, validated=False) as log:
        progress.share(config)
        log.step(3, 0.1, {'loss': 1.0}, 0.1)
        log.validation(3, {'bbox': {'AP': 0.5}})


def backgrounds(folder: Path, rng: Random) -> None:
    """Read the set, then add to it."""
    if rng.randrange(2):
        backgrounds = read_background_set(folder)
        for number in range(len(backgrounds)):
            backgrounds.read(number)
        return
    writer = BackgroundWriter(folder, 'png')
    writer.save_camera(seeds.scenes.camera(*seeds.SIZE))
    writer.add(seeds.frame(7), FrameRecord(0.0, 'topic', 'rgb8', 1.0))


def _mesh(suffixes: tuple[str, ...]) -> Callable[[Path, Random], None]:
    def read(folder: Path, rng: Random) -> None:
        os.environ['XDG_CACHE_HOME'] = str(folder / 'cache')
        load = rng.choice((load_mesh, load_mesh, load_with_levels))
        errors = []
        for path in sorted(p for p in folder.iterdir() if p.suffix in suffixes):
            try:
                load(path, rng.choice(('auto', 'auto', 'm')))
            except SynthDetectError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    return read


def _bag(name: str) -> Callable[[Path, Random], None]:
    def read(folder: Path, rng: Random) -> None:
        topic = rng.choice(('', '', '/cam/image_raw', '/cam/image_raw/compressed'))
        recording = open_recording(ReplayConfig(source=str(folder / name), topic=topic))
        for _ in itertools.islice(recording.frames(), FRAMES):
            pass

    return read


def weights(folder: Path, rng: Random) -> None:
    errors = []
    for suffix in ('pth', 'safetensors'):
        try:
            read_weights(folder / f'weights.{suffix}')
        except SynthDetectError as error:
            errors.append(error)
    if errors:
        raise errors[0]


def box(folder: Path, rng: Random) -> None:
    read_box(folder / 'box.yaml')


READERS: dict[str, Callable[[Path, Random], None]] = {
    'dataset': dataset,
    'camera': camera,
    'objects': objects,
    'options': options,
    'bundle': bundle,
    'run': run,
    'backgrounds': backgrounds,
    'obj': _mesh(('.obj',)),
    'ply': _mesh(('.ply',)),
    'stl': _mesh(('.stl',)),
    'gltf': _mesh(('.glb', '.gltf')),
    'dae': _mesh(('.dae',)),
    'bag_sqlite': _bag('bag'),
    'bag_mcap': _bag('bag'),
    'bag_ros1': _bag('recording.bag'),
    'video': _bag('video.avi'),
    'weights': weights,
    'box': box,
}
