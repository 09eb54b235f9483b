"""Bundles in 8-bit integers: like the one they come from, or refused."""

import importlib
import sys
import types

import cv2
import numpy as np
import pytest
import tiny

from synth_detect_ros.bundle import INT8, SUMS, load_bundle, read_bundle_info
from synth_detect_ros.commands.main import main
from synth_detect_ros.config import QuantizeConfig
from synth_detect_ros.deployment import quantize as module
from synth_detect_ros.deployment.quantize import quantize
from synth_detect_ros.errors import BackgroundError, BundleError, ConfigError, DatasetError
from synth_detect_ros.inference.predictor import Predictor

NETWORKS = [{'architecture': 'dense', 'masks': True}, {'architecture': 'rfcn', 'neck': 'c4'}]


@pytest.fixture
def without_nncf(monkeypatch):
    """Let what NNCF returns be the network as it is: the rest is tested without it."""
    pytest.importorskip('openvino')
    seen = []

    def dataset(readers, network_input):
        seen.extend(network_input(read) for read in readers)
        return seen

    fake = types.SimpleNamespace(
        set_log_level=lambda _: None,
        Dataset=dataset,
        QuantizationPreset=types.SimpleNamespace(MIXED=None),
        AdvancedQuantizationParameters=lambda **_: None,
        quantization=types.SimpleNamespace(
            range_estimator=types.SimpleNamespace(
                RangeEstimatorParametersSet=types.SimpleNamespace(MINMAX=None)
            )
        ),
        quantize=lambda network, *_, **__: network,
    )
    monkeypatch.setitem(sys.modules, 'nncf', fake)
    find = importlib.util.find_spec
    monkeypatch.setattr(
        module.importlib.util, 'find_spec', lambda name: name == 'nncf' or find(name)
    )
    return seen


@pytest.fixture
def dataset(tmp_path):
    return tiny.write_dataset(tmp_path / 'set', 6)


def config(tmp_path, **values):
    options = {
        'model': tmp_path / 'bundle', 'dataset': tmp_path / 'set', 'out': tmp_path / 'int8',
        'scored': 2, **values,
    }  # fmt: skip
    return QuantizeConfig(**{k: v if isinstance(v, int | float) else str(v)
                             for k, v in options.items()})  # fmt: skip


@pytest.mark.parametrize('network', NETWORKS)
def test_new_bundle_finds_what_the_first_finds(tmp_path, dataset, without_nncf, network, caplog):
    tiny.write_bundle(tmp_path / 'bundle', **network)
    out = quantize(config(tmp_path))
    facts = read_bundle_info(out)['int8']
    assert facts['images'] == len(without_nncf) == 3
    assert facts['AP'] == pytest.approx(facts['AP_float32'])
    plain, small = Predictor(tmp_path / 'bundle', 'cpu', 1), Predictor(out, 'cpu', 1)
    assert (plain.runtime, small.runtime) == ('openvino', 'openvino int8')
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    np.testing.assert_allclose(small.detect(image).boxes, plain.detect(image).boxes, atol=1e-3)
    # The float32 weights are there for who has no OpenVINO.
    assert not caplog.records
    assert Predictor(out, 'cpu', 1, 'torch').runtime == 'torch'
    assert 'runs in OpenVINO alone; torch computes in float32' in caplog.text
    assert load_bundle(out)[0].classes == tiny.CLASSES
    with pytest.raises(ConfigError, match='in 8-bit integers already'):
        quantize(config(tmp_path, model=out, out=tmp_path / 'again'))
    assert quantize(config(tmp_path)) == out  # its own is replaced


def test_backgrounds_calibrate_too(tmp_path, dataset, without_nncf):
    tiny.write_bundle(tmp_path / 'bundle', architecture='dense')
    quantize(config(tmp_path, backgrounds=dataset / 'images', count=2))
    assert len(without_nncf) == 4


def test_backgrounds_of_12_bits_in_16_calibrate_as_bright_as_they_are(
    tmp_path, dataset, without_nncf
):
    tiny.write_bundle(tmp_path / 'bundle', architecture='dense')
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    for name, pixels in (('plain', image), ('deep', image.astype(np.uint16) * 16)):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / '0.png'), pixels)
        quantize(config(tmp_path, backgrounds=tmp_path / name, count=1))
    plain, deep = without_nncf[1], without_nncf[3]
    # 255 of 8 bits is 4080 of 12, one grey level less than white.
    np.testing.assert_allclose(deep, plain, atol=0.05 * np.abs(plain).max())


def test_a_loss_of_accuracy_leaves_nothing(tmp_path, dataset, without_nncf, monkeypatch):
    tiny.write_bundle(tmp_path / 'bundle', architecture='dense')
    scores = iter([0.9, 0.8])
    monkeypatch.setattr(module, 'score_images', lambda *_: {'bbox': {'AP': next(scores)}})
    with pytest.raises(ConfigError, match=r'AP falls from 0\.900 to 0\.800.*more than 0\.05'):
        quantize(config(tmp_path, max_drop=0.05))
    assert sorted(p.name for p in tmp_path.iterdir()) == ['bundle', 'set']


def test_packages_that_are_missing_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(module.importlib.util, 'find_spec', lambda _: None)
    with pytest.raises(ConfigError, match='pip install nncf openvino'):
        quantize(config(tmp_path))


def test_bad_input_is_told(tmp_path, dataset, without_nncf):
    tiny.write_bundle(tmp_path / 'bundle', architecture='dense')
    with pytest.raises(ConfigError, match='holds something else'):
        quantize(config(tmp_path, out=tmp_path / 'bundle'))
    with pytest.raises(ConfigError, match='holds something else'):
        quantize(config(tmp_path, out=dataset))
    assert (dataset / 'annotations.json').is_file()
    with pytest.raises(BackgroundError, match='no such folder'):
        quantize(config(tmp_path, backgrounds=tmp_path / 'nowhere'))
    with pytest.raises(BundleError, match='no trained model'):
        quantize(config(tmp_path, model=tmp_path / 'nowhere'))
    tiny.write_dataset(tmp_path / 'one', 1)
    with pytest.raises(DatasetError, match='got 1 images'):
        quantize(config(tmp_path, dataset=tmp_path / 'one'))
    assert not (tmp_path / 'int8').exists()


def test_a_network_of_another_openvino_is_told(tmp_path, dataset, without_nncf):
    tiny.write_bundle(tmp_path / 'bundle', architecture='dense')
    out = quantize(config(tmp_path))
    (out / INT8).write_text('<net name="x" version="99"/>')
    with pytest.raises(BundleError, match='damaged or edited'):
        Predictor(out, 'cpu', 1)
    (out / SUMS).unlink()
    with pytest.raises(ConfigError, match=r'(?s)cannot run this network.*Choose auto or torch'):
        Predictor(out, 'cpu', 1, 'openvino')
    assert Predictor(out, 'cpu', 1).runtime == 'torch'  # says so in the log


def test_the_command_needs_its_options(capsys, tmp_path):
    assert main(['quantize', '--model', str(tmp_path)]) == 1
    assert 'dataset' in capsys.readouterr().err
