"""The stages of the demo: what each one runs and what it leaves behind."""

import hashlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from commands import DemoError, Runner

ROOT = Path(__file__).parents[1]
CAMERA_TOPICS = {'image': '/camera/image_raw', 'camera_info': '/camera/camera_info'}


@dataclass(frozen=True)
class Demo:
    """What all stages know: settings (demo.yaml), where the data are, where results go."""

    settings: dict[str, Any]
    data: Path
    weights: Path
    out: Path
    runner: Runner

    def stage(
        self, name: str, inputs: Mapping[str, Any], work: Callable[[Path], dict[str, Any]]
    ) -> dict[str, Any]:
        """Do a stage, unless it was done before with the same inputs.

        Args:
            name: also the folder below `out`, handed to `work`. It is emptied when the inputs
                changed, and kept after an interruption: the commands go on where they were.
            inputs: everything the result depends on; plain values.
            work: does it and returns results, plain values.

        Returns:
            `{'key', 'seconds', 'commands', 'results'}`.
        """
        key = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]
        folder, record = self.out / name, self.out / name / 'stage.json'
        stored = json.loads(record.read_text()) if record.is_file() else {}
        if stored.get('key') == key and 'results' in stored:
            print(f'== {name}: done before, kept', flush=True)
            return stored
        if stored.get('key') != key:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps({'key': key}))
        print(f'== {name}', flush=True)
        first, start = len(self.runner.commands), time.monotonic()
        results = work(folder)
        done = {
            'key': key,
            'seconds': round(time.monotonic() - start, 1),
            'commands': self.runner.commands[first:],
            'results': results,
        }
        record.write_text(json.dumps(done, indent=2))
        print(f'== {name}: {done["seconds"]:.0f} s', flush=True)
        return done


def capture(demo: Demo) -> dict[str, Any]:
    """Replay real frames as a live camera; capture backgrounds from it and render the data set."""
    settings = {k: demo.settings[k] for k in ('objects', 'distractors', 'capture', 'synthesize')}
    source = demo.data / settings['capture']['source']

    def work(folder: Path) -> dict[str, Any]:
        config = _write_synthesize_config(demo, folder)
        replay = {'source': source, **settings['capture']['replay']}
        node = {
            'out': folder / 'backgrounds',
            **settings['capture']['node'],
            'render': True,
            'synthesize': config,
        }
        camera = _node('camera_replay_node', replay, CAMERA_TOPICS)
        with demo.runner.background('camera_replay', camera):
            synthesize = _node('synthesize_node', node, CAMERA_TOPICS)
            demo.runner.run('synthesize', synthesize, timeout_s=1200)
        frames = sorted(p.name for p in (folder / 'backgrounds' / 'frames').iterdir())
        annotations = json.loads((folder / 'dataset' / 'annotations.json').read_text())
        return {
            'frames': len(frames),
            'images': len(annotations['images']),
            'instances': len(annotations['annotations']),
        }

    return demo.stage('capture', {'settings': settings, 'data': str(demo.data)}, work)


def _node(name: str, parameters: Mapping[str, Any], remappings: Mapping[str, str]) -> list[str]:
    """Return the command line of a node."""
    words = [name, '--ros-args']
    for key, value in parameters.items():
        text = str(value).lower() if isinstance(value, bool) else value
        words += ['-p', f'{key}:={text}']
    for topic, target in remappings.items():
        words += ['-r', f'{topic}:={target}']
    return words


def _write_synthesize_config(demo: Demo, folder: Path) -> Path:
    """Write objects, distractors and the configuration of `synthesize`; return the latter."""
    targets = [
        {'name': name, **facts, 'mesh': str(demo.data / facts['mesh'])}
        for name, facts in demo.settings['objects'].items()
    ]
    distractors = [
        {'name': Path(mesh).parent.name, 'mesh': str(demo.data / mesh), 'unit': 'm'}
        for mesh in demo.settings['distractors']
    ]
    config = {
        'objects': str(folder / 'objects.yaml'),
        'distractors': str(folder / 'distractors.yaml'),
        'backgrounds': str(folder / 'backgrounds'),
        'out': str(folder / 'dataset'),
        **demo.settings['synthesize']['config'],
    }
    for name, content in (
        ('objects', {'objects': targets}),
        ('distractors', {'objects': distractors}),
        ('synthesize', config),
    ):
        (folder / f'{name}.yaml').write_text(yaml.safe_dump(content, sort_keys=False))
    return folder / 'synthesize.yaml'


def train(demo: Demo, captured: dict[str, Any], freeze: str, name: str) -> dict[str, Any]:
    """Train a detector with one freeze policy."""
    settings = demo.settings['train']

    def work(folder: Path) -> dict[str, Any]:
        command = ['synth-detect', 'train', '--config', _preset(settings['preset'])]
        command += ['--dataset', demo.out / 'capture' / 'dataset', '--out', folder / 'run']
        command += ['--freeze', freeze]
        weights = {'detector.weights': demo.weights / settings['weights']}
        for key, value in {**settings['config'], **weights}.items():
            command += ['--set', f'{key}={value}']
        demo.runner.run(name, command, timeout_s=settings['config']['time_limit_s'] + 600)
        step, elapsed = (folder / 'run' / 'log.csv').read_text().splitlines()[-1].split(',')[:2]
        model = yaml.safe_load((folder / 'run' / 'bundle' / 'model.yaml').read_text())
        return {
            'images': captured['results']['images'],
            # The log has every n-th step; the model is the best one, perhaps not the last.
            'steps': max(int(step), model['training']['steps']),
            'seconds': max(float(elapsed), model['training']['seconds']),
            'model': model,
        }

    inputs = {'capture': captured['key'], 'settings': settings, 'freeze': freeze}
    return demo.stage(name, inputs, work)


def _preset(name: str) -> Path:
    return ROOT / 'config' / 'presets' / f'{name}.yaml'


def evaluate(demo: Demo, trained: dict[str, Any], model: Path, name: str) -> dict[str, Any]:
    """Score a detector on real labelled frames, one set a class."""
    settings = demo.settings['evaluate']

    def work(folder: Path) -> dict[str, Any]:
        results = {}
        for label, facts in settings.items():
            source, metrics = demo.data / facts['folder'], folder / f'{label}.json'
            command = ['synth-detect', 'evaluate', '--model', model, '--images', source / 'images']
            command += ['--annotations', source / 'annotations.json', '--json', metrics]
            if facts.get('exclude'):
                command += ['--exclude', facts['exclude']]
            demo.runner.run(f'{name}_{label}', command, timeout_s=600)
            scores = json.loads(metrics.read_text())
            results[label] = scores['bbox']['per_class'][label]
            results[label]['ms_per_image'] = scores['ms_per_image']
            results[label]['images'] = scores['images']
        return results

    return demo.stage(name, {'train': trained['key'], 'settings': settings}, work)


def live(demo: Demo, trained: dict[str, Any], model: Path) -> dict[str, Any]:
    """Measure the live node in a real graph, fed by replayed real frames, and picture it."""
    settings = demo.settings['live']

    def work(folder: Path) -> dict[str, Any]:
        command = [sys.executable, ROOT / 'bench' / 'live.py', '--model', model]
        command += ['--source', demo.data / settings['source']]
        command += ['--camera', demo.data / settings['camera']]
        command += ['--seconds', settings['seconds'], '--once', '--json', folder / 'live.json']
        demo.runner.run('live', command, timeout_s=300)
        replay = {
            'source': demo.data / settings['source'],
            'camera': demo.data / settings['camera'],
            'loop': True,
        }
        camera = _node('camera_replay_node', replay, CAMERA_TOPICS)
        detect = _node('detect_node', {'model': model}, {'image': CAMERA_TOPICS['image']})
        listen = [sys.executable, ROOT / 'demo' / 'listen.py', '/detect_node/overlay', folder]
        with (
            demo.runner.background('live_camera', camera),
            demo.runner.background('live_detect', detect),
        ):
            demo.runner.run('live_listen', listen, timeout_s=180)
        return json.loads((folder / 'live.json').read_text())

    return demo.stage('live', {'train': trained['key'], 'settings': settings}, work)


def generator(demo: Demo, peer: Path | None) -> dict[str, Any]:
    """Measure the generator, beside a plain pyrender script where that is at hand."""
    settings = demo.settings['generator']

    def work(folder: Path) -> dict[str, Any]:
        command = [sys.executable, ROOT / 'bench' / 'generator.py', '--data', demo.data]
        command += ['--count', settings['count'], '--json', folder / 'generator.json']
        name = 'generator_640x480' if peer else 'generator_workers'
        command += ['--only', name, *(['--peer', peer] if peer else [])]
        demo.runner.run('generator', command, timeout_s=600)
        (result,) = json.loads((folder / 'generator.json').read_text())
        return {
            'images_per_second': result['ours'],
            'peer_images_per_second': result['peer'] if peer else None,
            'rss_growth': result['details']['rss_growth'],
        }

    return demo.stage('generator', {'settings': settings, 'peer': str(peer)}, work)


def check_inputs(settings: dict[str, Any], data: Path, weights: Path) -> None:
    """Refuse to start without the data.

    Raises:
        DemoError: a file is missing; the message names it.
    """
    wanted = [data / facts['mesh'] for facts in settings['objects'].values()]
    wanted += [data / mesh for mesh in settings['distractors']]
    wanted += [data / settings['capture']['source'], weights / settings['train']['weights']]
    wanted += [
        data / facts['folder'] / 'annotations.json' for facts in settings['evaluate'].values()
    ]
    missing = [path for path in wanted if not path.exists()]
    if missing:
        raise DemoError(f'{len(missing)} of {len(wanted)} inputs are missing, first {missing[0]}')
