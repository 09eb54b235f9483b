import json

import pytest

from synth_detect_ros.dataset.coco import read_coco
from synth_detect_ros.errors import DatasetError


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
    assert read_coco(write(tmp_path, content())) == content()


def test_no_annotations_are_legal(tmp_path):
    assert read_coco(write(tmp_path, content() | {'annotations': []}))['annotations'] == []


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r'gone\.json: no such annotation file'):
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
        ('', 'wanted a COCO annotation file'),
        ('{"images": [', 'wanted a COCO annotation file'),
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
