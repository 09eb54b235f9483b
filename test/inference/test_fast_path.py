"""The fast path finds what the detector finds, whoever computes the dense part."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from tiny import CLASSES, TINY_DENSE, TINY_SSD, detector_config, write_bundle

from synth_detect_ros.bundle import load_bundle, save_bundle
from synth_detect_ros.detectors.build import build_detector
from synth_detect_ros.detectors.detector import to_tensor
from synth_detect_ros.detectors.rcnn import RCNN
from synth_detect_ros.errors import ConfigError
from synth_detect_ros.inference.predictor import Predictor
from synth_detect_ros.inference.runtimes import MAKERS, build_runtime
from synth_detect_ros.inference.two_stage import TwoStageDense

CPU = torch.device('cpu')
RUNTIMES = ['torch', 'openvino', 'onnxruntime']
NETWORKS = [
    {},
    {'architecture': 'mask_rcnn'},
    {'neck': 'c4', 'extractor': 'resnet18'},
    {'neck': 'c4', 'architecture': 'rfcn'},
    {'norm': 'none', 'box_head': {'convs': 0}},
    {'fixed_size': [150, 70]},
    TINY_SSD,
    {**TINY_SSD, 'extractor': 'resnet18', 'fixed_size': [100, 90], 'candidates': 30},
    TINY_DENSE,
    {**TINY_DENSE, 'masks': True, 'separable': True, 'kernel': 5, 'finest_stride': 16},
    {
        'box_head': {'roi_size': 10, 'roi_pool': 2},
        'rpn': {'channels': 12, 'coder': [10, 10, 5, 5]},
    },
    {
        **{'neck': 'c4', 'extractor': 'resnet18', 'architecture': 'mask_rcnn'},
        'c4_stride': 8,
        'rpn': {
            **{'anchor_octaves': [1, 2], 'dilation': 2, 'candidates': 400, 'nms_iou': 0.5},
            'coder': [2, 3, 4, 5],
        },
        'box_head': {'coder': [5, 4, 3, 2], 'roi_size': 14, 'roi_pool': 2},
    },
]
SIZES = [(96, 128), (97, 140), (200, 150)]


def scores_of(detector):
    """Return the weights that make the scores of the classes."""
    if detector.config.architecture == 'rfcn':
        return [detector.region_maps.maps.weight[: (len(CLASSES) + 1) * 9]]
    if detector.config.architecture == 'ssd':
        return [layer.weight for layer in detector.head.logits]
    if detector.config.architecture == 'dense':
        return [detector.head.logits.weight]
    return [detector.roi_heads.box_predictor.cls_score.weight]


@pytest.fixture(scope='module', params=range(len(NETWORKS)))
def bundle(request, tmp_path_factory):
    torch.manual_seed(0)
    config = detector_config(score_threshold=0.0, **NETWORKS[request.param])
    detector = build_detector(config, CLASSES).eval()
    with torch.no_grad():  # spread what an untrained head scores, so that rounding ties nothing
        for weight in scores_of(detector):
            weight.mul_(50)
    return save_bundle(tmp_path_factory.mktemp('network') / 'bundle', detector, {})


@pytest.fixture(scope='module')
def detector(bundle):
    return load_bundle(bundle)[0]


def predictor(bundle, runtime='torch'):
    return Predictor(bundle, 'cpu', 1, runtime)


def image(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def assert_same(found, wanted):
    assert len(found) == len(wanted)
    assert np.array_equal(found.labels, wanted.labels)
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-3)
    np.testing.assert_allclose(found.boxes, wanted.boxes, atol=0.05)
    assert (found.masks is None) == (wanted.masks is None)
    if wanted.masks is not None:
        assert (found.masks == wanted.masks).mean() > 0.999


@pytest.mark.parametrize('runtime', RUNTIMES)
def test_detections_are_those_of_the_detector(bundle, detector, runtime):
    if runtime != 'torch':
        pytest.importorskip(runtime)
    fast = predictor(bundle, runtime)
    assert fast.runtime == runtime
    for size in SIZES:
        frame = image(*size)
        wanted = detector.detect([to_tensor(frame, CPU)])[0]
        assert len(wanted)
        assert_same(fast.detect(frame), wanted)
        assert set(fast.timings) == {'preprocess', 'network', 'postprocess'}


def test_nothing_found_is_legal(bundle, detector):
    found = predictor(bundle).detect(image(96, 128), 1.1)
    assert len(found) == 0
    assert (found.masks is None) == (not detector.has_masks)


def test_masks_are_made_only_when_wanted(bundle, monkeypatch):
    fast = predictor(bundle)
    monkeypatch.setattr('synth_detect_ros.inference.predictor.paste_masks', lambda *_: 1 / 0)
    assert fast.detect(image(96, 128), masks=False).masks is None


def test_fewer_proposals_are_the_best_ones(bundle, detector):
    if detector.config.architecture in ('ssd', 'dense'):
        pytest.skip('it proposes nothing')
    fast = predictor(bundle)
    fast.keep_proposals(1)
    assert len(fast.detect(image(96, 128))) <= len(CLASSES)


def small():
    return TwoStageDense(RCNN(detector_config(), CLASSES).eval())


def test_auto_is_torch_where_openvino_is_not_or_fails(monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    assert build_runtime('auto', small(), CPU, 1)[0] == 'torch'
    monkeypatch.setattr('importlib.util.find_spec', lambda name: name)
    monkeypatch.setitem(MAKERS, 'openvino', lambda *_: 1 / 0)
    assert build_runtime('auto', small(), CPU, 1)[0] == 'torch'


def test_a_runtime_that_is_not_installed_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    with pytest.raises(ConfigError, match='pip install onnx onnxruntime'):
        build_runtime('onnxruntime', small(), CPU, 1)


def test_a_runtime_that_fails_says_what_to_choose(monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: name)
    monkeypatch.setitem(MAKERS, 'openvino', lambda *_: 1 / 0)
    with pytest.raises(ConfigError, match=r'cannot run this network.*Choose auto or torch'):
        build_runtime('openvino', small(), CPU, 1)


def test_gpus_are_for_torch():
    with pytest.raises(ConfigError, match='Choose auto, torch or compile'):
        build_runtime('openvino', small(), torch.device('cuda'), 1)


SIGNAL = """
import os, signal, sys
from pathlib import Path
from synth_detect_ros.inference.predictor import Predictor
heard = []
signal.signal(signal.SIGUSR1, lambda *_: heard.append(1))
first, second = (Predictor(Path(sys.argv[1]), 'cpu', 1, 'openvino') for _ in range(2))
del first
del second
os.kill(os.getpid(), signal.SIGUSR1)
print(len(heard))
"""


def test_signals_are_handled_when_models_are_gone_in_whatever_order(tmp_path):
    pytest.importorskip('openvino')
    write_bundle(tmp_path / 'bundle')
    line = [sys.executable, '-c', SIGNAL, str(tmp_path / 'bundle')]
    run = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout.split()) == (0, ['1']), run.stderr
