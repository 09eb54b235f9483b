"""The whole path on the command line, with a tiny network, and what it says to bad input."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny
import yaml
from safetensors.torch import save_file

from synth_detect_ros.commands import main as cli
from synth_detect_ros.config.options import to_mapping

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    return tiny.write_dataset(tmp_path_factory.mktemp('data') / 'set')


@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
    return tiny.write_bundle(tmp_path_factory.mktemp('model') / 'bundle')


def fails(capsys, *argv):
    """Run a command that must fail; return its one line on stderr."""
    capsys.readouterr()
    assert cli.main([str(a) for a in argv]) == 1
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if line.startswith('synth-detect: error: ')]
    assert len(errors) == 1 and lines[-1] == errors[0]
    assert 'Traceback' not in '\n'.join(lines)
    return errors[0]


def write_train_config(dataset, out, **values):
    config = tiny.train_config(dataset, out, **values)
    out.mkdir(parents=True, exist_ok=True)
    path = out.parent / 'train.yaml'
    path.write_text(yaml.safe_dump(to_mapping(config)))
    return path


def test_train_then_evaluate_then_detect_then_show(tmp_path, capsys, dataset):
    config = write_train_config(dataset, tmp_path / 'run', steps=2)
    assert cli.main(['train', '--config', str(config), '--batch', '1']) == 0
    model = str(tmp_path / 'run/bundle')
    assert capsys.readouterr().out == f'trained model: {model}\n'

    labelled = [
        '--images',
        str(dataset / 'images'),
        '--annotations',
        f'{dataset}/annotations.json',
    ]
    results = ['--json', str(tmp_path / 'metrics.json'), '--overlays', str(tmp_path / 'worst')]
    assert cli.main(['evaluate', '--model', model, *labelled, *results, '--worst', '3']) == 0
    table = capsys.readouterr().out
    metrics = json.loads((tmp_path / 'metrics.json').read_text())
    for name in ('boxes, all', 'boxes, red', 'boxes, green'):
        assert name in table
    assert metrics['images'] == 8
    assert f'{metrics["bbox"]["AP"]:.3f}' in table
    assert len(list((tmp_path / 'worst').iterdir())) == 3

    images = str(dataset / 'images')
    out = tmp_path / 'found'
    assert cli.main(['detect', images, '--model', model, '--out', str(out)]) == 0
    assert capsys.readouterr().out == f'detections: {out}/detections.json\n'
    assert len(list(out.glob('*.jpg'))) == 8

    assert cli.main(['show', model]) == 0
    assert 'classes: red, green' in capsys.readouterr().out


def test_an_interrupted_training_leaves_a_model_and_status_130(
    tmp_path, capsys, dataset, monkeypatch
):
    def interrupt(*_):
        os.kill(os.getpid(), signal.SIGINT)

    config = write_train_config(dataset, tmp_path / 'run')
    monkeypatch.setattr('synth_detect_ros.training.log.RunLog.step', interrupt)
    assert cli.main(['train', '--config', str(config)]) == 130
    assert 'interrupted' in capsys.readouterr().err
    assert cli.main(['show', str(tmp_path / 'run/bundle')]) == 0


def test_unknown_key_of_a_file_is_named_with_the_file(tmp_path, capsys):
    path = tmp_path / 'c.yaml'
    path.write_text('detector: {extracter: resnet18}\n')
    line = fails(capsys, 'train', '--config', path)
    assert str(path) in line and "unknown key 'extracter'" in line and 'extractor,' in line


@pytest.mark.parametrize('command', ['synthesize', 'train', 'evaluate', 'detect'])
def test_commands_say_what_they_need(capsys, command):
    assert 'error: ' in fails(capsys, command)


def test_random_weights_cannot_be_frozen(tmp_path, capsys, dataset):
    config = write_train_config(dataset, tmp_path / 'run')
    line = fails(capsys, 'train', '--config', config, '--freeze', 'first_stage')
    assert 'random' in line


def test_weights_of_another_architecture_are_refused(tmp_path, capsys, dataset):
    weights = tiny.write_weights(tmp_path / 'resnet.safetensors', 'resnet18')
    config = write_train_config(dataset, tmp_path / 'run', detector={'weights': str(weights)})
    line = fails(capsys, 'train', '--config', config)
    assert 'resnet.safetensors' in line


def test_missing_weights_are_refused(tmp_path, capsys, dataset):
    config = write_train_config(dataset, tmp_path / 'run', detector={'weights': '/no/w.pth'})
    assert '/no/w.pth: no such weight file' in fails(capsys, 'train', '--config', config)


@pytest.mark.parametrize('workers', [0, 1])
def test_a_corrupt_jpeg_in_the_set_is_named(tmp_path, capsys, dataset, workers):
    folder = tmp_path / 'set'
    shutil.copytree(dataset, folder)
    for path in sorted((folder / 'images').iterdir())[1:]:  # the first one is read beforehand
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    config = write_train_config(folder, tmp_path / 'run', workers=workers)
    line = fails(capsys, 'train', '--config', config)
    assert '.png: no complete image' in line
    assert len(line) < 300


def test_a_missing_data_set_is_named(tmp_path, capsys):
    config = write_train_config(tmp_path / 'gone', tmp_path / 'run')
    assert str(tmp_path / 'gone') in fails(capsys, 'train', '--config', config)


def evaluation(bundle, dataset):
    return [
        *('evaluate', '--model', bundle, '--images', dataset / 'images'),
        *('--annotations', dataset / 'annotations.json'),
    ]


def test_a_missing_bundle_is_named(tmp_path, capsys, dataset):
    line = fails(capsys, *evaluation(tmp_path / 'gone', dataset))
    assert str(tmp_path / 'gone') in line and 'no trained model' in line


@pytest.mark.parametrize('name', ['weights.safetensors', 'model.yaml'])
def test_a_truncated_bundle_is_refused(tmp_path, capsys, dataset, bundle, name):
    copy = tmp_path / 'bundle'
    shutil.copytree(bundle, copy)
    data = (copy / name).read_bytes()
    (copy / name).write_bytes(data[: len(data) // 4])
    line = fails(capsys, *evaluation(copy, dataset))
    assert name in line and ('truncated' in line or 'cannot be read' in line)


def test_a_foreign_weight_file_in_a_bundle_is_refused(tmp_path, capsys, dataset, bundle):
    copy = tmp_path / 'bundle'
    shutil.copytree(bundle, copy)
    save_file({}, copy / 'weights.safetensors')
    assert 'its SHA-256 is not the one in SHA256SUMS' in fails(capsys, *evaluation(copy, dataset))


def test_annotations_that_are_cut_off_are_named(tmp_path, capsys, dataset, bundle):
    text = (dataset / 'annotations.json').read_text()
    (tmp_path / 'a.json').write_text(text[:100])
    line = fails(capsys, *evaluation(bundle, dataset)[:-1], tmp_path / 'a.json')
    assert 'a.json: cannot be read as JSON' in line


def test_an_unknown_device_is_named(capsys, dataset, bundle):
    line = fails(capsys, *evaluation(bundle, dataset), '--device', 'tpu')
    assert 'auto, cpu, cuda' in line


def test_a_full_disk_is_one_line_and_leaves_what_was_there(
    tmp_path, capsys, dataset, bundle, full_disk
):
    old = tmp_path / 'metrics.json'
    old.write_text('{}')

    full_disk()
    line = fails(capsys, *evaluation(bundle, dataset), '--json', old)
    assert 'metrics.json' in line and 'No space left on device' in line
    assert [p.name for p in tmp_path.iterdir()] == ['metrics.json']
    assert old.read_text() == '{}'


def run_on_a_small_disk(*argv, limit):
    """Run a command that cannot write a file of more than `limit` bytes."""

    def small():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [sys.executable, '-m', 'synth_detect_ros.commands.main', *map(str, argv)]
    result = subprocess.run(
        command, cwd=ROOT, preexec_fn=small, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1, result.stderr
    assert 'Traceback' not in result.stderr
    return result.stderr.splitlines()[-1]


def test_training_on_a_full_disk_says_which_file(tmp_path, dataset):
    config = write_train_config(dataset, tmp_path / 'run', steps=1)
    line = run_on_a_small_disk('train', '--config', config, limit=200_000)
    assert line.startswith(f'synth-detect: error: {tmp_path}/run/')
    assert 'cannot be written' in line


def test_synthesis_on_a_full_disk_says_which_file(tmp_path):
    argv = write_scene(tmp_path, tetrahedron(0.1))
    line = run_on_a_small_disk(*argv, '--workers', '2', '--count', '20', limit=1500)
    assert line.startswith('synth-detect: error: ')
    assert 'cannot be written' in line and 'start again to continue' in line


def write_scene(folder: Path, mesh: str | None = None, unit: str = 'm'):
    """Write an objects file, its mesh and a background set; return the flags that name them."""
    (folder / 'frames').mkdir(parents=True)
    grey = np.full((48, 64, 3), 90, np.uint8)
    cv2.imwrite(str(folder / 'frames/0.png'), grey)
    objects = {'objects': [{'name': 'thing', 'mesh': 'thing.obj', 'unit': unit}]}
    (folder / 'objects.yaml').write_text(yaml.safe_dump(objects))
    if mesh is not None:
        (folder / 'thing.obj').write_text(mesh)
    return [
        *('synthesize', '--objects', folder / 'objects.yaml', '--backgrounds', folder),
        *('--camera-hfov-deg', '60', '--count', '1', '--workers', '1', '--out', folder / 'set'),
    ]


def tetrahedron(size):
    return (
        f'v 0 0 0\nv {size} 0 0\nv 0 {size} 0\nv 0 0 {size}\nf 1 3 2\nf 1 2 4\nf 2 3 4\nf 1 4 3\n'
    )


def test_synthesize_writes_a_data_set(tmp_path, capsys):
    pytest.importorskip('moderngl')
    assert cli.main([str(a) for a in write_scene(tmp_path, tetrahedron(0.1))]) == 0
    assert capsys.readouterr().out == f'data set: {tmp_path}/set\n'
    assert (tmp_path / 'set/annotations.json').is_file()


@pytest.mark.parametrize(
    ('mesh', 'message'),
    [
        (None, 'thing.obj'),
        ('', 'thing.obj'),
        ('v 0 0 0\nv 1 0 0\nv 0 1 0\n', 'thing.obj'),
        (tetrahedron(100), 'unit: mm'),
    ],
    ids=['missing', 'empty', 'no faces', 'millimetres'],
)
def test_a_mesh_that_cannot_be_used_is_named(tmp_path, capsys, mesh, message):
    line = fails(capsys, *write_scene(tmp_path, mesh))
    assert message in line
    assert not list(tmp_path.glob('set/images/*'))


def test_no_background_is_said(tmp_path, capsys):
    argv = write_scene(tmp_path, tetrahedron(0.1))
    (tmp_path / 'frames/0.png').unlink()
    assert 'no images' in fails(capsys, *argv)


def test_a_background_set_without_camera_is_said(tmp_path, capsys):
    argv = write_scene(tmp_path, tetrahedron(0.1))
    at = argv.index('--camera-hfov-deg')
    assert 'camera' in fails(capsys, *argv[:at], *argv[at + 2 :])


def test_a_corrupt_background_is_named(tmp_path, capsys):
    argv = write_scene(tmp_path, tetrahedron(0.1))
    data = (tmp_path / 'frames/0.png').read_bytes()
    (tmp_path / 'frames/0.png').write_bytes(data[: len(data) // 2])
    assert '0.png' in fails(capsys, *argv)


def test_a_missing_objects_file_is_named(tmp_path, capsys):
    argv = write_scene(tmp_path, tetrahedron(0.1))
    (tmp_path / 'objects.yaml').unlink()
    assert 'objects.yaml' in fails(capsys, *argv)
