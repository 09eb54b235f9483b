import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from synth_detect_ros.dataset.coco import read_coco
from synth_detect_ros.dataset.image_files import image_files
from synth_detect_ros.errors import DatasetError, StorageError
from synth_detect_ros.inference.detect_files import detect_files
from synth_detect_ros.structures import Detections

BOX = [20, 30, 80, 90]


class FindsOne:
    classes = ('box', 'cube')

    def detect(self, image, score_threshold):
        masks = np.zeros((1, *image.shape[:2]), bool)
        masks[0, 30:90, 20:80] = True
        boxes = np.array([BOX], np.float64)
        return Detections(np.ones(1, np.int64), np.array([0.7]), boxes, masks).above(
            score_threshold
        )


def write_images(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        cv2.imwrite(str(folder / name), np.full((120, 160, 3), 90, np.uint8))
    return folder


def test_every_image_gets_a_picture_and_an_entry(tmp_path):
    folder = write_images(tmp_path / 'in', 'b.png', 'a.jpg')
    calls = []
    path = detect_files(FindsOne(), [folder], tmp_path / 'out', 0.5, lambda *a: calls.append(a))
    content = json.loads(path.read_text())
    assert [row['file_name'] for row in content['images']] == ['a.jpg', 'b.png']
    assert [row['image_id'] for row in content['annotations']] == [1, 2]
    assert [row['id'] for row in content['annotations']] == [1, 2]
    names = {c['id']: c['name'] for c in content['categories']}
    assert {names[row['category_id']] for row in content['annotations']} == {'cube'}
    assert sorted(p.name for p in (tmp_path / 'out').glob('*.jpg')) == ['a.jpg', 'b.jpg']
    assert calls == [(1, 2), (2, 2)]


def test_results_are_a_data_set_that_is_read_again(tmp_path, monkeypatch):
    write_images(tmp_path / 'in', 'a.png', 'c.png')
    write_images(tmp_path / 'in' / 'sub', 'a.png')
    write_images(tmp_path / 'other', 'b.png')
    monkeypatch.chdir(tmp_path / 'other')
    given = ['../in', '../in/sub/a.png', 'b.png', '../in/c.png', str(tmp_path / 'in/c.png')]
    path = detect_files(FindsOne(), list(map(Path, given)), tmp_path / 'out', 0.5)
    content = read_coco(path)
    names = [row['file_name'] for row in content['images']]
    assert sorted(names) == ['in/a.png', 'in/c.png', 'in/sub/a.png', 'other/b.png']
    assert len(image_files(tmp_path, names)) == 4
    assert {row['area'] for row in content['annotations']} == {3600}


@pytest.mark.parametrize('name', [b'a\xff.png', b'a\n.png'])
def test_a_file_name_that_is_no_line_of_text_is_refused(tmp_path, name):
    folder = write_images(tmp_path / 'in', 'a.png')
    (folder / 'a.png').rename(os.fsdecode(os.fsencode(folder / 'x')[:-1] + name))
    with pytest.raises(DatasetError, match='not text in one line'):
        detect_files(FindsOne(), [folder], tmp_path / 'out', 0.5)


def test_a_folder_with_a_pipe_or_a_link_out_of_it_is_refused(tmp_path):
    folder = write_images(tmp_path / 'in', 'a.png')
    os.mkfifo(folder / 'b.png')
    with pytest.raises(DatasetError, match=r'b\.png: .*not a regular file'):
        detect_files(FindsOne(), [folder], tmp_path / 'out', 0.5)
    (folder / 'b.png').unlink()
    (folder / 'b.png').symlink_to('/dev/zero')
    with pytest.raises(DatasetError, match=r'b\.png: leads to /dev/zero'):
        detect_files(FindsOne(), [folder], tmp_path / 'out', 0.5)


def test_detections_below_the_threshold_are_left_out(tmp_path):
    folder = write_images(tmp_path / 'in', 'a.png')
    path = detect_files(FindsOne(), [folder], tmp_path / 'out', 0.8)
    assert json.loads(path.read_text())['annotations'] == []


def test_images_of_the_same_name_do_not_overwrite_each_other(tmp_path):
    first = write_images(tmp_path / 'one', 'a.png', 'a.jpg', 'a_3.png', '._a.png')
    second = write_images(tmp_path / 'two', 'a.png')
    detect_files(FindsOne(), [first, second], tmp_path / 'out', 0.5)
    names = sorted(p.name for p in (tmp_path / 'out').glob('*.jpg'))
    assert names == ['a.jpg', 'a_2.jpg', 'a_3.jpg', 'a_4.jpg']


def test_a_broken_image_is_named_after_the_others_are_done(tmp_path):
    folder = write_images(tmp_path / 'in', 'a.jpg', 'b.jpg', 'c.jpg')
    whole = (folder / 'b.jpg').read_bytes()
    (folder / 'b.jpg').write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match=r'1 of 3 images .*b\.jpg; the others'):
        detect_files(FindsOne(), [folder], tmp_path / 'out', 0.5)
    content = json.loads((tmp_path / 'out/detections.json').read_text())
    assert len(content['images']) == 2
    assert (tmp_path / 'out/c.jpg').is_file()


def test_what_is_no_image_is_told_and_nothing_is_written(tmp_path):
    (tmp_path / 'README.md').write_text('# No image')
    with pytest.raises(DatasetError, match=r'1 of 1 images cannot be read .*README\.md$'):
        detect_files(FindsOne(), [tmp_path / 'README.md'], tmp_path / 'out', 0.5)
    assert not list((tmp_path / 'out').iterdir())


def test_a_folder_of_a_data_set_points_to_its_images(tmp_path):
    (tmp_path / 'images').mkdir()
    (tmp_path / 'images' / '0.png').write_bytes(b'')
    with pytest.raises(DatasetError, match=r'in it; there are some in images$'):
        detect_files(FindsOne(), [tmp_path], tmp_path / 'out', 0.5)


def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r'gone\.png: no such image'):
        detect_files(FindsOne(), [tmp_path / 'gone.png'], tmp_path / 'out', 0.5)


def test_a_folder_without_images_is_named(tmp_path):
    with pytest.raises(DatasetError, match='no images'):
        detect_files(FindsOne(), [tmp_path], tmp_path / 'out', 0.5)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    folder = write_images(tmp_path / 'in', 'a.png')
    with pytest.raises(StorageError, match='cannot be made'):
        detect_files(FindsOne(), [folder], folder / 'a.png' / 'out', 0.5)
