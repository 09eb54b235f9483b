"""Residual adapters: they start as nothing, then they alone train in the extractor."""

import pytest
import torch
from networks import changed, copy, step
from tiny import CLASSES, detector_config, train_config, write_dataset, write_weights

from synth_detect_ros.bundle import load_bundle
from synth_detect_ros.config import FasterRCNNConfig
from synth_detect_ros.detectors.extractors.adapters import Adapter
from synth_detect_ros.detectors.extractors.build import build_extractor
from synth_detect_ros.detectors.extractors.freezing import apply_freeze
from synth_detect_ros.detectors.rcnn import RCNN
from synth_detect_ros.errors import ConfigError
from synth_detect_ros.inference.predictor import Predictor
from synth_detect_ros.training.train import train


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    return str(write_weights(tmp_path_factory.mktemp('weights') / 'mobilenet.safetensors'))


@pytest.mark.parametrize('options', [{}, {'neck': 'c4'}, {'neck': 'c4', 'c4_stride': 8}])
def test_extractor_with_new_adapters_computes_what_it_did(weights, options):
    config = {'weights': weights, **options}
    plain = build_extractor(detector_config(**config)).first_stage.eval()
    adapted = build_extractor(detector_config(**config, adapters=True)).first_stage.eval()
    image = torch.rand(1, 3, 96, 128)
    for a, b in zip(plain(image), adapted(image), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize('name', ['resnet18', 'resnet50'])
def test_every_residual_block_gets_one(name):
    config = detector_config(extractor=name, adapters=True)
    stage = build_extractor(config, load=False).first_stage
    count = sum(isinstance(m, Adapter) for m in stage.modules())
    assert count == {'resnet18': 8, 'resnet50': 16}[name]
    stage(torch.rand(1, 3, 64, 64))


def test_only_adapters_of_a_frozen_extractor_train(weights):
    detector = RCNN(detector_config(weights=weights, adapters=True), CLASSES)
    report = apply_freeze(detector, detector.stages, 'first_stage')
    before = copy(detector.neck.first_stage)
    step(detector)
    moved = changed(before, detector.neck.first_stage)
    assert moved
    assert all(key.endswith('adapter.weight') for key in moved)
    total = sum(p.numel() for p in detector.parameters())
    assert sum(report.frozen.values()) + report.trainable == total


@pytest.mark.parametrize('policy', ['early:8', 'both_stages'])
def test_gradient_reaches_every_adapter(weights, policy):
    config = detector_config(weights=weights, adapters=True, neck='c4')
    detector = RCNN(config, CLASSES).train()
    apply_freeze(detector, detector.stages, policy)
    target = {'boxes': torch.tensor([[20.0, 20, 70, 80]]), 'labels': torch.tensor([1])}
    losses = detector([torch.rand(3, 96, 128)], [target])
    losses['loss_classifier'].backward()  # comes from behind the second stage alone
    adapters = [m for m in detector.first_stage.modules() if isinstance(m, Adapter)]
    assert adapters and all(a.weight.grad is not None for a in adapters)
    frozen = [p for p in detector.parameters() if not p.requires_grad]
    assert frozen and all(p.grad is None for p in frozen)


def test_trained_adapters_are_part_of_the_bundle(tmp_path, weights):
    dataset = write_dataset(tmp_path / 'data')
    config = train_config(
        dataset, tmp_path / 'run', freeze='first_stage',
        detector={'weights': weights, 'adapters': True},
    )  # fmt: skip
    bundle = train(config)
    detector, _ = load_bundle(bundle)
    adapters = [m for m in detector.first_stage.modules() if isinstance(m, Adapter)]
    assert all(adapter.weight.any() for adapter in adapters)
    assert Predictor(bundle, 'cpu').classes == CLASSES


def test_networks_without_residual_blocks_are_refused(tmp_path):
    (tmp_path / 'own.py').write_text(
        'from torch import nn\n'
        'def net():\n'
        '    layer = nn.Conv2d(3, 8, 3, 16, 1)\n'
        '    layer.out_channels, layer.stride = 8, 16\n'
        '    return layer\n'
    )
    config = FasterRCNNConfig(extractor=f'{tmp_path / "own.py"}:net', neck='c4', adapters=True)
    with pytest.raises(ConfigError, match='adapters: not for'):
        build_extractor(config)


def test_cache_is_refused_with_adapters(tmp_path):
    with pytest.raises(ConfigError, match='features change at every step'):
        train_config(
            tmp_path, tmp_path / 'run', freeze='first_stage', detector={'adapters': True},
            cache={'enabled': True}, augment={'variants': 1},
        )  # fmt: skip
