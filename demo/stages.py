"""The stages of the demo: what each one runs and what it leaves behind."""

import hashlib
import json
import shutil
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import material
import yaml
from commands import MissingError, Runner

ROOT = Path(__file__).parents[1]
CAMERA_TOPICS = {'image': '/camera/image_raw', 'camera_info': '/camera/camera_info'}
# Detectors that are trained: name of the stages, what they learn from, freeze policy.
FROZEN, NAIVE, REAL = 'frozen', 'naive', 'real'
POLICIES = {FROZEN: 'first_stage', NAIVE: 'none', REAL: 'none'}
# What `Demo.stage` returns.
Record = Mapping[str, Any]
# Extractors in order of preference, when no weights are given.
EXTRACTORS = ('mobilenet_v2', 'efficientnet_lite0')
HUB_PATIENCE_S = 20.0


@dataclass(frozen=True)
class Demo:
    """What all stages know.

    Attributes:
        settings: of the settings file, all paths expanded.
        out: where results go.
        runner: runs the package's commands.
    """

    settings: dict[str, Any]
    out: Path
    runner: Runner

    def stage(
        self, name: str, inputs: Mapping[str, Any], work: Callable[[Path], dict[str, Any]]
    ) -> Record:
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
        if record.is_file() and stored.get('key') != key:  # without a record it is not ours
            shutil.rmtree(folder)
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


def fetch(demo: Demo, given: material.Given, folder: Path) -> Record:
    """Lay out the real frames that a bare clone lacks.

    Args:
        demo: the demo.
        given: what the user gave by hand.
        folder: $MATERIAL, shared by demos of several sizes; it holds its own record. Fetched
            packages are kept beside it.
    """
    settings = demo.settings['material']

    def work(folder: Path) -> dict[str, Any]:
        return material.prepare(settings, given, folder.parent, folder)

    files = sorted(Path(settings['labels']).iterdir())
    inputs = {'settings': settings, 'given': str(given), 'labels': [_hash(f) for f in files]}
    return replace(demo, out=folder.parent).stage(folder.name, inputs, work)


def model(demo: Demo, fetched: Record) -> Record:
    """Make the CAD model of the box from photographs of its faces.

    Args:
        demo: the demo.
        fetched: record of `fetch`.
    """
    box = Path(demo.settings['model'])

    def work(folder: Path) -> dict[str, Any]:
        demo.runner.run('model', ['synth-detect', 'model-box', box, '--out', folder], 120)
        return {}

    return demo.stage('model', {'material': fetched['key']}, work)


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def extractor(demo: Demo) -> Record:
    """Choose the extractor: given weights, else the first one whose weights can be had.

    What an earlier run chose comes first: a hub that comes or goes is no reason to train again.

    Raises:
        MissingError: none can be had; the message says what to do.
    """
    weights, memory = demo.settings['train'].get('weights'), demo.out / 'extractor.json'
    start = time.monotonic()
    if weights:
        if not Path(weights).is_file():
            raise MissingError(f'WEIGHTS: there is no {weights}')
        found = {'extractor': EXTRACTORS[0], 'weights': weights, 'why': 'WEIGHTS is given'}
    else:
        stored = json.loads(memory.read_text()) if memory.is_file() else {}
        found = first_to_be_had(stored)
        memory.write_text(json.dumps(found))
    print(f'== extractor: {found["extractor"]}, {found["why"]}', flush=True)
    seconds = round(time.monotonic() - start, 1)
    return {'key': '', 'seconds': seconds, 'commands': [], 'results': found}


def first_to_be_had(stored: Mapping[str, str]) -> dict[str, str]:
    """Return the first extractor whose weights a hub or a package gives, and why it is that one.

    Args:
        stored: what was chosen before; {} for nothing.

    Raises:
        MissingError: none can be had; the message says what to do.
    """
    from synth_detect_ros.config import FasterRCNNConfig  # noqa: PLC0415  heavy
    from synth_detect_ros.detectors.extractors.build import build_extractor  # noqa: PLC0415
    from synth_detect_ros.errors import WeightsError  # noqa: PLC0415

    names = sorted(EXTRACTORS, key=lambda name: name != stored.get('extractor'))
    before, reasons = socket.getdefaulttimeout(), []
    socket.setdefaulttimeout(HUB_PATIENCE_S)
    try:
        for name in names:
            try:
                source = build_extractor(FasterRCNNConfig(extractor=name)).source
            except WeightsError as error:
                reasons.append(str(error))
                continue
            why = f'its weights come from {source}'
            if reasons:
                why += f', since {reasons[0].partition(". ")[0]}'
            if name == stored.get('extractor'):
                why = stored['why']
            return {'extractor': name, 'weights': 'default', 'why': why}
    finally:
        socket.setdefaulttimeout(before)
    raise MissingError(f'no extractor can be had: {reasons[-1]}')


def capture(demo: Demo, before: Sequence[Record]) -> Record:
    """Replay real frames as a live camera; capture backgrounds from it and render the data set.

    Args:
        demo: the demo.
        before: records of the stages that made frames and models, if any did.
    """
    settings = {k: demo.settings[k] for k in ('objects', 'distractors', 'capture', 'synthesize')}
    # With what lies beside them: materials and textures.
    folders = [Path(facts['mesh']).parent for facts in settings['objects'].values()]
    meshes = [_hash(file) for f in folders for file in sorted(f.iterdir()) if _is_model(file)]

    def work(folder: Path) -> dict[str, Any]:
        config = _write_synthesize_config(demo, folder)
        replay = {'source': settings['capture']['source'], **settings['capture']['replay']}
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
        timing = yaml.safe_load((folder / 'dataset' / 'dataset.yaml').read_text())['timing']
        return {
            'frames': len(frames),
            'images': len(annotations['images']),
            'instances': len(annotations['annotations']),
            'images_per_second': timing['images_per_second'],
        }

    keys = [record['key'] for record in before]
    inputs = {'settings': settings, 'meshes': meshes, 'before': keys}
    return demo.stage('capture', inputs, work)


def _is_model(file: Path) -> bool:
    return file.is_file() and file.suffix != '.json'  # the record of a stage changes with time


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
    targets = [{'name': name, **facts} for name, facts in demo.settings['objects'].items()]
    distractors = demo.settings['distractors']
    files = {'objects': {'objects': targets}}
    if not isinstance(distractors, str):  # else the name of built-in ones
        entries = [
            {'name': Path(mesh).parent.name, 'mesh': mesh, 'unit': 'm'} for mesh in distractors
        ]
        files['distractors'] = {'objects': entries}
        distractors = str(folder / 'distractors.yaml')
    files['synthesize'] = {
        'objects': str(folder / 'objects.yaml'),
        'distractors': distractors,
        'backgrounds': str(folder / 'backgrounds'),
        'out': str(folder / 'dataset'),
        **demo.settings['synthesize']['config'],
    }
    for name, content in files.items():
        (folder / f'{name}.yaml').write_text(yaml.safe_dump(content, sort_keys=False))
    return folder / 'synthesize.yaml'


def train(demo: Demo, images: Record, chosen: Record, detector: str, kind: str) -> Record:
    """Train a detector.

    Args:
        demo: the demo.
        images: record of the stage that made the training images.
        chosen: record of `extractor`.
        detector: architecture.
        kind: one of `POLICIES`.
    """
    settings, found = demo.settings['train'], chosen['results']
    dataset = (
        demo.settings['real_twin']['dataset'] if kind == REAL else demo.out / 'capture' / 'dataset'
    )
    options = {
        **settings['config'],
        'detector.architecture': detector,
        'detector.extractor': found['extractor'],
        'detector.weights': found['weights'],
    }

    def work(folder: Path) -> dict[str, Any]:
        command = ['synth-detect', 'train', '--config', _preset(settings['preset'])]
        command += ['--dataset', dataset, '--out', folder / 'run', '--freeze', POLICIES[kind]]
        for key, value in options.items():
            command += ['--set', f'{key}={value}']
        demo.runner.run(f'train_{kind}', command, timeout_s=options['time_limit_s'] + 600)
        step, elapsed = (folder / 'run' / 'log.csv').read_text().splitlines()[-1].split(',')[:2]
        bundle = yaml.safe_load((folder / 'run' / 'bundle' / 'model.yaml').read_text())
        count = len(json.loads((Path(dataset) / 'annotations.json').read_text())['images'])
        return {
            'images': count,
            # The log has every n-th step; the model is the best one, perhaps not the last.
            'steps': max(int(step), bundle['training']['steps']),
            'seconds': max(float(elapsed), bundle['training']['seconds']),
            'model': bundle,
        }

    preset = _hash(_preset(settings['preset']))
    inputs = {'images': images['key'], 'options': options, 'preset': preset, 'kind': kind}
    return demo.stage(f'train_{kind}', inputs, work)


def _preset(name: str) -> Path:
    return ROOT / 'config' / 'presets' / f'{name}.yaml'


def bundle_of(demo: Demo, kind: str) -> Path:
    """Return where a trained detector lies."""
    return demo.out / f'train_{kind}' / 'run' / 'bundle'


def evaluate(demo: Demo, trained: Record, kind: str, sets: Mapping[str, Any]) -> Record:
    """Score a detector on real labelled frames.

    Args:
        demo: the demo.
        trained: record of `train`.
        kind: one of `POLICIES`.
        sets: of labelled frames by title, as in the settings.
    """

    def work(folder: Path) -> dict[str, Any]:
        results = {}
        for number, (title, facts) in enumerate(sets.items()):
            metrics, truth = folder / f'{number}.json', folder / f'{number}_truth.json'
            truth.write_text(json.dumps(present(facts)))
            command = ['synth-detect', 'evaluate', '--model', bundle_of(demo, kind)]
            command += ['--images', facts['images'], '--annotations', truth, '--json', metrics]
            if facts.get('exclude'):
                command += ['--exclude', facts['exclude']]
            demo.runner.run(f'evaluate_{kind}_{number}', command, timeout_s=900)
            scores = json.loads(metrics.read_text())
            results[title] = {
                'boxes': scores['bbox']['per_class'][facts['class']],
                'masks': scores.get('segm', {}).get('per_class', {}).get(facts['class']),
                'images': scores['images'],
                'ms_per_image': scores['ms_per_image'],
            }
        return results

    truths = [_hash(Path(facts['annotations'])) for facts in sets.values()]
    inputs = {'train': trained['key'], 'sets': dict(sets), 'truths': truths}
    return demo.stage(f'evaluate_{kind}', inputs, work)


def present(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the COCO mapping of a labelled set; of a `partial` one, what has image files."""
    content = json.loads(Path(facts['annotations']).read_text())
    if not facts.get('partial'):
        return content
    folder = Path(facts['images'])
    images = [row for row in content['images'] if (folder / row['file_name']).is_file()]
    ids = {row['id'] for row in images}
    rows = [row for row in content['annotations'] if row['image_id'] in ids]
    return {**content, 'images': images, 'annotations': rows}


def live(demo: Demo, trained: Record) -> Record:
    """Measure the live node in a real graph, fed by replayed real frames, and picture it."""
    settings, bundle = demo.settings['live'], bundle_of(demo, FROZEN)

    def work(folder: Path) -> dict[str, Any]:
        command = [sys.executable, ROOT / 'bench' / 'live.py', '--model', bundle]
        command += ['--source', settings['source'], '--camera', settings['camera']]
        command += ['--seconds', settings['seconds'], '--once', '--json', folder / 'live.json']
        demo.runner.run('live', command, timeout_s=300)
        replay = {'source': settings['source'], 'camera': settings['camera'], 'loop': True}
        camera = _node('camera_replay_node', replay, CAMERA_TOPICS)
        detect = _node('detect_node', {'model': bundle}, {'image': CAMERA_TOPICS['image']})
        listen = [sys.executable, ROOT / 'demo' / 'listen.py', '/detect_node/overlay', folder]
        with (
            demo.runner.background('live_camera', camera),
            demo.runner.background('live_detect', detect),
        ):
            demo.runner.run('live_listen', listen, timeout_s=180)
        return json.loads((folder / 'live.json').read_text())

    return demo.stage('live', {'train': trained['key'], 'settings': settings}, work)


def generator(demo: Demo, data: Path, peer: Path | None) -> Record:
    """Measure the generator, beside a plain pyrender script where that is at hand."""
    settings = demo.settings['generator']

    def work(folder: Path) -> dict[str, Any]:
        command = [sys.executable, ROOT / 'bench' / 'generator.py', '--data', data]
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
