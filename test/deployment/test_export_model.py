"""A model for other programs: what is in it, that it finds the same, and what is refused."""

import dataclasses
import json
import re
import sys
import types
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from networks import spread_scores
from tiny import CLASSES, TINY_DENSE, TINY_SSD, detector_config, write_bundle

from synth_detect_ros import __version__
from synth_detect_ros.bundle import save_bundle
from synth_detect_ros.commands.main import main
from synth_detect_ros.config import ExportModelConfig
from synth_detect_ros.deployment import export_model as exporting
from synth_detect_ros.deployment import writers
from synth_detect_ros.deployment.export_model import export_model
from synth_detect_ros.detectors.build import build_detector
from synth_detect_ros.errors import ConfigError, DatasetError, ParityError, StorageError
from synth_detect_ros.inference.exported import ExportedModel

CAMERA = {'image_width': 128, 'image_height': 96, 'camera_name': 'eye'}
MASKS = {**TINY_DENSE, 'masks': True, 'separable': True, 'fixed_size': [150, 70]}
# A network and the size of its images: as the network sees them, smaller, larger.
CASES = [
    (TINY_DENSE, (96, 128)),
    (MASKS, (200, 150)),
    ({**TINY_DENSE, 'masks': True, 'candidates': 40}, (97, 140)),
    (TINY_SSD, (97, 140)),
    ({**TINY_SSD, 'fixed_size': [100, 90], 'candidates': 30}, (50, 60)),
]
OUTPUTS = {
    'boxes': 'tensor(float)',
    'scores': 'tensor(float)',
    'labels': 'tensor(int64)',
    'masks': 'tensor(float)',
}
ROOT = Path(__file__).parents[2]
NEEDS = {'onnx': 'onnxruntime', 'openvino': 'openvino'}


def bundle_of(folder, network, camera=CAMERA):
    torch.manual_seed(0)
    detector = build_detector(detector_config(score_threshold=0.0, **network), CLASSES).eval()
    return save_bundle(folder, spread_scores(detector), {'camera': camera})


@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
    return bundle_of(tmp_path_factory.mktemp('dense') / 'bundle', MASKS)


def config_of(bundle, out, **values):
    return ExportModelConfig(**{'model': bundle, 'out': out, 'count': 1, **values})


@pytest.fixture
def stand_in(monkeypatch):
    """Let a text stand for the exported file, and the bundle itself for its reader."""

    def write(graph, example, texts, out):
        (out / writers.ONNX).write_text(json.dumps(texts))

    class Exported:
        def __init__(self, folder):
            assert (folder / writers.ONNX).is_file()

        def detect(self, image):
            return stand_in.change(stand_in.predictor.detect(image, 0.0))

    class Predictor(exporting.Predictor):
        def __init__(self, *args, **values):
            super().__init__(*args, **values)
            stand_in.predictor = self

    stand_in = types.SimpleNamespace(change=lambda found: found)
    monkeypatch.setitem(writers.WRITERS, 'onnx', write)
    monkeypatch.setattr(writers.importlib.util, 'find_spec', lambda name: name)
    monkeypatch.setattr(exporting, 'ExportedModel', Exported)
    monkeypatch.setattr(exporting, 'Predictor', Predictor)
    return stand_in


@pytest.mark.slow
@pytest.mark.parametrize('format', NEEDS)
@pytest.mark.parametrize(('network', 'size'), CASES)
def test_exported_model_finds_what_the_bundle_finds(tmp_path, format, network, size):
    pytest.importorskip(NEEDS[format])
    bundle = bundle_of(tmp_path / 'bundle', network)
    height, width = size
    parity = export_model(
        config_of(bundle, tmp_path / 'out', format=format, height=height, width=width, count=3)
    )
    assert parity.images == 3
    assert parity.matched == parity.detections == parity.exported > 0
    assert parity.unmatched == 0 and parity.box_px < 1e-2 and parity.score < 1e-3
    assert (parity.mask_iou is None) == ('masks' not in network)
    assert parity.mask_iou is None or parity.mask_iou > 0.999
    exported = ExportedModel(tmp_path / 'out')
    assert len(exported.detect(np.zeros((*size, 3), np.uint8))) <= 100


@pytest.mark.parametrize('format', NEEDS)
def test_nothing_found_is_legal_and_said(tmp_path, bundle, format, caplog):
    pytest.importorskip(NEEDS[format])
    parity = export_model(config_of(bundle, tmp_path / 'out', format=format, score_threshold=1.0))
    assert (parity.matched, parity.unmatched, parity.exported) == (0, 0, 0)
    assert parity.mask_iou is None
    assert 'nothing was found' in caplog.text


def test_onnx_file_explains_itself(tmp_path, bundle):
    onnxruntime = pytest.importorskip('onnxruntime')
    export_model(config_of(bundle, tmp_path / 'out', score_threshold=0.25))
    session = onnxruntime.InferenceSession(tmp_path / 'out/model.onnx')
    (image,) = session.get_inputs()
    assert (image.name, image.shape, image.type) == ('image', [1, 96, 128, 3], 'tensor(uint8)')
    outputs = {output.name: output.type for output in session.get_outputs()}
    assert outputs == OUTPUTS
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts['classes']) == list(CLASSES)
    assert json.loads(facts['camera']) == CAMERA
    assert (facts['score_threshold'], facts['format']) == ('0.25', '1')
    assert (facts['input_height'], facts['input_width']) == ('96', '128')
    assert facts['package'] == f'synth_detect_ros {__version__}'


def test_openvino_file_explains_itself(tmp_path, bundle):
    openvino = pytest.importorskip('openvino')
    export_model(config_of(bundle, tmp_path / 'out', format='openvino'))
    model = openvino.Core().read_model(tmp_path / 'out/model.xml')
    assert model.inputs[0].any_name == 'image'
    assert [output.any_name for output in model.outputs] == ['boxes', 'scores', 'labels', 'masks']
    assert json.loads(model.get_rt_info(['synth_detect_ros', 'classes']).value) == list(CLASSES)
    shape = list(model.inputs[0].get_shape())
    assert shape == [1, 96, 128, 3]


def test_model_yaml_and_parity_json_say_the_same(tmp_path, bundle, stand_in):
    out = tmp_path / 'out'
    parity = export_model(config_of(bundle, out, max_box_px=0.5))
    assert {path.name for path in out.iterdir()} == {'model.onnx', 'model.yaml', 'parity.json'}
    facts = yaml.safe_load((out / 'model.yaml').read_text())
    info = yaml.safe_load((bundle / 'model.yaml').read_text())
    assert facts['weights_sha256'] == info['weights_sha256']
    assert facts['camera'] == CAMERA and facts['classes'] == list(CLASSES)
    assert (facts['format'], facts['exported']) == (1, 'onnx')
    texts = json.loads((out / 'model.onnx').read_text())
    assert {**texts, 'files': ''}.keys() == facts.keys()
    written = json.loads((out / 'parity.json').read_text())
    assert written['ran'] == 'onnx' and written['bounds']['max_box_px'] == 0.5
    assert {k: written[k] for k in dataclasses.asdict(parity)} == dataclasses.asdict(parity)


def test_documents_name_all_of_it(tmp_path, bundle, stand_in):
    out = tmp_path / 'out'
    export_model(config_of(bundle, out))
    text = (ROOT / 'docs/formats.md').read_text()
    text = text.partition('\n## Exported model\n')[2].partition('\n## ')[0]
    named = set(re.findall(r'`(\w+)', text))
    files = {name for names in exporting.FILES.values() for name in names}
    assert {*files, 'model.yaml', 'parity.json'} == set(re.findall(r'^    (\S+)', text, re.M))
    content = json.loads((out / 'parity.json').read_text())
    facts = yaml.safe_load((out / 'model.yaml').read_text())
    assert {*facts, *content, *content['bounds'], *OUTPUTS} <= named


def test_command_prints_how_it_compares(tmp_path, bundle, stand_in, capsys):
    out = str(tmp_path / 'out')
    assert main(['export-model', '--model', str(bundle), '--out', out, '--count', '1']) == 0
    assert capsys.readouterr().out.startswith(f'exported model: {out}\non 1 images 1')


def moved(found):
    return dataclasses.replace(found, boxes=found.boxes + 0.2)


def less_sure(found):
    return dataclasses.replace(found, scores=found.scores - 0.01)


def without_masks(found):
    return dataclasses.replace(found, masks=~found.masks)


@pytest.mark.parametrize(
    ('change', 'bound'),
    [
        (moved, 'max_box_px 0.1'),
        (less_sure, 'max_score 0.002'),
        (without_masks, 'min_mask_iou 0.99'),
        (lambda found: found[:3], 'max_unmatched 0.02'),
    ],
)
def test_a_model_that_differs_is_not_written(tmp_path, bundle, stand_in, change, bound):
    out = tmp_path / 'out'
    export_model(config_of(bundle, out))
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    stand_in.change = change
    with pytest.raises(ParityError, match=f'more than {bound}: .*Nothing was written'):
        export_model(config_of(bundle, out, score_threshold=0.001))
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ['out']


def test_an_export_is_replaced_as_a_whole(tmp_path, bundle, stand_in):
    out = tmp_path / 'out'
    out.mkdir()
    export_model(config_of(bundle, out))
    (out / 'model.engine').write_text('older')
    export_model(config_of(bundle, out))
    assert {path.name for path in out.iterdir()} == {'model.onnx', 'model.yaml', 'parity.json'}


def test_what_is_no_export_is_not_replaced(tmp_path, bundle, stand_in):
    (tmp_path / 'file').write_text('')
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other/model.yaml').write_text('format: 1\n')
    export_model(config_of(bundle, tmp_path / 'more'))
    (tmp_path / 'more/notes.txt').write_text('')
    for out in (bundle, tmp_path / 'file', tmp_path / 'other', tmp_path / 'more'):
        with pytest.raises(ConfigError, match='exists and is no exported model'):
            export_model(config_of(bundle, out))


def test_images_of_a_folder_are_compared(tmp_path, bundle, stand_in):
    images = tmp_path / 'images'
    images.mkdir()
    for name, size in (('a', (96, 128)), ('b', (96, 128)), ('c', (96, 100))):
        cv2.imwrite(str(images / f'{name}.png'), np.zeros((*size, 3), np.uint8))
    config = config_of(bundle, tmp_path / 'out', images=images, count=2)
    assert export_model(config).images == 2
    with pytest.raises(DatasetError, match=r'c\.png: wanted 128 x 96 pixels.*got 100 x 96'):
        export_model(config.replace(count=3))
    with pytest.raises(DatasetError, match='no images in it'):
        export_model(config.replace(images=str(tmp_path / 'none')))


def test_model_and_out_are_needed():
    with pytest.raises(ConfigError, match='model, out'):
        export_model(ExportModelConfig())


@pytest.mark.parametrize('values', [{}, {'architecture': 'rfcn', 'neck': 'c4'}])
def test_two_stages_are_refused(tmp_path, monkeypatch, stand_in, values):
    with pytest.raises(ConfigError, match=r'wanted a detector of one stage.*dense or ssd'):
        export_model(config_of(write_bundle(tmp_path / 'bundle', **values), tmp_path / 'out'))
    assert not (tmp_path / 'out').exists()
    monkeypatch.setattr(writers.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(
        ConfigError, match='wanted a detector of one stage'
    ):  # packages come second
        export_model(config_of(tmp_path / 'bundle', tmp_path / 'out'))


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'height': 9000, 'width': 10}, 'height: 9000 is out of bounds'),
        ({'height': 96}, 'give both, or none'),
        ({'width': 96}, 'give both, or none'),
    ],
)
def test_sizes_that_cannot_be_are_refused(tmp_path, bundle, stand_in, values, message):
    with pytest.raises(ConfigError, match=message):
        export_model(config_of(bundle, tmp_path / 'out', **values))


def test_an_image_of_which_nothing_is_seen_is_refused(tmp_path, stand_in):
    bundle = bundle_of(tmp_path / 'bundle', TINY_DENSE)
    with pytest.raises(ConfigError, match='the network would see 0 x'):
        export_model(config_of(bundle, tmp_path / 'out', height=1, width=8192))


def test_a_bundle_without_a_camera_needs_a_size(tmp_path, stand_in):
    bundle = bundle_of(tmp_path / 'bundle', TINY_DENSE, camera=None)
    with pytest.raises(ConfigError, match=r'names no camera\. Give height and width'):
        export_model(config_of(bundle, tmp_path / 'out'))
    export_model(config_of(bundle, tmp_path / 'out', height=96, width=128))


@pytest.mark.parametrize(
    ('format', 'words'),
    [
        ('onnx', 'pip install onnx onnxruntime; or choose openvino or tensorrt'),
        ('openvino', 'pip install openvino'),
        ('tensorrt', 'pip install onnx onnxruntime tensorrt'),
    ],
)
def test_a_missing_package_is_named(tmp_path, bundle, monkeypatch, format, words):
    monkeypatch.setattr(writers.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(ConfigError, match=words):
        export_model(config_of(bundle, tmp_path / 'out', format=format))


def test_a_network_that_a_format_cannot_hold_is_refused(tmp_path, bundle, monkeypatch):
    monkeypatch.setattr(writers.importlib.util, 'find_spec', lambda name: name)
    monkeypatch.setattr(writers, '_onnx', lambda *_: 1 / 0)
    with pytest.raises(ConfigError, match='format: onnx cannot hold this network'):
        export_model(config_of(bundle, tmp_path / 'out'))
    assert list(tmp_path.iterdir()) == []


def test_openvino_files_that_cannot_be_written_are_reported(tmp_path, monkeypatch):
    def fail(*args, **values):
        raise RuntimeError('disk full')

    model = types.SimpleNamespace(outputs=[], set_rt_info=lambda text, path: None)
    openvino = types.SimpleNamespace(convert_model=lambda *_, **__: model, save_model=fail)
    monkeypatch.setitem(sys.modules, 'openvino', openvino)
    graph = types.SimpleNamespace(names=())
    with pytest.raises(StorageError, match=r'model\.xml cannot be written \(disk full\)'):
        writers.WRITERS['openvino'](graph, torch.zeros(1), {'format': '1'}, tmp_path)


class Parser:
    num_errors, good = 1, True

    def __init__(self, network, logger):
        assert (network, logger) == ('network', 'logger')

    def parse(self, model):
        self.model = model
        return Parser.good

    def get_error(self, index):
        return f'error {index}'


class Builder:
    engine = memoryview(b'engine')

    def __init__(self, logger):
        assert logger == 'logger'

    def create_network(self, flags):
        assert flags == 0
        return 'network'

    def create_builder_config(self):
        return 'config'

    def build_serialized_network(self, network, config):
        assert (network, config) == ('network', 'config')
        return Builder.engine


@pytest.fixture
def tensorrt(monkeypatch):
    """A module with the calls of TensorRT's documentation: no machine of ours has the real one."""
    module = types.ModuleType('tensorrt')
    module.__version__, module.Builder, module.OnnxParser = '10', Builder, Parser
    module.Logger = lambda level: 'logger'
    module.Logger.WARNING = 1
    monkeypatch.setitem(sys.modules, 'tensorrt', module)
    return module


def test_tensorrt_engine_is_built_from_the_onnx_file_beside_it(
    tmp_path, bundle, stand_in, tensorrt, monkeypatch
):
    monkeypatch.setattr(writers, '_write_onnx', writers.WRITERS['onnx'])
    export_model(config_of(bundle, tmp_path / 'out', format='tensorrt'))
    assert (tmp_path / 'out/model.engine').read_bytes() == b'engine'
    assert json.loads((tmp_path / 'out/parity.json').read_text())['ran'] == 'model.onnx'
    files = yaml.safe_load((tmp_path / 'out/model.yaml').read_text())['files']
    assert set(files) == {'model.onnx', 'model.engine'}


def test_tensorrt_says_what_it_cannot_read_or_build(tensorrt, monkeypatch):
    monkeypatch.setattr(Builder, 'engine', None)
    with pytest.raises(ConfigError, match='tensorrt 10 built no engine'):
        writers.build_engine(b'')
    monkeypatch.setattr(Parser, 'good', False)
    with pytest.raises(ConfigError, match='tensorrt 10 cannot read it: error 0'):
        writers.build_engine(b'')
