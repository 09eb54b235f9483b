"""Code in bundles: it travels along, and runs only where it is named."""

import hashlib
import re
import shutil

import numpy as np
import pytest
import torch
import yaml
from tiny import CLASSES, HEIGHT, OWN_EXTRACTOR, WIDTH, detector_config, write_bundle

from synth_detect_ros.bundle import load_bundle, read_bundle_info, save_bundle
from synth_detect_ros.detectors.build import build_detector
from synth_detect_ros.errors import BundleError
from synth_detect_ros.inference.predictor import Predictor

# Leaves a trace wherever it runs.
OWN = (
    'from pathlib import Path\n'
    "with Path({marker!r}).open('a') as file:\n    file.write(f'{{__file__}} ')\n" + OWN_EXTRACTOR
)


class Made:
    """A bundle with an own extractor, made in a folder that is gone since."""

    def __init__(self, folder):
        self.marker, self.path = folder / 'ran', folder / 'robot' / 'bundle'
        (folder / 'home').mkdir()
        file = folder / 'home' / 'net.py'
        file.write_text(OWN.format(marker=str(self.marker)))
        self.code = file.read_bytes()
        self.sha256 = hashlib.sha256(self.code).hexdigest()
        self.detector = self.build(f'{file}:make')
        save_bundle(
            folder / 'home' / 'bundle', self.detector,
            {'dataset': {'synthesize': {'objects': str(folder / 'o.yaml')}}},
        )  # fmt: skip
        self.path.parent.mkdir()
        shutil.move(folder / 'home' / 'bundle', self.path)
        self.home = folder / 'away'
        (folder / 'home').rename(self.home)
        self.marker.unlink()

    @staticmethod
    def build(extractor, **values):
        torch.manual_seed(0)
        config = detector_config(
            extractor=extractor, neck='c4', weights='default', score_threshold=0.0, **values
        )
        return build_detector(config, CLASSES)


@pytest.fixture
def made(tmp_path):
    return Made(tmp_path)


def test_moved_bundle_finds_the_same_where_its_code_is_trusted(made):
    image = torch.rand(3, HEIGHT, WIDTH)
    found = made.detector.eval().detect([image])[0]
    for trust in (made.sha256, made.sha256.upper(), str(made.home / 'net.py')):
        again, _ = load_bundle(made.path, trust_code=trust)
        np.testing.assert_array_equal(again.detect([image])[0].boxes, found.boxes)
    files = made.marker.read_text().split()
    assert files == [f'{made.path}/extractor.py'] * 2 + [f'{made.home}/net.py']


def test_bundle_saved_again_is_the_same(made, tmp_path):
    detector, info = load_bundle(made.path, trust_code=made.sha256)
    again = save_bundle(tmp_path / 'again', detector, {})
    assert (again / 'extractor.py').read_bytes() == made.code
    assert read_bundle_info(again)['detector'] == info['detector']
    assert read_bundle_info(again)['code_sha256'] == info['code_sha256'] == made.sha256


@pytest.mark.parametrize(
    'trust', ['', 'yes', 'a' * 64, '{sha256} ', '{first}', 'other.py', '/dev/null', 'x' * 200]
)
def test_code_that_is_not_named_does_not_run(made, tmp_path, monkeypatch, trust):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'other.py').write_bytes(made.code + b'\n')
    given = trust.format(sha256=made.sha256, first=made.sha256[:12])
    with pytest.raises(BundleError, match='extractor'):
        load_bundle(made.path, trust_code=given)
    with pytest.raises(BundleError, match='extractor'):
        Predictor(made.path, 'cpu', trust_code=given)
    assert read_bundle_info(made.path)['detector']['extractor'] == 'extractor.py:make'
    assert not made.marker.exists()


def test_refusal_says_how_to_trust(made):
    wanted = re.escape(f'Read the file; where you trust it, give --trust-code {made.sha256}')
    with pytest.raises(BundleError, match=wanted):
        load_bundle(made.path)
    with pytest.raises(BundleError, match='trust_code is bbb'):
        load_bundle(made.path, trust_code='bbb')


@pytest.mark.parametrize('sums', [True, False])
def test_exchanged_code_does_not_run(made, sums):
    (made.path / 'extractor.py').write_bytes(made.code + b'\n')
    if not sums:  # who changes the code can change its checksum as well
        (made.path / 'SHA256SUMS').unlink()
    with pytest.raises(BundleError, match='SHA-256 is not' if sums else 'where it is trusted'):
        load_bundle(made.path, trust_code=made.sha256)
    assert not made.marker.exists()


@pytest.mark.parametrize('extractor', ['os:abort', 'os.path:getcwd', '{home}/net.py:make', 'x:y'])
@pytest.mark.parametrize('format', [1, 2, 3])
def test_code_elsewhere_never_runs(tmp_path, made, extractor, format):
    bundle = write_bundle(tmp_path / 'bundle')
    (bundle / 'SHA256SUMS').unlink()
    info = yaml.safe_load((bundle / 'model.yaml').read_text())
    info['format'], info['detector']['extractor'] = format, extractor.format(home=made.home)
    if format == 1:
        detector = {'architecture': 'faster_rcnn', 'backbone': info['detector']['extractor']}
        info['detector'] = detector
    (bundle / 'model.yaml').write_text(yaml.safe_dump(info))
    for trust in ('', made.sha256):
        with pytest.raises(BundleError, match=r'extractor\.py: missing.*copy the file'):
            load_bundle(bundle, trust_code=trust)
    assert not made.marker.exists()


def test_older_bundle_works_with_its_code_put_beside(made):
    (made.path / 'SHA256SUMS').unlink()
    info = read_bundle_info(made.path)
    info['format'], info['detector']['extractor'] = 2, f'{made.home}/gone/net.py:make'
    (made.path / 'model.yaml').write_text(yaml.safe_dump(info))
    assert load_bundle(made.path, trust_code=made.sha256)[0].has_masks is False


def test_module_travels_as_its_source(tmp_path, monkeypatch):
    (tmp_path / 'my_nets').mkdir()
    (tmp_path / 'my_nets' / '__init__.py').write_text('')
    file = tmp_path / 'my_nets' / 'small.py'
    file.write_text(OWN.format(marker=str(tmp_path / 'ran')))
    monkeypatch.syspath_prepend(tmp_path)
    bundle = save_bundle(tmp_path / 'bundle', Made.build('my_nets.small:make'), {})
    assert (bundle / 'extractor.py').read_bytes() == file.read_bytes()
    assert read_bundle_info(bundle)['detector']['extractor'] == 'extractor.py:make'


def test_weights_of_a_function_are_read_in_training_only(tmp_path):
    file, weights = tmp_path / 'net.py', tmp_path / 'w.pt'
    torch.save(torch.ones(6), weights)
    file.write_text(
        OWN.format(marker=str(tmp_path / 'ran'))
        + 'import torch\ndef pre(pretrained=True):\n    net = Net()\n    if pretrained:\n'
        "        net.conv.bias.data = torch.load(Path(__file__).with_name('w.pt'))\n"
        '    return net\ndef always():\n    return pre()\n'
    )
    bundles = {}
    for function in ('pre', 'always'):
        detector = Made.build(f'{file}:{function}')
        assert detector.state_dict()['neck.first_stage.module.net.conv.bias'].tolist() == [1] * 6
        bundles[function] = save_bundle(tmp_path / function, detector, {})
    trust = hashlib.sha256(file.read_bytes()).hexdigest()
    weights.rename(tmp_path / 'elsewhere.pt')
    loaded = load_bundle(bundles['pre'], trust_code=trust)[0]
    assert loaded.state_dict()['neck.first_stage.module.net.conv.bias'].tolist() == [1] * 6
    with pytest.raises(BundleError, match=r'FileNotFoundError.*argument `pretrained`'):
        load_bundle(bundles['always'], trust_code=trust)


def test_no_folder_of_the_machine_is_in_a_bundle(made, tmp_path):
    text = (made.path / 'model.yaml').read_text()
    assert str(tmp_path) not in text
    assert read_bundle_info(made.path)['dataset']['synthesize']['objects'] == 'o.yaml'
