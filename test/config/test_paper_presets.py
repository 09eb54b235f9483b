"""Presets of the paper's systems against the numbers of its TensorFlow configurations."""

import pytest
import torch
from tiny import CLASSES

from synth_detect_ros.config import TrainConfig
from synth_detect_ros.config.options import read_config
from synth_detect_ros.config.presets import preset_path
from synth_detect_ros.detectors.build import build_detector
from synth_detect_ros.training.optimizer import learning_rate

# Shorter and longer side, stride, dilation of the proposal head, side of the crop, of what is left
# of it for the box head (R-FCN: bins), and of the last map, detections kept.
TABLE = {
    'paper_faster_rcnn_inception_resnet_v2': (600, 1024, 8, 2, 17, 17, 8, 100),
    'paper_mask_rcnn_inception_resnet_v2': (800, 1365, 8, 2, 17, 17, 8, 100),
    'paper_rfcn_resnet101': (600, 1024, 16, 1, 18, 3, 1, 300),
    'paper_faster_rcnn_resnet101': (600, 1024, 16, 1, 14, 7, 7, 300),
    'paper_mask_rcnn_resnet101': (800, 1365, 8, 2, 14, 7, 7, 300),
}
SCALE = (10.0, 10.0, 5.0, 5.0)


@pytest.fixture(scope='module', params=TABLE)
def name(request):
    return request.param


@pytest.fixture(scope='module')
def config(name):
    return read_config(TrainConfig, preset_path(name))


@pytest.fixture(scope='module')
def detector(config):
    small = config.detector.replace(weights='none', min_side=64)
    return build_detector(small, CLASSES).eval()


def test_image_and_map_have_the_sizes_of_the_table(name, config, detector):
    shorter, longer, stride, *_ = TABLE[name]
    assert (config.detector.min_side, config.detector.max_side) == (shorter, longer)
    maps, frame = detector.features(torch.rand(3, 64, 96))
    assert [frame.padded[0] // m.shape[2] for m in maps] == [stride]
    assert [frame.padded[1] // m.shape[3] for m in maps] == [stride]


def test_cell_has_twelve_anchors_of_64_to_512_px(detector):
    anchors = detector.rpn.anchor_generator
    assert anchors.num_anchors_per_location() == [12]
    width, height = (anchors.cell_anchors[0][:, 2:] - anchors.cell_anchors[0][:, :2]).T
    ratios = torch.tensor([0.5, 1, 2]).repeat_interleave(4)
    torch.testing.assert_close(height / width, ratios, atol=0.05, rtol=0)
    sides = torch.tensor([64.0, 128, 256, 512]).repeat(3)
    torch.testing.assert_close((width * height).sqrt(), sides, atol=1, rtol=0)


def test_first_stage_proposes_as_in_the_table(name, detector):
    network, dilation = detector.rpn, TABLE[name][3]
    conv = network.head.conv[0][0]
    assert (conv.out_channels, conv.kernel_size) == (512, (3, 3))
    assert conv.dilation == (dilation, dilation)
    assert network.box_coder.scales == SCALE
    assert (network.nms_thresh, network.proposal_matcher.high_threshold) == (0.7, 0.7)
    assert network.proposal_matcher.low_threshold == 0.3
    sampler = network.fg_bg_sampler
    assert (sampler.batch_size_per_image, sampler.positive_fraction) == (256, 0.5)
    assert network.post_nms_top_n() == 300


def test_second_stage_looks_as_in_the_table(name, detector):
    heads = detector.roi_heads
    *_, crop, seen, last, _ = TABLE[name]
    maps = {'0': torch.rand(1, 2 * seen**2 if 'rfcn' in name else 2, 8, 8)}
    crops = heads.box_roi_pool(maps, [torch.tensor([[0.0, 0, 32, 32]])], [(64, 64)])
    assert crops.shape == (1, 2, seen, seen)
    if 'rfcn' in name:
        assert heads.box_roi_pool.bins * heads.box_roi_pool.samples == crop
        logits, _ = heads.box_predictor(heads.box_head(crops))
        assert logits.shape == (1, 2)
        return
    assert heads.box_roi_pool.output_size == (crop, crop)
    crops = torch.rand(1, detector.neck.out_channels, seen, seen)
    assert heads.box_head.second_stage(crops).shape[2:] == (last, last)


def test_rfcn_runs_block4_once_on_the_whole_map(name, detector):
    maps, channels = detector.region_maps, detector.neck.out_channels
    if 'rfcn' not in name:
        assert isinstance(maps, torch.nn.Identity)
        return
    assert channels == 1024
    assert maps.trunk(torch.rand(1, channels, 4, 6)).shape == (1, 2048, 4, 6)
    assert maps.reduce[0].out_channels == 1024
    # Of each bin: scores of two classes and background, and one box.
    assert maps.maps.out_channels == 3 * 3 * (3 + 4)


def test_second_stage_chooses_as_in_the_table(name, detector):
    heads, kept = detector.roi_heads, TABLE[name][-1]
    assert heads.box_coder.weights == SCALE
    sampler = heads.fg_bg_sampler
    assert (sampler.batch_size_per_image, sampler.positive_fraction) == (64, 0.25)
    assert heads.proposal_matcher.high_threshold == 0.5
    assert (heads.nms_thresh, heads.detections_per_img) == (0.6, kept)
    assert heads.score_thresh == 0


def test_losses_are_weighed_as_in_the_table(config):
    detector = config.detector
    rpn, box = detector.rpn, detector.box_head
    assert (rpn.beta, rpn.objectness_weight, rpn.box_weight) == (1, 1, 2)
    assert (box.beta, box.class_weight, box.box_weight) == (1, 1, 2)
    assert detector.architecture != 'mask_rcnn' or detector.mask_weight == 4


def test_rate_falls_to_a_tenth_twice(config):
    optimizer = config.optimizer
    assert (config.batch, optimizer.momentum, optimizer.weight_decay) == (1, 0.9, 0)
    assert optimizer.clip_norm == 10
    steps = (0, 899_999, 900_000, 1_199_999, 1_200_000, config.steps - 1)
    rates = [learning_rate(optimizer, step, step / config.steps) for step in steps]
    assert rates == pytest.approx([3e-4, 3e-4, 3e-5, 3e-5, 3e-6, 3e-6])


def test_images_are_flipped_and_nothing_else(config):
    augment = config.augment
    assert augment.flip
    changes = (augment.brightness, augment.contrast, augment.saturation, augment.hue)
    assert changes == (0, 0, 0, 0)


def test_first_stage_is_frozen_and_nothing_normalised_behind_it(name, config, detector):
    assert config.freeze == 'first_stage'
    assert config.detector.extractor == name.split('rcnn_')[-1].removeprefix('paper_rfcn_')
    assert detector.has_masks == name.startswith('paper_mask')
    assert not any(isinstance(m, torch.nn.GroupNorm) for m in detector.modules())
