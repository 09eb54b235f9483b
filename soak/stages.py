"""The stages that are killed: how each is started, and what must be equal afterwards."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import scenes
import tiny
import torch
import yaml

from synth_detect_ros.bundle import load_bundle, save_bundle
from synth_detect_ros.commands.main import main
from synth_detect_ros.config.options import to_yaml
from synth_detect_ros.detectors.build import build_detector

Check = Callable[[Path, Path], str]


@dataclass(frozen=True)
class Stage:
    """A command that is killed and started again.

    Attributes:
        name: of the stage.
        prepare: writes what it reads into a folder, once.
        begin: brings a new output folder into the state before the command.
        work: runs the command: (inputs, output folder) -> exit status.
        damage: what is wrong with an output folder after a kill, '' for nothing.
        differs: what differs between two output folders of whole runs, '' for nothing.
        patience: longest time of a run on a busy machine [s].
    """

    name: str
    prepare: Callable[[Path], None]
    work: Callable[[Path, Path], int]
    differs: Check
    begin: Callable[[Path, Path], None] = lambda inputs, out: None
    damage: Check = lambda out, reference: ''
    patience: float = 120.0


def _command(*words: object) -> int:
    return main([str(word) for word in words])


def differing_files(out: Path, reference: Path, names: list[str]) -> str:
    """Return the first file whose bytes are not those of the reference."""
    for name in names:
        if not (out / name).is_file():
            return f'{name} is missing'
        if (out / name).read_bytes() != (reference / name).read_bytes():
            return f'{name} differs'
    return ''


# Synthesis


def _prepare_synthesis(workers: int) -> Callable[[Path], None]:
    def prepare(inputs: Path) -> None:
        config = scenes.config(inputs, count=36, workers=workers)
        (inputs / 'synthesize.yaml').write_text(to_yaml(config))

    return prepare


def _synthesize(inputs: Path, out: Path) -> int:
    return _command('synthesize', '--config', inputs / 'synthesize.yaml', '--out', out)


def dataset_differs(out: Path, reference: Path) -> str:
    """Compare images and annotations byte by byte, dataset.yaml without place and time."""
    names = ['annotations.json']
    names += sorted(f'images/{p.name}' for p in (reference / 'images').iterdir())
    left = {p.name for p in out.iterdir()} - {p.name for p in reference.iterdir()}
    if visible := sorted(name for name in left if not name.startswith('.')):
        return f'{visible} are left over'
    mine, theirs = (_facts(folder / 'dataset.yaml') for folder in (out, reference))
    return differing_files(out, reference, names) or ('' if mine == theirs else 'dataset.yaml')


def _facts(path: Path) -> Any:
    facts = yaml.safe_load(path.read_text())
    del facts['timing'], facts['config']['out']
    return facts


# Training


# In bfloat16, oneDNN rounds last bits of gradients differently from run to run.
_FLOAT32 = {'amp': False}


def _prepare_training(**values: Any) -> Callable[[Path], None]:
    def prepare(inputs: Path) -> None:
        weights = tiny.write_weights(inputs / 'weights.safetensors')
        if values['freeze'] != 'none':
            values['detector'] = {'weights': str(weights)}
        tiny.write_dataset(inputs / 'set', 8)
        common = dict(steps=6, checkpoint_every=1, val_every=3, workers=1, **_FLOAT32)
        config = tiny.train_config(inputs / 'set', inputs / 'out', **common, **values)
        (inputs / 'train.yaml').write_text(to_yaml(config))

    return prepare


def _train(inputs: Path, out: Path) -> int:
    return _command('train', '--config', inputs / 'train.yaml', '--out', out)


def training_differs(out: Path, reference: Path) -> str:
    """Compare weights bit by bit, the losses of each step, and the validations."""
    for name in ('log.csv', 'validation.csv'):
        if _rows(out / name) != _rows(reference / name):
            return f'{name} differs'
    states = [torch.load(f / 'checkpoint.pt', weights_only=True) for f in (out, reference)]
    for key, value in states[1]['model'].items():
        if not torch.equal(states[0]['model'][key], value):
            return f'checkpoint: {key} differs'
    return differing_files(out, reference, ['bundle/weights.safetensors'])


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline='') as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k != 'elapsed_s'} for row in rows]


# A bundle that is replaced


def _detector(seed: int) -> Any:
    torch.manual_seed(seed)
    return build_detector(tiny.detector_config(), tiny.CLASSES)


def _write_old_bundle(inputs: Path, out: Path) -> None:
    save_bundle(out / 'bundle', _detector(1), {'freeze': {'policy': 'none'}})


def _replace_bundle(inputs: Path, out: Path) -> int:
    save_bundle(out / 'bundle', _detector(2), {'freeze': {'policy': 'none'}})
    return 0


def _neither_old_nor_new(out: Path, reference: Path) -> str:
    """Load what a node would load at this moment."""
    detector, _ = load_bundle(out / 'bundle')
    for seed in (1, 2):
        state = _detector(seed).state_dict()
        if all(torch.equal(v, state[k]) for k, v in detector.state_dict().items()):
            return ''
    return 'the bundle is neither the old nor the new one'


def _bundle_differs(out: Path, reference: Path) -> str:
    return differing_files(out / 'bundle', reference / 'bundle', ['weights.safetensors'])


# An experiment: two processes of `synth-detect`, one after the other


def _prepare_experiment(inputs: Path) -> None:
    tiny.write_dataset(inputs / 'real', 8, seed=1)
    objects = [{'name': name, 'mesh': 'none.obj'} for name in tiny.CLASSES]
    real = {'name': 'room', 'images': 'real/images', 'annotations': 'real/annotations.json'}
    camera = {'name': 'cam', 'synthesize': {'objects': 'objects.yaml'}, 'real': [real]}
    small = {'steps': 3, 'freeze': 'none', 'workers': 0, 'val_share': 0.25, 'device': 'cpu'}
    train = {
        **small,
        **_FLOAT32,
        'checkpoint_every': 1,
        'log_every': 1,
        'detector': tiny.TINY_DETECTOR,
    }
    files = {
        'objects.yaml': {'objects': objects},
        'setup.yaml': {'cameras': [camera], 'train': train},
        'grid.yaml': {'title': 't', 'cells': [{'name': 'twin', 'data': 'real'}]},
    }
    for name, content in files.items():
        (inputs / name).write_text(yaml.safe_dump(content))


def _experiment(inputs: Path, out: Path) -> int:
    grid, setup = inputs / 'grid.yaml', inputs / 'setup.yaml'
    return _command('experiment', grid, '--setup', setup, '--out', out)


def _experiment_differs(out: Path, reference: Path) -> str:
    runs = [next((folder / 'runs').iterdir()) for folder in (out, reference)]
    scores = [_scores(folder) for folder in (out, reference)]
    return training_differs(*runs) or ('' if scores[0] == scores[1] else 'scores differ')


def _scores(out: Path) -> Any:
    rows = json.loads((out / 'grid' / 'results.json').read_text())['rows']
    scores = [row['scores']['room'] for row in rows]
    return [{k: v for k, v in score.items() if k != 'ms_per_image'} for score in scores]


_FREEZE = {'freeze': 'first_stage', 'cache': {'enabled': True}, 'augment': {'variants': 1}}
STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage('synthesize', _prepare_synthesis(1), _synthesize, dataset_differs),
        Stage('train', _prepare_training(freeze='none'), _train, training_differs),
        Stage('train with cache', _prepare_training(**_FREEZE), _train, training_differs),
        Stage(
            'bundle', lambda inputs: None, _replace_bundle, _bundle_differs,
            begin=_write_old_bundle, damage=_neither_old_nor_new,
        ),
        Stage('synthesize, 2 workers', _prepare_synthesis(2), _synthesize, dataset_differs),
        Stage('experiment', _prepare_experiment, _experiment, _experiment_differs, patience=300),
    )
}  # fmt: skip


def inputs_of(stage: Stage, folder: Path) -> Path:
    """Return the folder of what a stage reads, written when it is asked for first."""
    inputs = folder / hashlib.sha256(stage.name.encode()).hexdigest()[:8]
    if not (inputs / 'ready').exists():
        os.makedirs(inputs, exist_ok=True)
        stage.prepare(inputs)
        (inputs / 'ready').touch()
    return inputs
