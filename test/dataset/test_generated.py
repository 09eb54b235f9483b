"""Training straight from the generator: its samples, and a run like any other."""

from dataclasses import replace

import numpy as np
import pytest
import scenes
import torch
from safetensors.torch import load_file
from tiny import train_config

from synth_detect_ros.bundle import read_bundle_info
from synth_detect_ros.config import AugmentConfig
from synth_detect_ros.config.options import to_yaml
from synth_detect_ros.dataset.generated import GeneratedSet, target_of
from synth_detect_ros.dataset.inputs import read_inputs
from synth_detect_ros.dataset.synthesize import make_sample
from synth_detect_ros.errors import ConfigError
from synth_detect_ros.geometry.boxes import box_of_mask
from synth_detect_ros.structures import Instances, Sample
from synth_detect_ros.training.train import train

STILL = AugmentConfig(brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)
NONE = STILL.replace(flip=False)


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    return scenes.config(tmp_path_factory.mktemp('inputs'), count=1)


@pytest.fixture(scope='module')
def file(config, tmp_path_factory):
    path = tmp_path_factory.mktemp('options') / 'synthesize.yaml'
    path.write_text(to_yaml(config))
    return path


def generated(config, augment=NONE, first=3, masks=True):
    return GeneratedSet(config, read_inputs(config), first, augment, seed=0, masks=masks)


def run(file, out, **values):
    defaults = dict(synthesize=str(file), steps=3, val_max_images=2, detector={'min_side': 120})
    return train_config('', out, **{**defaults, **values})


@pytest.fixture(scope='module')
def whole(file, tmp_path_factory):
    return train(run(file, tmp_path_factory.mktemp('whole')))


def test_items_are_the_samples_of_the_generator(config):
    data, generator = generated(config), scenes.generator(config)
    for key in range(4):
        image, target = data[key]
        sample = make_sample(generator, 3 + key)
        np.testing.assert_array_equal(image, sample.image)
        np.testing.assert_array_equal(target['labels'], sample.instances.labels)
        for box, mask in zip(target['boxes'].numpy(), target['masks'].numpy(), strict=True):
            np.testing.assert_allclose(box, box_of_mask(mask > 0))


def test_boxes_and_masks_follow_the_flip(config):
    plain, flipping = generated(config), generated(config, STILL)
    flips = 0
    for key in range(6):
        (image, target), (original, _) = flipping[key], plain[key]
        flipped = not np.array_equal(image, original)
        np.testing.assert_array_equal(image[:, ::-1] if flipped else image, original)
        for box, mask in zip(target['boxes'].numpy(), target['masks'].numpy(), strict=True):
            np.testing.assert_allclose(box, box_of_mask(mask > 0))
        flips += flipped
    assert 0 < flips < 6


def test_hidden_instances_are_no_targets():
    ids = np.zeros((4, 6), np.uint8)
    ids[1:3, 2:5] = 2
    boxes = np.array([[0, 0, 0, 0], [2, 1, 5, 3]])
    instances = Instances(
        labels=np.array([1, 0]),
        boxes=boxes,
        amodal_boxes=boxes,
        visib_fract=np.array([0.0, 1.0]),
        poses=np.stack([np.eye(4)] * 2),
    )
    sample = Sample(np.zeros((4, 6, 3), np.uint8), ids, instances)
    target = target_of(sample, masks=True)
    assert target['labels'].tolist() == [0]
    assert target['boxes'].tolist() == [[2, 1, 5, 3]]
    assert target['masks'].sum() == 6
    none = replace(sample, ids=np.zeros_like(ids), instances=replace(instances, boxes=boxes * 0))
    assert target_of(none, masks=True)['masks'].shape == (0, 4, 6)


def test_run_equals_one_that_was_interrupted_and_went_on_in_another_process(file, whole, tmp_path):
    def stop(progress):
        if progress.step == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(run(file, tmp_path), stop)
    bundle = train(run(file, tmp_path, workers=1))
    a, b = (load_file(folder / 'weights.safetensors') for folder in (whole, bundle))
    assert all(torch.equal(a[key], b[key]) for key in a)
    info = read_bundle_info(bundle)
    assert info['metrics']['validated_on'] == 'synthetic'
    assert info['dataset']['synthesize']['seed'] == 3
    assert info['camera']


def test_changed_generator_is_refused_in_the_same_folder(file, config, tmp_path):
    options = tmp_path / 'options.yaml'
    options.write_text(to_yaml(config))
    train(run(options, tmp_path / 'run', steps=1, val_share=0.0))
    options.write_text(to_yaml(config.replace(seed=7)))
    with pytest.raises(ConfigError, match='images of another configuration'):
        train(run(options, tmp_path / 'run', steps=1, val_share=0.0))


def test_contradictions_are_refused(file, tmp_path):
    with pytest.raises(ConfigError, match='images come from one place'):
        train_config('somewhere', tmp_path, synthesize=str(file))
    with pytest.raises(ConfigError, match='seen once'):
        run(file, tmp_path, cache={'enabled': True}, freeze='first_stage', augment={'variants': 2})
