"""Extractors: shapes as promised, weights checked against the architecture."""

import pytest
import torch
from tiny import OWN_EXTRACTOR, detector_config, write_bundle, write_weights

from synth_detect_ros.bundle import load_bundle
from synth_detect_ros.detectors.extractors.build import build_extractor
from synth_detect_ros.detectors.extractors.weights import read_weights
from synth_detect_ros.errors import ConfigError, WeightsError

CHAINED = ('mobilenet_v2', 'efficientnet_lite0', 'resnet18')
OWN = f"""{OWN_EXTRACTOR}
build = make

def wrong():
    return nn.Identity()
"""


@pytest.mark.parametrize('finest', [4, 8])
@pytest.mark.parametrize('name', [*CHAINED, 'resnet50', 'timm:resnet10t'])
def test_maps_have_the_channels_and_strides_they_promise(name, finest):
    extractor = build_extractor(detector_config(extractor=name, fpn_finest_stride=finest))
    maps = extractor.first_stage.eval()(torch.zeros(1, 3, 64, 96))
    assert tuple(m.shape[1] for m in maps) == extractor.channels
    assert [m.shape[2:] for m in maps] == [(64 // s, 96 // s) for s in extractor.strides]
    assert extractor.strides[0] == finest


@pytest.mark.parametrize('name', [*CHAINED, 'resnet50', 'resnet101'])
def test_c4_stages_follow_each_other(name):
    extractor = build_extractor(detector_config(extractor=name, neck='c4'))
    maps = extractor.first_stage.eval()(torch.zeros(1, 3, 64, 64))
    assert [m.shape[1:] for m in maps] == [(*extractor.channels, 4, 4)]
    out = extractor.second_stage.eval()(maps[0])
    assert out.shape[1] == extractor.second_channels


def test_resnet50_c4_split_is_before_its_last_block():
    extractor = build_extractor(detector_config(extractor='resnet50', neck='c4'))
    assert extractor.channels == (1024,)
    assert extractor.second_channels == 2048


def test_own_extractor_comes_from_a_file(tmp_path):
    file = tmp_path / 'own.py'
    file.write_text(OWN)
    extractor = build_extractor(
        detector_config(extractor=f'{file}:build', neck='c4', weights='default')
    )
    assert (extractor.channels, extractor.strides) == ((6,), (16,))
    assert extractor.first_stage.pretrained


def test_shared_resnet101_serves_as_own_extractor(weights_dir):
    config = detector_config(
        extractor=f'{weights_dir}/resnet101_v2.py:build', neck='c4', weights='default'
    )
    extractor = build_extractor(config)
    assert extractor.channels == (1024,)
    assert extractor.first_stage(torch.zeros(1, 3, 64, 64))[0].shape[2:] == (4, 4)


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('resnet1010', 'is not known. Choose one of resnet18.*inception_resnet_v2.*torchvision:'),
        ('timm:resnet1010', 'timm has no model'),
        ('nowhere.py:build', 'no such file'),
        ('no_such_module:build', 'cannot be imported'),
        ('{file}:missing', "has no function 'missing'"),
        ('{file}:wrong', 'out_channels and stride'),
        ('torch._C:build', 'no source file'),
        ('{folder}/broken.py:build', r'broken\.py: build fails: SyntaxError'),
        ('{folder}/relative.py:build', 'import from packages by full name'),
        ('{folder}/raises.py:build', 'build fails: ZeroDivisionError'),
    ],
)
def test_unusable_extractor_says_why(tmp_path, name, message):
    file = tmp_path / 'own.py'
    file.write_text(OWN)
    (tmp_path / 'broken.py').write_text('def build(:')
    (tmp_path / 'relative.py').write_text('from . import layers')
    (tmp_path / 'raises.py').write_text('def build(): return 1 / 0')
    name = name.format(file=file, folder=tmp_path)
    with pytest.raises(ConfigError, match=message):
        build_extractor(detector_config(extractor=name, neck='c4'))


def test_single_map_cannot_feed_a_pyramid(tmp_path):
    file = tmp_path / 'own.py'
    file.write_text(OWN)
    with pytest.raises(ConfigError, match='a pyramid needs two maps'):
        build_extractor(detector_config(extractor=f'{file}:build', neck='fpn'))


def test_weight_file_is_loaded_exactly(tmp_path):
    file = write_weights(tmp_path / 'w.safetensors')
    extractor = build_extractor(detector_config(weights=str(file)))
    stored = read_weights(file)
    loaded = extractor.first_stage.state_dict()
    assert torch.equal(
        loaded['module.blocks.3.conv.0.0.weight'], stored['features.3.conv.0.0.weight']
    )
    assert 'sha256' in extractor.source


def test_real_mobilenet_weights_fit(weights_dir):
    build_extractor(detector_config(weights=f'{weights_dir}/mobilenet_v2_imagenet.safetensors'))


def test_weights_of_another_architecture_are_refused(tmp_path):
    file = write_weights(tmp_path / 'w.safetensors', 'resnet18')
    with pytest.raises(WeightsError, match='does not fit the architecture'):
        build_extractor(detector_config(weights=str(file)))
    with pytest.raises(WeightsError, match='have another shape'):
        build_extractor(detector_config(extractor='resnet50', weights=str(file)))


def test_missing_weight_file_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r'none\.pth: no such weight file'):
        read_weights(tmp_path / 'none.pth')


@pytest.mark.parametrize('suffix', ['safetensors', 'pth'])
def test_truncated_weight_file_is_refused(tmp_path, suffix):
    file = tmp_path / f'w.{suffix}'
    file.write_bytes(b'\x80\x02 not weights')
    with pytest.raises(WeightsError, match='not a readable weight file') as error:
        read_weights(file)
    assert 'weights_only' not in str(error.value)  # PyTorch advises to run what a file holds
    assert 'Wanted a .safetensors file, or a state dict' in str(error.value)


def test_checkpoint_without_tensors_is_refused(tmp_path):
    torch.save({'epoch': 3}, tmp_path / 'w.pth')
    with pytest.raises(WeightsError, match='state dict of tensors'):
        read_weights(tmp_path / 'w.pth')


@pytest.mark.parametrize('name', ['torchvision:mobilenet_v3_small', 'timm:test_efficientnet'])
def test_bundle_holds_an_extractor_of_any_name(tmp_path, name):
    bundle = write_bundle(tmp_path / 'bundle', extractor=name)
    detector, _ = load_bundle(bundle)
    torch.manual_seed(0)
    built = build_extractor(detector_config(extractor=name)).first_stage.eval()
    image = torch.rand(1, 3, 64, 96)
    for a, b in zip(detector.eval().first_stage(image), built(image), strict=True):
        assert torch.equal(a, b)
