"""Options of detectors: by architecture, and under the names of version 0.1."""

import pytest

from synth_detect_ros.config import DetectorConfig, TrainConfig
from synth_detect_ros.config.detectors import translate_detector
from synth_detect_ros.config.options import build, read_config, to_mapping
from synth_detect_ros.config.presets import fit_detector
from synth_detect_ros.config.renamed import RENAMED
from synth_detect_ros.config.rules import groups_of
from synth_detect_ros.errors import ConfigError

ARCHITECTURES = ('faster_rcnn', 'mask_rcnn', 'rfcn', 'ssd')
RCNN = ('faster_rcnn', 'mask_rcnn')
TWO_STAGE = (*RCNN, 'rfcn')
# Every option of version 0.1: who has it today, and what it is called there where that differs.
BEFORE = {
    **{key: (ARCHITECTURES, key) for key in (
        'architecture', 'neck', 'weights', 'pixel_mean', 'pixel_std', 'adapters', 'norm',
        'min_side', 'max_side', 'fixed_size', 'score_threshold', 'nms_iou', 'max_detections',
    )},
    'backbone': (ARCHITECTURES, 'extractor'),
    'fpn_channels': (ARCHITECTURES, 'channels'),
    'c4_stride': (TWO_STAGE, 'c4_stride'),
    'fpn_finest_stride': (RCNN, 'fpn_finest_stride'),
    'box_head_convs': (TWO_STAGE, 'box_head.convs'),
    'box_head_channels': (TWO_STAGE, 'box_head.channels'),
    'anchor_ratios': (TWO_STAGE, 'rpn.anchor_ratios'),
    'anchor_scale': (TWO_STAGE, 'rpn.anchor_scale'),
    'anchor_octaves': (TWO_STAGE, 'rpn.anchor_octaves'),
    **{f'rpn_{key}': (TWO_STAGE, f'rpn.{key}') for key in (
        'channels', 'dilation', 'coder', 'iou', 'batch', 'candidates', 'nms_iou',
    )},
    'proposals': (TWO_STAGE, 'rpn.proposals'),
    'roi_size': (TWO_STAGE, 'box_head.roi_size'),
    'position_bins': (('rfcn',), 'box_head.bins'),
    'roi_pool': (RCNN, 'box_head.roi_pool'),
    'box_coder': (TWO_STAGE, 'box_head.coder'),
    'box_iou': (TWO_STAGE, 'box_head.iou'),
    'box_batch': (TWO_STAGE, 'box_head.batch'),
    'loss.rpn_beta': (TWO_STAGE, 'rpn.beta'),
    'loss.box_beta': (TWO_STAGE, 'box_head.beta'),
    'loss.objectness': (TWO_STAGE, 'rpn.objectness_weight'),
    'loss.rpn_box': (TWO_STAGE, 'rpn.box_weight'),
    'loss.classes': (TWO_STAGE, 'box_head.class_weight'),
    'loss.box': (TWO_STAGE, 'box_head.box_weight'),
    'loss.mask': (('mask_rcnn',), 'mask_weight'),
    **{f'ssd.{key}': (('ssd',), key) for key in (
        'maps', 'extra_channels', 'scales', 'ratios', 'reduce_lowest', 'kernel', 'negatives',
        'min_negatives', 'candidates',
    )},
}  # fmt: skip
SSD = {
    'box_head_convs': 'convs', 'box_coder': 'coder', 'box_iou': 'iou', 'loss.box_beta': 'beta',
    'loss.classes': 'class_weight', 'loss.box': 'box_weight',
}  # fmt: skip


def nested(key, value):
    for part in reversed(key.split('.')):
        value = {part: value}
    return value


def value_of(config, key):
    for part in key.split('.'):
        config = getattr(config, part, None)
    return config


@pytest.mark.parametrize('architecture', ARCHITECTURES)
@pytest.mark.parametrize('key', BEFORE)
def test_every_option_of_before_is_read_from_bundles_and_refused_by_its_new_name(
    key, architecture
):
    who, name = BEFORE[key]
    own = SSD.get(key) if architecture == 'ssd' and key in SSD else name
    has = architecture in who or own != name
    default = build(DetectorConfig, {'architecture': architecture if has else who[0]})
    plain = to_mapping(default)
    for part in own.split('.'):
        plain = plain[part]
    old = {'architecture': architecture, **nested(key, plain)}
    if key == 'architecture':
        old = {'architecture': architecture}
    # Read from what is stored, with the same value.
    found = build(DetectorConfig, translate_detector(old))
    assert found.architecture == architecture
    assert value_of(found, own) == (value_of(default, own) if has else value_of(found, own))
    # Refused where somebody writes it, by its new name and where that is an option.
    if own == key and has:
        assert build(DetectorConfig, old) == found
        return
    wanted = f"unknown key '{key}', now {own}" if own != key else f"key '{key}': it is an"
    with pytest.raises(ConfigError) as caught:
        build(DetectorConfig, old)
    assert wanted in str(caught.value)
    assert has or ', '.join(who) in str(caught.value)


def test_table_of_new_names_holds_what_was_renamed_and_nothing_else():
    assert set(RENAMED) == {key for key, (_, name) in BEFORE.items() if key != name}


def test_stored_values_are_kept_and_those_of_others_left_out():
    old = {
        'architecture': 'ssd', 'neck': 'extra', 'backbone': 'resnet18', 'box_head_convs': 1,
        'rpn_batch': 3, 'loss': {'box': 2.0, 'rpn_box': 5.0}, 'ssd': {'maps': 4},
    }  # fmt: skip
    new = {
        'architecture': 'ssd', 'neck': 'extra', 'extractor': 'resnet18', 'convs': 1,
        'box_weight': 2.0, 'maps': 4,
    }  # fmt: skip
    assert translate_detector(old) == new
    assert translate_detector(new) == new


@pytest.mark.parametrize('word', ['yolo', ['ssd']])
def test_stored_architecture_that_is_not_known_is_named(word):
    with pytest.raises(ConfigError, match=r'architecture: .* is not known'):
        build(DetectorConfig, translate_detector({'architecture': word, 'backbone': 'resnet18'}))


def test_stored_value_in_place_of_a_group_is_named():
    with pytest.raises(ConfigError, match='rpn: wanted a group of options, got 3'):
        translate_detector({'architecture': 'faster_rcnn', 'rpn': 3, 'rpn_batch': 8})


@pytest.mark.parametrize('cls', groups_of(DetectorConfig))
def test_options_of_today_are_translated_to_themselves(cls):
    assert build(DetectorConfig, translate_detector(to_mapping(cls()))) == cls()


def test_all_options_of_another_architecture_are_named(tmp_path):
    path = tmp_path / 'train.yaml'
    path.write_text('detector: {fpn_finest_stride: 4, rpn: {batch: 64}, min_side: 300}\n')
    with pytest.raises(ConfigError) as caught:
        read_config(TrainConfig, path, ['detector.architecture=ssd'])
    message = str(caught.value)
    assert "'fpn_finest_stride': it is an option of architecture faster_rcnn, mask_rcnn" in message
    assert "'rpn': it is an option of architecture faster_rcnn, mask_rcnn, rfcn, not" in message
    assert 'rpn.batch' not in message and 'min_side' not in message


def test_preset_that_nobody_named_gives_way_to_an_architecture():
    preset = {
        'steps': 9,
        'detector': {
            'architecture': 'mask_rcnn', 'neck': 'fpn', 'min_side': 300,
            'rpn': {'batch': 64}, 'box_head': {'convs': 1, 'roi_pool': 2},
        },
    }  # fmt: skip
    assert fit_detector(preset, {}) == preset
    assert fit_detector(preset, {'detector': {'architecture': 'rfcn'}}) == {
        'steps': 9,
        'detector': {'min_side': 300, 'rpn': {'batch': 64}, 'box_head': {'convs': 1}},
    }
    assert fit_detector(preset, {'detector': {'architecture': 'ssd'}})['detector'] == {
        'min_side': 300
    }
    with pytest.raises(ConfigError, match="'yolo' is not known"):
        fit_detector(preset, {'detector': {'architecture': 'yolo'}})
