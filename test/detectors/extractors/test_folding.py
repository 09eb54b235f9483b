"""Folded batch norm: the same outputs, fewer layers, and nothing changed in the original."""

import pytest
import torch
from networks import lively
from tiny import detector_config
from torch import nn
from torch.nn import functional

from synth_detect_ros.detectors.extractors.build import build_extractor
from synth_detect_ros.detectors.extractors.folding import fold_batch_norm
from synth_detect_ros.detectors.extractors.freezing import Stage


class Wayward(nn.Module):
    """Depends on the values it computes: cannot be traced."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x):
        return self.norm(x) if x.sum() > 0 else x


def norms(module):
    layers = sum(isinstance(layer, nn.BatchNorm2d) for layer in module.modules())
    graph = getattr(module, 'graph', None)
    calls = [] if graph is None else [n for n in graph.nodes if n.target is functional.batch_norm]
    return layers + len(calls)


@torch.no_grad()
@pytest.mark.parametrize(
    'name',
    [
        'mobilenet_v2', 'resnet18', 'inception_resnet_v2', 'torchvision:regnet_y_400mf',
        'timm:test_efficientnet',
    ],
)  # fmt: skip
def test_folded_copy_computes_the_same(name):
    stage = lively(build_extractor(detector_config(extractor=name)).first_stage.module)
    before = {key: value.clone() for key, value in stage.state_dict().items()}
    folded, images = fold_batch_norm(stage), torch.randn(2, 3, 64, 96)
    assert norms(stage) > 0
    assert norms(folded) == 0
    for a, b in zip(folded(images), stage(images), strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-4 * float(b.abs().max()))
    assert all(torch.equal(before[key], value) for key, value in stage.state_dict().items())


class Shared(nn.Module):
    """Runs one convolution at two places, each with a batch norm of its own."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.first, self.second = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.second(self.conv(self.first(self.conv(x))))


@torch.no_grad()
def test_shared_convolution_keeps_its_weights():
    torch.manual_seed(0)
    module, x = lively(Shared()).eval(), torch.randn(1, 3, 4, 4)
    torch.testing.assert_close(fold_batch_norm(module)(x), module(x))


def test_what_cannot_be_traced_stays_as_it_is():
    module = Wayward().eval()
    assert fold_batch_norm(module) is module


def frozen_stage():
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    stage = Stage(lively(layers), pretrained=True)
    stage.freeze()
    return stage


def test_state_of_a_frozen_stage_holds_no_folded_weights():
    stage = frozen_stage()
    keys = set(stage.state_dict())
    stage(torch.ones(1, 3, 2, 2))
    assert set(stage.state_dict()) == keys
    assert len(list(stage.parameters())) == 4


@pytest.mark.parametrize('change', ['load', 'convert', 'thaw'])
def test_frozen_stage_follows_its_weights(change):
    stage, x = frozen_stage(), torch.ones(1, 3, 2, 2)
    before = stage(x)
    if change == 'load':
        stage.load_state_dict({k: 2 * v for k, v in stage.state_dict().items()})
    elif change == 'convert':
        stage, x = stage.double(), x.double()
        assert stage(x).dtype == torch.float64
        return
    else:
        stage.thaw()
        nn.init.zeros_(stage.module[0].weight)
        stage.freeze()
    assert not torch.allclose(stage(x), before)
    assert torch.allclose(stage(x), stage.module(x), atol=1e-5)
