import json

import numpy as np
import pytest
from pycocotools import mask as rle

from synth_detect_ros.dataset.coco import coco_results, encode_mask, quiet_coco, read_coco
from synth_detect_ros.dataset.segmentations import decode_segmentation
from synth_detect_ros.errors import DatasetError
from synth_detect_ros.structures import Detections


def content():
    return {
        'images': [{'id': 5, 'file_name': 'a.png', 'width': 4, 'height': 3}],
        'categories': [{'id': 1, 'name': 'box'}],
        'annotations': [{'id': 1, 'image_id': 5, 'category_id': 1, 'bbox': [0, 0, 2, 2]}],
    }


def write(tmp_path, value):
    path = tmp_path / 'annotations.json'
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_a_file_is_read_as_it_was_written(tmp_path):
    wanted = content()
    wanted['annotations'][0] |= {'area': 4, 'iscrowd': 0}
    assert read_coco(write(tmp_path, content())) == wanted


def test_no_annotations_are_legal(tmp_path):
    assert read_coco(write(tmp_path, content() | {'annotations': []}))['annotations'] == []


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r'gone\.json: no such file'):
        read_coco(tmp_path / 'gone.json')


def broken(part, index, key, value):
    result = content()
    result[part][index][key] = value
    return result


def without(part, key):
    result = content()
    del result[part][0][key]
    return result


@pytest.mark.parametrize(
    ('value', 'message'),
    [
        ('', 'cannot be read as JSON'),
        ('{"images": [', 'cannot be read as JSON'),
        ([], 'images is missing'),
        ({}, 'images is missing'),
        (content() | {'annotations': {}}, 'annotations is missing'),
        (content() | {'images': []}, 'the list images is empty'),
        (content() | {'categories': []}, 'the list categories is empty'),
        (content() | {'images': [7]}, r'images\[0\] has no id, file_name, width, height'),
        (without('images', 'file_name'), r'images\[0\] has no file_name'),
        (without('annotations', 'bbox'), r'annotations\[0\] has no bbox'),
        (broken('annotations', 0, 'image_id', 6), 'image_id 6 is not among'),
        (broken('annotations', 0, 'category_id', 6), 'category_id 6 is not among'),
        (broken('annotations', 0, 'bbox', [1, 2, 3]), 'wanted bbox'),
        (broken('annotations', 0, 'bbox', [1, 2, 3, '4']), 'wanted bbox'),
        (content() | {'images': content()['images'] * 2}, 'every id must be there once'),
        (
            content() | {'categories': [{'id': 1, 'name': 'box'}, {'id': 2, 'name': 'box'}]},
            'every name must be there once',
        ),
    ],
)
def test_what_is_no_annotation_file_is_refused(tmp_path, value, message):
    with pytest.raises(DatasetError, match=message):
        read_coco(write(tmp_path, value))


def two_found():
    masks = np.zeros((2, 12, 16), bool)
    masks[0, 3:9, 2:8] = True
    boxes = np.array([[2, 3, 8, 9], [0, 0, 4, 2]], np.float64)
    return Detections(np.array([1, 0]), np.array([0.75, 0.5]), boxes, masks)


def test_nothing_found_gives_no_rows():
    empty = Detections(np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 4)))
    assert coco_results(empty, 1, {0: 1}, 1) == []


def test_box_score_and_mask_survive_json():
    rows = json.loads(json.dumps(coco_results(two_found(), 5, {0: 10, 1: 20}, 9)))
    assert [row['id'] for row in rows] == [9, 10]
    assert [row['category_id'] for row in rows] == [20, 10]
    assert {row['image_id'] for row in rows} == {5}
    assert (rows[0]['bbox'], rows[0]['area'], rows[0]['score']) == ([2, 3, 6, 6], 36, 0.75)
    for row, mask in zip(rows, two_found().masks, strict=True):
        assert np.array_equal(rle.decode(row['segmentation']), mask)


def test_labels_without_a_category_are_left_out_and_ids_stay_in_a_row():
    rows = coco_results(two_found(), 5, {0: 10}, 1)
    assert [(row['id'], row['category_id']) for row in rows] == [(1, 10)]


def test_index_is_silent(capsys):
    assert quiet_coco(content()).imgs[5]['file_name'] == 'a.png'
    assert capsys.readouterr().out == ''


def masks():
    rng = np.random.default_rng(3)
    yield np.zeros((0, 0), bool)
    for size in ((1, 1), (5, 7), (40, 23)):
        yield np.zeros(size, bool)
        yield np.ones(size, bool)
        for share in (0.05, 0.5, 0.95):
            yield rng.random(size) < share
    solid = np.zeros((30, 40), bool)
    solid[4:, 10:20] = True  # a run from one column into the next
    yield solid


@pytest.mark.parametrize('mask', list(masks()))
def test_masks_are_encoded_as_pycocotools_does(mask):
    code = rle.encode(np.asfortranarray(mask, np.uint8))
    wanted = {'size': list(mask.shape), 'counts': code['counts'].decode()}
    assert encode_mask(mask) == wanted
    whole = np.zeros((mask.shape[0] + 9, mask.shape[1] + 6), bool)
    for x, y in ((0, 0), (6, 9), (2, 5)):
        whole[:] = False
        whole[y : y + mask.shape[0], x : x + mask.shape[1]] = mask
        assert encode_mask(mask, x, y, whole.shape) == encode_mask(whole)


BAD_VALUES = {
    'id of a category that is text': ('categories', 'id', '1'),
    'id of an image beyond 64 bits': ('images', 'id', 2**64),
    'id that is true': ('images', 'id', True),
    'file outside': ('images', 'file_name', '../a.png'),
    'file outside, as Windows writes it': ('images', 'file_name', '..\\a.png'),
    'file from the root': ('images', 'file_name', '/etc/passwd'),
    'file of a drive': ('images', 'file_name', 'C:\\a.png'),
    'file that is a number': ('images', 'file_name', 1),
    'no width': ('images', 'width', 0),
    'width that is no whole number': ('images', 'width', 4.5),
    'box that is no number': ('annotations', 'bbox', [0, 0, float('nan'), 1]),
    'endless box': ('annotations', 'bbox', [0, 0, float('inf'), 1]),
    'polygon of two points': ('annotations', 'segmentation', [[0, 0, 1, 1]]),
    'odd polygon': ('annotations', 'segmentation', [[0, 0, 1, 1, 2, 2, 3]]),
    'polygon of text': ('annotations', 'segmentation', [['a'] * 6]),
    'runs of another size': ('annotations', 'segmentation', {'size': [9, 9], 'counts': [81]}),
    'runs beyond the image': ('annotations', 'segmentation', {'counts': [10**9]}),
    'negative runs': ('annotations', 'segmentation', {'counts': [-1, 1]}),
    'packed runs that go on': ('annotations', 'segmentation', {'counts': 'P'}),
    'packed runs beyond the image': ('annotations', 'segmentation', {'counts': 'PPPPPP5'}),
    'crowd of two': ('annotations', 'iscrowd', 2),
    'name of half a character': ('categories', 'name', '\udcff'),
    'name of two lines': ('categories', 'name', 'a\nb'),
    'name of spaces': ('categories', 'name', ' '),
    'file name of two lines': ('images', 'file_name', 'a\u2028.png'),
    'more pixels than any image': ('images', 'width', 99_999_999),
    'polygon at the end of the world': ('annotations', 'segmentation', [[0, 0, 1e14, 0, 0, 9]]),
    'polygon beyond the world': ('annotations', 'segmentation', [[0, 0, 1e300, 0, 0, 9]]),
    'polygon of big numbers': ('annotations', 'segmentation', [[0, 0, 10**400, 0, 0, 9]]),
    'polygon that winds': ('annotations', 'segmentation', [[0, 0, 4, 3] * 300]),
    'polygons and a number': ('annotations', 'segmentation', [[0, 0, 1, 1, 2, 2], 5]),
    'runs beyond 32 bits': ('annotations', 'segmentation', {'counts': [2**32 + 12]}),
    'packed runs beyond 32 bits': ('annotations', 'segmentation', {'counts': 'oPPPPPP4'}),
    'runs that miss the end': ('annotations', 'segmentation', {'counts': [5, 6]}),
}


@pytest.mark.parametrize('name', BAD_VALUES)
def test_what_later_code_would_stumble_over_is_refused_by_its_place(tmp_path, name):
    part, key, value = BAD_VALUES[name]
    wrong = content()
    if key == 'segmentation' and isinstance(value, dict):
        image = wrong['images'][0]
        value = {'size': [image['height'], image['width']], **value}
    wrong[part][0][key] = value
    place = 'half of a character' if 'half' in name else rf'{part}\[0\]'
    with pytest.raises(DatasetError, match=place):
        read_coco(write(tmp_path, wrong))


def test_packed_and_plain_runs_of_the_image_are_read(tmp_path):
    right, rng = content(), np.random.default_rng(0)
    image = right['images'][0]
    size = [image['height'], image['width']]
    for mask in (np.zeros(size, bool), np.ones(size, bool), *(rng.random((9, *size)) < 0.4)):
        right['annotations'][0]['segmentation'] = encode_mask(mask)
        row = read_coco(write(tmp_path, right))['annotations'][0]
        assert row['segmentation'] == encode_mask(mask)


def test_boxes_are_clipped_and_those_without_area_left_out(tmp_path, caplog):
    right = content()
    row, image = right['annotations'][0], right['images'][0]
    width, height = image['width'], image['height']
    boxes = [[-2, -1, width + 9, height + 9], [width + 1, 0, 5, 5], [1, 1, 0, 1]]
    right['annotations'] = [{**row, 'id': i + 1, 'bbox': box} for i, box in enumerate(boxes)]
    found = read_coco(write(tmp_path, right))['annotations']
    assert [r['bbox'] for r in found] == [[0, 0, width, height]]
    assert '2 of 3 annotations' in caplog.text


def test_an_image_has_at_most_the_pixels_that_are_decoded(tmp_path, monkeypatch):
    big = content()
    big['images'][0] |= {'width': 60_000, 'height': 60_000}
    with pytest.raises(DatasetError, match=r'images\[0\]: 60000x60000 .*MAX_MEGAPIXELS'):
        read_coco(write(tmp_path, big))
    monkeypatch.setenv('SYNTH_DETECT_MAX_MEGAPIXELS', '9999')
    with pytest.raises(DatasetError, match=r'images\[0\]: .* more than OpenCV decodes'):
        read_coco(write(tmp_path, big))
    big['images'][0]['height'] = 10_000
    assert len(read_coco(write(tmp_path, big))['annotations']) == 1


def test_an_image_is_listed_once(tmp_path):
    twice = content()
    twice['images'].append({**twice['images'][0], 'id': 6, 'file_name': './a.png'})
    with pytest.raises(DatasetError, match=r"every file_name .* once; 'a\.png' is"):
        read_coco(write(tmp_path, twice))


def test_boxes_that_float32_makes_empty_are_left_out(tmp_path):
    right = content()
    right['images'][0] |= {'width': 100_000, 'height': 100}
    row = right['annotations'][0]
    boxes = [[99_000.001, 0, 0.002, 50], [0, 0, 1e-300, 50], [99_000.001, 0, 0.01, 50]]
    right['annotations'] = [{**row, 'id': i + 1, 'bbox': box} for i, box in enumerate(boxes)]
    found = read_coco(write(tmp_path, right))['annotations']
    assert [r['id'] for r in found] == [3]
    left, width = np.float32([99_000.001, 99_000.011])
    assert left < width


@pytest.mark.parametrize('stale', [1e14, -1, float('nan'), 'x', None])
def test_the_area_is_computed_whatever_the_file_says(tmp_path, stale):
    right, mask = content(), np.zeros((3, 4), bool)
    mask[0, :3] = True
    row = right['annotations'][0] | {'area': stale, 'bbox': [0, 0, 3, 2]}
    plain = {'size': [3, 4], 'counts': [0, 1, 2, 1, 2, 1, 5]}
    masks = (
        None,
        [],
        [[]],
        encode_mask(mask),
        plain,
        [[0, 0, 3, 0, 0, 2]],
        [[-9, -9, 9, -9, 9, 9]],
    )
    right['annotations'] = [
        {**row, 'id': i + 1, 'segmentation': mask} for i, mask in enumerate(masks)
    ]
    found = read_coco(write(tmp_path, right))['annotations']
    assert [r['area'] for r in found] == [6, 6, 6, 3, 3, 3, 12]
    assert np.array_equal(decode_segmentation(found[4]['segmentation'], (3, 4)), mask)


def test_a_mask_whose_size_only_equals_the_one_of_the_image_gets_it(tmp_path):
    right = content()
    right['annotations'][0]['segmentation'] = {'size': [3.0, 4.0], 'counts': [6, 6]}
    mask = read_coco(write(tmp_path, right))['annotations'][0]['segmentation']
    assert decode_segmentation(mask, (3, 4)).sum() == 6


def test_names_of_any_script_are_read(tmp_path):
    right = content()
    right['categories'][0]['name'] = 'क्\u200dष 图 \U0001f600'
    right['images'][0]['file_name'] = 'Ordner/图 1.png'
    found = read_coco(write(tmp_path, right))
    assert found['categories'] == right['categories']
    assert found['images'] == right['images']
