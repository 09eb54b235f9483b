"""timm's networks by name: maps as promised, weights of the whole network, refusals."""

import re
import sys

import pytest
import timm
import torch
from networks import lively
from safetensors.torch import save_file
from tiny import detector_config

from synth_detect_ros.detectors.extractors.build import build_extractor
from synth_detect_ros.errors import ConfigError, WeightsError

SWIN = 'swin_tiny_patch4_window7_224'


def extractor(name, **options):
    built = build_extractor(detector_config(extractor=f'timm:{name}', **options))
    built.first_stage.eval()
    return built


@torch.no_grad()
@pytest.mark.parametrize('finest', [4, 8])
@pytest.mark.parametrize('name', ['test_efficientnet', 'convnext_atto', SWIN, 'edgenext_xx_small'])
def test_maps_have_the_channels_and_strides_they_promise(name, finest):
    built = extractor(name, fpn_finest_stride=finest)
    maps = built.first_stage(torch.zeros(2, 3, 96, 160))
    assert built.strides == tuple(s for s in (4, 8, 16, 32) if s >= finest)
    assert [m.shape for m in maps] == [
        (2, c, 96 // s, 160 // s) for c, s in zip(built.channels, built.strides, strict=True)
    ]


@torch.no_grad()
def test_a_vision_transformer_gives_one_map():
    built = extractor('test_vit', neck='c4')
    assert (built.strides, built.mean) == ((16,), (0.5, 0.5, 0.5))
    assert built.first_stage(torch.zeros(1, 3, 96, 160))[0].shape == (1, 64, 6, 10)
    with pytest.raises(ConfigError, match=r'strides \[16\]; a pyramid needs two maps'):
        extractor('test_vit', neck='fpn')


def write_lively(path, name, **options):
    """Write a file of the whole network, with its classifier; return the network."""
    torch.manual_seed(0)
    net = lively(timm.create_model(name, num_classes=10, **options))
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, path)
    return net


@torch.no_grad()
@pytest.mark.parametrize(
    ('name', 'options'),
    [('resnet10t', {}), ('convnext_atto', {}), (SWIN, {'strict_img_size': False})],
)
def test_maps_of_a_weight_file_are_those_of_the_whole_network(tmp_path, name, options):
    file = tmp_path / 'w.safetensors'
    net, image = write_lively(file, name, **options), torch.randn(1, 3, 64, 96)
    built = extractor(name, weights=str(file), fpn_finest_stride=4)
    wanted = net.forward_intermediates(image, intermediates_only=True)[-4:]
    for a, b in zip(built.first_stage(image), wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * float(b.abs().max()))
    assert 'sha256' in built.source


@torch.no_grad()
def test_default_weights_are_timms(tmp_path, monkeypatch):
    net, asked = write_lively(tmp_path / 'w.safetensors', 'test_resnet'), []

    def load(place, *_, **__):
        asked.append(place)
        return timm.create_model('test_resnet').state_dict() | {
            k: v for k, v in net.state_dict().items() if not k.startswith('fc.')
        }

    monkeypatch.setattr('timm.models._builder.load_state_dict_from_hf', load)
    built, image = extractor('test_resnet', weights='default'), torch.randn(1, 3, 64, 96)
    assert built.source == 'timm test_resnet'
    assert asked == ['timm/test_resnet.r160_in1k']
    wanted = net.forward_intermediates(image, intermediates_only=True)[-1]
    torch.testing.assert_close(built.first_stage(image)[-1], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ('name', 'url'),
    [
        (
            'inception_resnet_v2',
            'https://huggingface.co/timm/inception_resnet_v2.tf_in1k/resolve/main/model.safetensors',
        ),
        (
            'timm:test_vit',
            'https://huggingface.co/timm/test_vit.r160_in1k/resolve/main/model.safetensors',
        ),
        (
            'timm:legacy_seresnet18',
            'https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/'
            'seresnet18-4bb0ce65.pth',
        ),
    ],
)
def test_failed_download_names_the_file_and_the_option(monkeypatch, name, url):
    def unreachable(*_, **__):
        raise RuntimeError('hub is not there')

    for load in ('load_state_dict_from_hf', 'load_state_dict_from_url'):
        monkeypatch.setattr(f'timm.models._builder.{load}', unreachable)
    with pytest.raises(WeightsError, match=re.escape(f'Fetch {url} on')) as caught:
        build_extractor(detector_config(extractor=name, weights='default', neck='c4'))
    assert f'weights of {name} cannot be downloaded (hub is' in str(caught.value)
    assert '--set detector.weights=FILE' in str(caught.value)


def test_networks_nobody_trained_say_so():
    with pytest.raises(WeightsError, match='nobody offers weights'):
        extractor('convnext_atto_rms', weights='default')


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('resnet10', "no model 'resnet10'. Near it: .*resnet10t"),
        ('mixer_s32_224', "wanted maps that follow .* Input height .64. doesn't match"),
        ('inception_v3', 'wanted maps that follow .* Kernel size'),
    ],
)
def test_unusable_networks_are_refused(name, message):
    with pytest.raises(ConfigError, match=message):
        extractor(name)


def test_weights_of_another_network_are_refused(tmp_path):
    write_lively(tmp_path / 'w.safetensors', 'test_resnet')
    with pytest.raises(WeightsError, match='does not fit the architecture'):
        extractor('test_efficientnet', weights=str(tmp_path / 'w.safetensors'))


@pytest.mark.parametrize('name', ['timm:resnet10t', 'inception_resnet_v2'])
def test_missing_timm_is_named(monkeypatch, name):
    monkeypatch.setitem(sys.modules, 'timm', None)
    with pytest.raises(ConfigError, match=f'{name} needs timm: pip install timm'):
        build_extractor(detector_config(extractor=name))
