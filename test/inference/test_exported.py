"""An exported model at work: as its bundle finds, without torch, and what is refused."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from networks import spread_scores
from tiny import CLASSES, TINY_DENSE, detector_config, write_bundle

from synth_detect_ros.bundle import save_bundle
from synth_detect_ros.commands.main import main
from synth_detect_ros.config import ExportModelConfig
from synth_detect_ros.deployment.export_model import export_model
from synth_detect_ros.detectors.build import build_detector
from synth_detect_ros.errors import BundleError, ConfigError, GeometryError
from synth_detect_ros.files import encode_image
from synth_detect_ros.inference import exported as module
from synth_detect_ros.inference.exported import ExportedModel
from synth_detect_ros.inference.model import open_model
from synth_detect_ros.inference.predictor import Predictor

SIZE = (96, 128)
# A process in which torch cannot be imported.
WITHOUT_TORCH = """
import sys
sys.modules['torch'] = None
import numpy as np
from pathlib import Path
from synth_detect_ros.inference.model import open_model
model = open_model(Path(sys.argv[1]), threads=1)
found = model.detect(np.full((96, 128, 3), 90, np.uint8))
print(model.runtime, len(found))
"""

pytest.importorskip('openvino')


@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
    torch.manual_seed(0)
    options = {**TINY_DENSE, 'masks': True}
    detector = build_detector(detector_config(score_threshold=0.0, **options), CLASSES).eval()
    return save_bundle(tmp_path_factory.mktemp('bundle') / 'bundle', spread_scores(detector), {})


@pytest.fixture(scope='module')
def folder(tmp_path_factory, bundle):
    out = tmp_path_factory.mktemp('exported') / 'model'
    export_model(
        ExportModelConfig(
            model=str(bundle), out=str(out), format='openvino', height=SIZE[0], width=SIZE[1],
            count=1,
        )
    )  # fmt: skip
    return out


@pytest.fixture
def copy(tmp_path, folder):
    return shutil.copytree(folder, tmp_path / 'copy')


def image():
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)


def change(folder, **values):
    info = yaml.safe_load((folder / 'model.yaml').read_text())
    (folder / 'model.yaml').write_text(yaml.safe_dump({**info, **values}))


def test_it_finds_what_its_bundle_finds(bundle, folder):
    model, predictor = open_model(folder, threads=1), Predictor(bundle, 'cpu', 1)
    assert isinstance(model, ExportedModel)
    for name in ('classes', 'has_masks', 'architecture'):
        assert getattr(model, name) == getattr(predictor, name)
    assert (model.input_size, predictor.input_size) == (SIZE, None)
    found, wanted = model.detect(image(), 0.3), predictor.detect(image(), 0.3)
    assert 0 < len(found) == len(wanted) < len(model.detect(image()))
    np.testing.assert_allclose(found.boxes, wanted.boxes, atol=1e-2)
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-4)
    np.testing.assert_array_equal(found.labels, wanted.labels)
    assert (found.masks != wanted.masks).mean() < 1e-3
    assert model.detect(image(), masks=False).masks is None
    assert set(model.timings) == {'network', 'postprocess'}


def test_torch_is_not_needed(folder):
    command = [sys.executable, '-c', WITHOUT_TORCH, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == 'openvino' and int(done.stdout.split()[1]) > 0


def test_commands_take_it_for_a_bundle(tmp_path, folder):
    (tmp_path / 'image.png').write_bytes(encode_image(image(), 'png'))
    options = ['--model', str(folder), '--score-threshold', '0.3']
    assert main(['detect', *options, str(tmp_path / 'image.png'), '--out', str(tmp_path)]) == 0
    assert json.loads((tmp_path / 'detections.json').read_text())['annotations']


def test_other_images_are_refused_with_what_to_do(folder):
    model = ExportedModel(folder, threads=1)
    for wrong in (np.zeros((100, 128, 3), np.uint8), np.zeros((*SIZE, 3), np.float32)):
        with pytest.raises(GeometryError, match=r'images of 128 x 96 pixels.*export-model'):
            model.detect(wrong)


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ({'device': 'cuda'}, 'not with device cuda'),
        ({'runtime': 'torch'}, 'runs in openvino on the CPU'),
        ({'proposals': 7}, 'proposals: 7'),
    ],
)
def test_options_of_bundles_are_refused(folder, options, words):
    with pytest.raises(ConfigError, match=words):
        open_model(folder, **options)


def test_a_missing_runtime_is_named(folder, monkeypatch):
    monkeypatch.setattr(module.importlib.util, 'find_spec', lambda _: None)
    with pytest.raises(ConfigError, match='pip install openvino'):
        ExportedModel(folder)


@pytest.mark.parametrize(
    ('values', 'words'),
    [
        ({'format': 2}, 'format 2 for openvino, but this'),
        ({'exported': 'tflite'}, 'for tflite, but this'),
        ({'classes': []}, 'truncated or edited'),
        ({'input_height': '96'}, 'truncated or edited'),
        ({'files': {}}, 'checksum differs'),
    ],
)
def test_another_version_or_edited_facts_are_refused(copy, values, words):
    change(copy, **values)
    with pytest.raises(BundleError, match=words):
        open_model(copy)


def test_damaged_files_are_refused(copy):
    weights = (copy / 'model.bin').read_bytes()
    (copy / 'model.bin').write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    with pytest.raises(BundleError, match=r'model\.bin: damaged'):
        open_model(copy)
    (copy / 'model.bin').unlink()
    with pytest.raises(BundleError, match=r'model\.bin: missing'):
        open_model(copy)


def test_a_file_that_the_runtime_cannot_read_is_told(copy):
    (copy / 'model.xml').write_text('<net/>')
    sums = {'files': {**yaml.safe_load((copy / 'model.yaml').read_text())['files']}}
    sums['files']['model.xml'] = module.sha256_of(copy / 'model.xml')
    change(copy, **sums)
    with pytest.raises(BundleError, match='openvino cannot read it'):
        open_model(copy)


def test_a_bundle_is_opened_as_one(tmp_path):
    write_bundle(tmp_path / 'bundle', architecture='dense')
    assert isinstance(open_model(tmp_path / 'bundle', 'cpu', 1), Predictor)
    with pytest.raises(BundleError, match='no trained model here'):
        open_model(tmp_path / 'nothing')
