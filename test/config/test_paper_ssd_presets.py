"""Presets of SSD against the numbers of the toolchain's ssd_mobilenet_v2_coco."""

import pytest
import torch
from tiny import CLASSES

from synth_detect_ros.config import TrainConfig
from synth_detect_ros.config.options import read_config
from synth_detect_ros.config.presets import preset_path
from synth_detect_ros.detectors.build import build_detector
from synth_detect_ros.training.optimizer import learning_rate

# Channels of the extractor's maps.
CHANNELS = {
    'paper_ssd_mobilenet_v2': (96, 1280),
    'paper_ssd_resnet101': (1024, 2048),
}
SIDES = (19, 10, 5, 3, 2, 1)
BOXES = (3, 6, 6, 6, 6, 6)


@pytest.fixture(scope='module', params=CHANNELS)
def name(request):
    return request.param


@pytest.fixture(scope='module')
def config(name):
    return read_config(TrainConfig, preset_path(name))


@pytest.fixture(scope='module')
def detector(config):
    return build_detector(config.detector.replace(weights='none'), CLASSES).eval()


@torch.no_grad()
def test_image_of_any_shape_is_seen_on_six_maps_of_300_px(name, detector):
    first, frame = detector.features(torch.rand(3, 60, 100))
    assert frame.resized == frame.padded == (300, 300)
    maps = detector.neck(first)
    channels = (*CHANNELS[name], 512, 256, 256, 128)
    assert [tuple(m.shape[1:]) for m in maps] == [
        (c, side, side) for c, side in zip(channels, SIDES, strict=True)
    ]
    logits, codes = detector.head(maps)
    assert [x.shape[-1] for x in logits] == [3 * n for n in BOXES]
    assert [x.shape[-1] for x in codes] == [4 * n for n in BOXES]
    assert len(detector.boxes(logits, (300, 300))) == 1917


def test_predictors_are_single_convolutions_of_3x3(detector):
    assert all(not len(trunk) for trunk in detector.head.trunks)
    for layer in (*detector.head.logits, *detector.head.codes):
        assert layer.kernel_size == (3, 3)


def test_what_only_ssd_has_is_as_in_the_table(config):
    wanted = dict(
        maps=6, extra_channels=(512, 256, 256, 128), scales=(0.2, 0.95),
        ratios=(1, 2, 0.5, 3, 0.3333), reduce_lowest=True, kernel=3, negatives=3,
        min_negatives=3, candidates=1917,
    )  # fmt: skip
    assert wanted.items() <= dict(config.detector).items()


def test_codes_matching_loss_and_detections_are_as_in_the_table(config):
    detector = config.detector
    assert detector.coder == (10, 10, 5, 5)
    assert detector.iou == 0.5
    assert (detector.beta, detector.box_weight, detector.class_weight) == (1, 1, 1)
    assert (detector.score_threshold, detector.nms_iou, detector.max_detections) == (
        1e-8,
        0.6,
        100,
    )


def test_rate_stays(config):
    optimizer = config.optimizer
    assert (config.batch, config.steps) == (24, 200_000)
    assert (optimizer.momentum, optimizer.weight_decay, optimizer.clip_norm) == (0.9, 4e-5, 0)
    rates = [learning_rate(optimizer, step, step / config.steps) for step in (0, 100_000, 199_999)]
    assert rates == pytest.approx([4e-3] * 3)


def test_images_are_flipped_and_nothing_else(config):
    augment = config.augment
    assert augment.flip
    changes = (augment.brightness, augment.contrast, augment.saturation, augment.hue)
    assert changes == (0, 0, 0, 0)


def test_extractor_is_frozen(config):
    assert config.freeze == 'first_stage'
