"""Loading labelled images: targets follow the image through every change."""

import json

import numpy as np
import pytest
from tiny import COLOURS, HEIGHT, WIDTH, write_dataset

from synth_detect_ros.config import AugmentConfig
from synth_detect_ros.dataset.augment import draw_change
from synth_detect_ros.dataset.loader import TrainingSet, read_labelled
from synth_detect_ros.errors import DatasetError
from synth_detect_ros.geometry.boxes import box_of_mask

STILL = AugmentConfig(brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)
NONE = STILL.replace(flip=False)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp('data') / 'set', count=6)


def read(folder):
    return read_labelled(folder / 'images', folder / 'annotations.json')


def test_boxes_and_masks_follow_the_flip(folder):
    data = TrainingSet(read(folder), range(6), STILL, seed=0, masks=True)
    flipped = 0
    for key in range(12):
        image, target = data[key]
        box, mask = target['boxes'][0].numpy(), target['masks'][0].numpy() > 0
        np.testing.assert_allclose(box, box_of_mask(mask))
        inside = image[mask]
        assert (inside == COLOURS[int(target['labels'][0])]).all()
        original = TrainingSet(read(folder), range(6), NONE, seed=0)[key][0]
        flipped += not np.array_equal(image, original)
    assert 0 < flipped < 12


def test_item_depends_on_seed_epoch_and_image_alone(folder):
    data = TrainingSet(read(folder), range(6), AugmentConfig(), seed=3)
    other = TrainingSet(read(folder), range(2, 6), AugmentConfig(), seed=3)
    np.testing.assert_array_equal(data[2][0], other[0][0])
    assert not np.array_equal(data[2][0], data[8][0])


def test_variants_repeat_and_differ_from_each_other(folder):
    data = TrainingSet(read(folder), range(6), AugmentConfig(variants=2), seed=3)
    fresh = TrainingSet(read(folder), range(6), AugmentConfig(), seed=3)
    flips = 0
    for k in range(6):
        first, second, third = (data[epoch * 6 + k] for epoch in range(3))
        np.testing.assert_array_equal(first[0], third[0])
        np.testing.assert_array_equal(first[0], fresh[k][0])
        assert not np.array_equal(first[0], second[0])
        assert (first[1]['boxes'] == third[1]['boxes']).all()
        flips += not (first[1]['boxes'] == second[1]['boxes']).all()
    assert 0 < flips < 6


def test_target_needs_no_image(folder):
    data = TrainingSet(read(folder), range(6), AugmentConfig(), seed=0, masks=True)
    for key in range(12):
        expected, found = data[key][1], data.target(key, (HEIGHT, WIDTH))
        assert all((expected[name] == found[name]).all() for name in expected)


def edited(folder, tmp_path, change):
    content = json.loads((folder / 'annotations.json').read_text())
    change(content['annotations'])
    path = tmp_path / 'annotations.json'
    path.write_text(json.dumps(content))
    return read_labelled(folder / 'images', path)


def test_image_without_objects_has_empty_targets(folder, tmp_path):
    images = edited(folder, tmp_path, lambda rows: rows.pop(0))
    assert len(images) == 6 and len(images.labels) == 5
    _, target = TrainingSet(images, range(6), AugmentConfig(), 0, masks=True)[0]
    assert target['boxes'].shape == (0, 4)
    assert target['masks'].shape == (0, HEIGHT, WIDTH)


def test_classes_are_the_categories_in_the_order_of_their_ids(folder, tmp_path):
    content = json.loads((folder / 'annotations.json').read_text())
    content['categories'] = [{'id': 2, 'name': 'green'}, {'id': 1, 'name': 'red'}]
    (tmp_path / 'annotations.json').write_text(json.dumps(content))
    images = read_labelled(folder / 'images', tmp_path / 'annotations.json')
    assert images.classes == read(folder).classes == ('red', 'green')
    assert (images.labels == read(folder).labels).all()


def test_file_names_may_hold_any_letter(tmp_path):
    path = write_dataset(tmp_path / 'set', count=1) / 'annotations.json'
    (tmp_path / 'set' / 'images' / '000000.png').rename(tmp_path / 'set' / 'images' / 'größe.png')
    path.write_text(path.read_text().replace('000000.png', 'größe.png'))
    image, _ = TrainingSet(read(tmp_path / 'set'), range(1), NONE, seed=0)[0]
    assert image.shape == (HEIGHT, WIDTH, 3)


def test_crowds_and_empty_boxes_are_not_trained_on(folder, tmp_path):
    def change(rows):
        rows[0]['iscrowd'] = 1
        rows[1]['bbox'][2] = 0

    assert len(edited(folder, tmp_path, change).labels) == 4


def test_polygons_and_uncompressed_masks_are_understood(folder, tmp_path):
    def change(rows):
        x, y, w, h = rows[0]['bbox']
        rows[0]['segmentation'] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
        rows[1]['segmentation'] = {'size': [96, 128], 'counts': [0, 96 * 128]}

    data = TrainingSet(edited(folder, tmp_path, change), range(6), NONE, 0, masks=True)
    expected = TrainingSet(read(folder), range(6), NONE, 0, masks=True)
    assert abs(int(data[0][1]['masks'].sum()) - int(expected[0][1]['masks'].sum())) < 100
    assert data[1][1]['masks'].all()


def test_colours_stay_without_jitter():
    image = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(draw_change(NONE, rng).image(image), image)
    changed = draw_change(AugmentConfig(), rng).image(image)
    assert changed.shape == image.shape
    assert not np.array_equal(changed, image)


def test_one_long_mask_does_not_make_all_of_them_long(folder, tmp_path):
    def change(rows):
        x, y, w, h = rows[0]['bbox']
        rows[0]['segmentation'] = [[x, y, x + w, y, x + w, y + h, x, y + h] + [x, y] * 100_000]
        rows += [{**rows[1], 'id': 100 + number} for number in range(500)]

    images = edited(folder, tmp_path, change)
    assert images.masks.nbytes < 3 * (tmp_path / 'annotations.json').stat().st_size
    _, target = TrainingSet(images, range(6), NONE, 0, masks=True)[0]
    np.testing.assert_allclose(target['boxes'][0], box_of_mask(target['masks'][0].numpy() > 0))


def test_annotations_without_a_mask_are_counted_and_the_first_is_named(folder, tmp_path):
    def change(rows):
        rows[3]['segmentation'] = [[]]
        del rows[4]['segmentation']
        rows[2]['iscrowd'] = 1

    images = edited(folder, tmp_path, change)
    TrainingSet(images, range(6), NONE, 0)
    with pytest.raises(DatasetError, match=r'2 of 5 annotations .* is one of 000003\.png'):
        TrainingSet(images, range(6), NONE, 0, masks=True)
