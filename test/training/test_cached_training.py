"""Training on kept features: the same losses, nothing decoded twice, nothing mixed up."""

import json
import shutil

import cv2
import pytest
import torch
from safetensors.torch import load_file
from tiny import (
    CLASSES,
    OWN_EXTRACTOR,
    TINY_DENSE,
    TINY_SSD,
    detector_config,
    train_config,
    write_dataset,
    write_weights,
)  # fmt: skip

from synth_detect_ros.config import AugmentConfig
from synth_detect_ros.dataset import loader
from synth_detect_ros.dataset.loader import TrainingSet, read_labelled
from synth_detect_ros.detectors.detector import to_tensor
from synth_detect_ros.detectors.extractors.freezing import apply_freeze
from synth_detect_ros.detectors.rcnn import RCNN
from synth_detect_ros.errors import ConfigError, DatasetError
from synth_detect_ros.training.cached_training import CachedFeatures, features_key
from synth_detect_ros.training.train import train

COUNT = 6
TWO = AugmentConfig(variants=2)


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp('data') / 'set', COUNT)


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    return str(write_weights(tmp_path_factory.mktemp('weights') / 'mobilenet.safetensors'))


def config(dataset, out, weights, dtype='', **values):
    """Return a run over three epochs of two variants, with a cache if a precision is given."""
    detector = {'weights': weights, **values.pop('detector', {})}
    cache = {'enabled': bool(dtype), 'dtype': dtype or 'float16', **values.pop('cache', {})}
    defaults = dict(freeze='first_stage', steps=9, val_share=0.0, augment={'variants': 2})
    return train_config(dataset, out, **{**defaults, **values}, detector=detector, cache=cache)


def losses_of(config):
    losses = []
    train(config, lambda p: losses.append(p.losses['loss']))
    return losses


@pytest.mark.parametrize(
    'detector',
    [
        {},
        {'neck': 'c4', 'box_head': {'batch': 16}},
        {'architecture': 'mask_rcnn'},
        {'architecture': 'mask_rcnn', 'fixed_size': [80, 112]},
        {**TINY_SSD, 'extractor': 'resnet18', 'fixed_size': [100, 90]},
        {**TINY_DENSE, 'masks': True, 'extractor': 'resnet18'},
    ],
)
def test_losses_are_those_without_cache(dataset, tmp_path, weights, detector):
    if 'extractor' in detector:  # numbers of MobileNetV2's last map are too small without training
        weights = str(write_weights(tmp_path / 'weights.safetensors', detector['extractor']))
    # A rate at which choices between near equals, as of proposals, do not add up over the steps.
    options = dict(detector=detector, optimizer={'lr': 1e-5})
    plain = losses_of(config(dataset, tmp_path / 'a', weights, **options))
    exact = losses_of(config(dataset, tmp_path / 'b', weights, 'float32', **options))
    half = losses_of(config(dataset, tmp_path / 'c', weights, 'float16', **options))
    assert exact == pytest.approx(plain, rel=2e-5)
    assert half == pytest.approx(plain, rel=2e-3)


@pytest.mark.usefixtures('one_thread')
def test_interrupted_run_fills_the_rest_and_equals_a_whole_one(dataset, tmp_path, weights):
    whole, parts = (config(dataset, tmp_path / name, weights, 'float16') for name in 'ab')
    train(whole)

    def stop(progress):
        if progress.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(parts, stop)
    entries = '*/*.features'
    assert len(list((tmp_path / 'b' / 'features').glob(entries))) == 8
    train(parts)
    assert len(list((tmp_path / 'b' / 'features').glob(entries))) == 2 * COUNT
    a, b = (load_file(tmp_path / name / 'bundle' / 'weights.safetensors') for name in 'ab')
    assert all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize('workers', [0, 1])
def test_later_run_reuses_the_cache_and_decodes_no_image(
    dataset, tmp_path, weights, workers, monkeypatch
):
    folder = {'folder': str(tmp_path / 'features')}
    first = losses_of(config(dataset, tmp_path / 'a', weights, 'float16', cache=folder))
    second_run = config(dataset, tmp_path / 'b', weights, 'float16', cache=folder, workers=workers)
    # Loader processes are forked: they see this too.
    monkeypatch.setattr(loader, 'read_annotated', None)
    features, computed = RCNN.features, []
    monkeypatch.setattr(RCNN, 'features', lambda *args: computed.append(1) or features(*args))
    assert losses_of(second_run) == first
    assert len(computed) == 1  # of the first image, for the form of an entry


def test_cache_serves_until_the_thaw(dataset, tmp_path, weights):
    options = dict(freeze='until:6', steps=8, optimizer={'lr': 1e-5})
    plain = losses_of(config(dataset, tmp_path / 'a', weights, **options))
    cached = losses_of(config(dataset, tmp_path / 'b', weights, 'float32', **options))
    assert len(cached) == 8
    assert cached == pytest.approx(plain, rel=1e-3)


def parts(dataset, weights, augment=TWO, **detector):
    torch.manual_seed(0)
    network = RCNN(detector_config(weights=weights, **detector), CLASSES)
    apply_freeze(network, network.stages, 'first_stage')
    images = read_labelled(dataset / 'images', dataset / 'annotations.json')
    return network, TrainingSet(images, range(COUNT), augment, seed=0)


def test_key_changes_with_all_that_features_depend_on(dataset, tmp_path, weights):
    def key(dataset=dataset, dtype='float16', amp=False, indices=range(COUNT), seed=0, **values):
        network, images = parts(dataset, values.pop('weights', weights), **values)
        images = TrainingSet(images.images, indices, images.augment, seed)
        return features_key(network, images, dtype, amp=amp)

    other = write_weights(tmp_path / 'other.safetensors')
    state = load_file(other)
    state['features.0.0.weight'][0] += 1
    torch.save(state, tmp_path / 'other.pth')
    copied = shutil.copytree(dataset, tmp_path / 'set')
    assert key(copied) == key()
    image = cv2.imread(str(copied / 'images' / '000003.png'))
    image[0, 0] ^= 1
    cv2.imwrite(str(copied / 'images' / '000003.png'), image)
    (tmp_path / 'a.py').write_text(OWN_EXTRACTOR)
    (tmp_path / 'b.py').write_text(OWN_EXTRACTOR.replace('self.conv(x)', '2 * self.conv(x)'))
    code = [{'extractor': f'{tmp_path}/{name}.py:make', 'neck': 'c4'} for name in 'ab']
    own = [key(weights='default', **options) for options in code]
    assert own[0] != own[1] and own[0] == key(weights='default', **code[0])
    keys = [
        key(),
        key(weights=str(tmp_path / 'other.pth')),
        key(copied),
        key(min_side=64),
        key(fixed_size=(96, 96)),
        key(pixel_mean=(0.5, 0.5, 0.5)),
        key(fpn_finest_stride=4),
        key(augment=AugmentConfig(variants=3)),
        key(augment=AugmentConfig(variants=2, flip=False)),
        key(dtype='float32'),
        key(amp=True),
        key(indices=range(1, COUNT)),
        key(seed=1),
    ]
    assert len(set(keys)) == len(keys)


def test_flipped_variant_has_flipped_features_and_boxes(dataset, tmp_path, weights):
    still = AugmentConfig(variants=8, brightness=0, contrast=0, saturation=0, hue=0)
    network, images = parts(dataset, weights, still)
    features = CachedFeatures(network, images, tmp_path, 'float32', amp=False)
    seen = set()
    for key in range(0, 8 * COUNT, COUNT):
        item = features.set[key]
        features.compute([item])
        features_again = features.set[key]
        assert features_again.image is None
        expected, _ = network.features(to_tensor(images[key][0], torch.device('cpu')))
        for kept, fresh in zip(features.cache.get(item.entry), expected, strict=True):
            assert torch.allclose(kept, fresh[0])
        assert torch.equal(features_again.target['boxes'], images[key][1]['boxes'])
        seen.add(tuple(features_again.target['boxes'][0].tolist()))
    assert len(seen) == 2


def test_nothing_of_the_frozen_stage_is_kept_for_the_backward_pass(dataset, tmp_path, weights):
    network, images = parts(dataset, weights)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        maps, _ = network.features(to_tensor(images[0][0], torch.device('cpu')))
        first = network.neck.first_stage(torch.zeros(1, 3, 96, 128))
    assert not kept
    assert not any(m.requires_grad for m in (*maps, *first))


def test_images_of_several_sizes_are_refused(tmp_path, weights):
    folder = write_dataset(tmp_path / 'set', COUNT)
    path = folder / 'images' / '000004.png'
    cv2.imwrite(str(path), cv2.imread(str(path))[:, :100])
    content = json.loads((folder / 'annotations.json').read_text())
    content['images'][4]['width'] = 100
    for row in content['annotations']:
        del row['segmentation']
    (folder / 'annotations.json').write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=r'000004\.png has 100x96 pixels, others 128x96'):
        train(config(folder, tmp_path / 'run', weights, 'float16'))


def test_an_image_of_another_size_than_its_annotations_say_is_refused(tmp_path, weights):
    folder = write_dataset(tmp_path / 'set', COUNT)
    path = folder / 'images' / '000004.png'
    cv2.imwrite(str(path), cv2.imread(str(path))[:, :100])
    with pytest.raises(DatasetError, match=r'000004\.png: wanted 128x96 pixels.*got 100x96'):
        train(config(folder, tmp_path / 'run', weights, 'float16'))


def test_missing_image_is_named(tmp_path, weights):
    folder = write_dataset(tmp_path / 'set', COUNT)
    (folder / 'images' / '000004.png').unlink()
    with pytest.raises(DatasetError, match=r'1 of 6 images .* is 000004\.png'):
        train(config(folder, tmp_path / 'run', weights, 'float16'))


def test_cache_without_frozen_stage_or_repeating_images_is_refused(dataset, tmp_path, weights):
    with pytest.raises(ConfigError, match='features change at every step'):
        config(dataset, tmp_path, weights, 'float16', freeze='none')
    with pytest.raises(ConfigError, match=r'Set augment\.variants'):
        config(dataset, tmp_path, weights, 'float16', augment={})
