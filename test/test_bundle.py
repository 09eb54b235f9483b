"""Bundles: what is loaded is what was saved, and nothing else loads."""

import os
import subprocess
import threading

import numpy as np
import pytest
import torch
import yaml
from tiny import HEIGHT, WIDTH, write_bundle

from synth_detect_ros import folders
from synth_detect_ros.bundle import load_bundle, read_bundle_info, save_bundle
from synth_detect_ros.devices import choose_device
from synth_detect_ros.errors import BundleError, ConfigError, GeometryError, StorageError
from synth_detect_ros.inference.predictor import Predictor

BARE = 'format: 1\nclasses: []\ndetector: x\nweights_sha256: x\n'


@pytest.fixture
def bundle(tmp_path):
    return write_bundle(tmp_path / 'bundle')


def image():
    return np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)


def test_loaded_detector_finds_the_same(bundle, tmp_path):
    detector, _ = load_bundle(bundle)
    again, info = load_bundle(save_bundle(tmp_path / 'again', detector, {'note': 1}))
    tensor = torch.rand(3, HEIGHT, WIDTH)
    a, b = detector.detect([tensor])[0], again.detect([tensor])[0]
    np.testing.assert_array_equal(a.boxes, b.boxes)
    np.testing.assert_array_equal(a.scores, b.scores)
    assert info['note'] == 1


def test_overwriting_replaces_the_whole_bundle(bundle):
    detector, _ = load_bundle(bundle)
    (bundle / 'old').write_text('')
    save_bundle(bundle, detector, {})
    assert sorted(p.name for p in bundle.iterdir()) == [
        'SHA256SUMS', 'model.yaml', 'weights.safetensors',
    ]  # fmt: skip
    assert [p.name for p in bundle.parent.iterdir()] == ['bundle']


def test_predictor_is_the_detector_on_images(bundle):
    predictor = Predictor(bundle, 'cpu')
    everything = predictor.detect(image())
    middle = float(np.median(everything.scores))
    some = predictor.detect(image(), middle)
    assert predictor.classes == ('red', 'green')
    assert 0 < len(some) < len(everything)
    assert (some.scores >= middle).all()
    assert set(predictor.timings) == {'preprocess', 'network', 'postprocess'}


def test_proposals_can_be_changed_and_set_back(bundle):
    predictor = Predictor(bundle, 'cpu')
    everything = predictor.detect(image())
    predictor.keep_proposals(1)
    assert len(predictor.detect(image())) <= len(predictor.classes) < len(everything)
    predictor.keep_proposals(0)
    assert np.array_equal(predictor.detect(image()).boxes, everything.boxes)


@pytest.mark.parametrize('shape', [(HEIGHT, WIDTH), (HEIGHT, WIDTH, 4), (0, 10, 3)])
def test_predictor_refuses_other_shapes(bundle, shape):
    with pytest.raises(GeometryError, match='uint8 RGB'):
        Predictor(bundle, 'cpu').detect(np.zeros(shape, np.uint8))


def test_missing_bundle_is_named(tmp_path):
    with pytest.raises(BundleError, match='no trained model here'):
        load_bundle(tmp_path / 'nowhere')


@pytest.mark.parametrize('part', ['classes', 'detector'])
def test_empty_part_is_noticed(bundle, part):
    edit(bundle, **{part: None})
    with pytest.raises(BundleError, match='truncated or edited; wanted the keys'):
        load_bundle(bundle)


def test_missing_weights_are_named(bundle):
    (bundle / 'weights.safetensors').unlink()
    with pytest.raises(BundleError, match=r'weights\.safetensors is missing'):
        load_bundle(bundle)


def test_truncated_weights_are_noticed(bundle):
    path = bundle / 'weights.safetensors'
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BundleError, match='truncated'):
        load_bundle(bundle)


@pytest.mark.parametrize('text', ['', 'format: 1\n', BARE, 'classes: [a\n', '[1, 2]'])
def test_broken_model_file_is_noticed(bundle, text):
    (bundle / 'model.yaml').write_text(text)
    with pytest.raises(BundleError, match=r'model\.yaml'):
        read_bundle_info(bundle)


def edit(bundle, **values):
    path = bundle / 'model.yaml'
    (bundle / 'SHA256SUMS').unlink(missing_ok=True)
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **values}))


def test_other_format_is_refused(bundle):
    edit(bundle, format=99)
    with pytest.raises(BundleError, match='format 99'):
        load_bundle(bundle)


def test_classes_that_do_not_fit_the_weights_are_refused(bundle):
    edit(bundle, classes=['a', 'b', 'c'])
    with pytest.raises(BundleError, match='cannot be rebuilt'):
        load_bundle(bundle)


def test_unwritable_place_is_a_storage_error(bundle, tmp_path):
    detector, _ = load_bundle(bundle)
    (tmp_path / 'file').write_text('')
    with pytest.raises(StorageError, match='cannot be made'):
        save_bundle(tmp_path / 'file' / 'bundle', detector, {})


@pytest.mark.parametrize('name', ['gpu', 'cuda:x', 'cpu:0:1'])
def test_unknown_device_lists_the_choices(name):
    with pytest.raises(ConfigError, match='auto, cpu, cuda'):
        choose_device(name)


def test_absent_gpu_is_named():
    with pytest.raises(ConfigError, match='PyTorch sees'):
        choose_device(f'cuda:{torch.cuda.device_count()}')


# Options of a bundle as version 0.1 wrote it, and one from before there were the paper's settings.
NEW_THEN = {
    'c4_stride': 16, 'adapters': False, 'anchor_octaves': [0.5, 1.0, 2.0, 4.0], 'rpn_channels': 0,
    'rpn_dilation': 1, 'rpn_coder': [1.0] * 4, 'rpn_iou': [0.3, 0.7], 'rpn_candidates': 0,
    'rpn_nms_iou': 0.7, 'roi_size': 0, 'position_bins': 3, 'roi_pool': 1, 'fixed_size': None,
    'box_coder': [10.0, 10.0, 5.0, 5.0], 'box_iou': 0.5,
    'loss': {
        'rpn_beta': 1 / 9, 'box_beta': 1 / 9, 'objectness': 1.0, 'rpn_box': 1.0, 'classes': 1.0,
        'box': 1.0, 'mask': 1.0,
    },
    'ssd': {'maps': 6, 'candidates': 400},
}  # fmt: skip
BEFORE = {
    'architecture': 'faster_rcnn', 'neck': 'fpn', 'backbone': 'mobilenet_v2', 'weights': 'none',
    'pixel_mean': None, 'pixel_std': None, 'fpn_channels': 16, 'fpn_finest_stride': 8,
    'norm': 'group', 'box_head_convs': 1, 'box_head_channels': 32,
    'anchor_ratios': [0.5, 1.0, 2.0], 'anchor_scale': 3.0, 'min_side': HEIGHT, 'max_side': 1333,
    'proposals': 50, 'rpn_batch': 256, 'box_batch': 64, 'score_threshold': 0.0, 'nms_iou': 0.5,
    'max_detections': 100,
}  # fmt: skip


@pytest.mark.parametrize('more', [{}, NEW_THEN])
def test_older_bundle_means_what_it_meant(bundle, more):
    now = load_bundle(bundle)[0]
    edit(bundle, format=1, detector={**BEFORE, **more})
    old, info = load_bundle(bundle)
    assert old.config == now.config
    assert info['detector']['extractor'] == 'mobilenet_v2'
    tensor = torch.rand(3, HEIGHT, WIDTH)
    np.testing.assert_array_equal(old.detect([tensor])[0].boxes, now.detect([tensor])[0].boxes)


def test_older_bundle_with_an_unknown_option_is_refused(bundle):
    edit(bundle, format=1, detector={**BEFORE, 'colour': 'blue'})
    with pytest.raises(BundleError, match=r"cannot be rebuilt: .*unknown key 'colour'"):
        load_bundle(bundle)


def test_flipped_bit_is_named_wherever_it_is(bundle):
    rng = np.random.default_rng(0)
    for path in sorted(bundle.iterdir()):
        whole = path.read_bytes()
        places = {0, len(whole) - 2, *rng.integers(0, len(whole), 30).tolist()}
        for place in places:
            damaged = bytearray(whole)
            damaged[place] ^= 1 << int(rng.integers(8))
            path.write_bytes(damaged)
            with pytest.raises(BundleError, match=r'damaged|SHA256SUMS'):
                load_bundle(bundle)
        path.write_bytes(whole)
    load_bundle(bundle)


def test_checksums_are_those_of_sha256sum(bundle):
    subprocess.run(['sha256sum', '-c', '--strict', 'SHA256SUMS'], cwd=bundle, check=True)


def test_modes_follow_the_umask(tmp_path):
    before = os.umask(0o022)
    try:
        folder = write_bundle(tmp_path / 'bundle')
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}
    assert folder.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize('exchanged', [True, False])
def test_whoever_loads_gets_the_old_or_the_new(bundle, monkeypatch, exchanged):
    if not exchanged:
        monkeypatch.setattr(folders, 'exchange', lambda *_: False)
    detector, _ = load_bundle(bundle)
    done = threading.Event()

    def replace():
        for number in range(10):
            save_bundle(bundle, detector, {'number': number})
        done.set()

    thread = threading.Thread(target=replace)
    thread.start()
    seen = [load_bundle(bundle)[1].get('number', -1)]
    while not done.is_set():
        seen.append(load_bundle(bundle)[1].get('number', -1))
    thread.join()
    assert seen == sorted(seen)
    assert load_bundle(bundle)[1]['number'] == 9


def test_full_disk_keeps_the_old_bundle(bundle, full_disk):
    detector, _ = load_bundle(bundle)
    full_disk()
    with pytest.raises(StorageError, match='No space left'):
        save_bundle(bundle, detector, {'new': True})
    assert 'new' not in load_bundle(bundle)[1]
    assert [path.name for path in bundle.parent.iterdir()] == ['bundle']
