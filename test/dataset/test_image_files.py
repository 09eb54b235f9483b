"""Images of annotations: every reader of a data set refuses the same ones, by name."""

import json
import os

import cv2
import pytest
from test_export import write_set
from tiny import train_config

from synth_detect_ros.config import ExportConfig
from synth_detect_ros.dataset.export import export
from synth_detect_ros.dataset.image_files import image_files
from synth_detect_ros.dataset.loader import TrainingSet, read_labelled
from synth_detect_ros.errors import DatasetError
from synth_detect_ros.report.show import show
from synth_detect_ros.training.data import open_data


def load(folder):
    images = read_labelled(folder / 'images', folder / 'annotations.json')
    data = TrainingSet(images, range(len(images)), train_config(folder, '').augment, 0)
    for key in range(len(data)):
        data[key]


def start_training(folder):
    open_data(train_config(folder, folder / 'run'))


def to_yolo(folder):
    export(ExportConfig(dataset=str(folder), out=str(folder / 'out')))


def to_bop(folder):
    export(ExportConfig(dataset=str(folder), out=str(folder / 'out'), format='bop'))


def look_at(folder):
    show(folder, folder / 'sheet.png', 9)


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def link_outside(path):
    path.rename(path.parents[2] / 'elsewhere.png')
    path.symlink_to('../../elsewhere.png')


def other_size(path):
    cv2.imwrite(str(path), cv2.imread(str(path))[:, :100])


def cut_off(path):
    path.write_bytes(path.read_bytes()[:200])


READERS = (load, to_yolo, to_bop, look_at)
FAULTS = {
    pipe: r'000003\.png: .*not a regular file',
    link_outside: r'000003\.png: leads to .*elsewhere\.png, outside of',
    other_size: r'000003\.png: wanted 128x96 pixels, .* got 100x96',
    cut_off: r'000003\.png: no complete image',
}


@pytest.mark.parametrize('read', [*READERS, start_training])
def test_images_as_their_annotations_say_are_read_by_all(tmp_path, read):
    write_set(tmp_path / 'set')
    path = tmp_path / 'set/images/000003.png'
    path.rename(path.with_name('other'))
    path.symlink_to('other')
    read(tmp_path / 'set')


@pytest.mark.parametrize('read', READERS)
@pytest.mark.parametrize('spoil', FAULTS)
def test_others_are_refused_by_name(tmp_path, spoil, read):
    write_set(tmp_path / 'set')
    spoil(tmp_path / 'set/images/000003.png')
    with pytest.raises(DatasetError, match=FAULTS[spoil]):
        read(tmp_path / 'set')
    assert not (tmp_path / 'set/out').exists()


@pytest.mark.parametrize('spoil', [pipe, link_outside])
def test_training_refuses_them_before_it_begins(tmp_path, spoil):
    write_set(tmp_path / 'set')
    spoil(tmp_path / 'set/images/000003.png')
    with pytest.raises(DatasetError, match=FAULTS[spoil]):
        start_training(tmp_path / 'set')


@pytest.mark.parametrize('read', [*READERS, start_training])
def test_missing_images_are_counted_by_all(tmp_path, read):
    write_set(tmp_path / 'set')
    for number in (2, 4):
        (tmp_path / f'set/images/00000{number}.png').unlink()
    with pytest.raises(DatasetError, match=r'2 of 5 images .* the first is 000002\.png'):
        read(tmp_path / 'set')


@pytest.mark.parametrize('read', [*READERS, start_training])
@pytest.mark.parametrize('name', ['annotations.json', 'dataset.yaml', 'images'])
def test_other_files_of_a_set_do_not_lead_out_of_it_either(tmp_path, read, name):
    write_set(tmp_path / 'set')
    (tmp_path / 'set' / name).rename(tmp_path / 'elsewhere')
    (tmp_path / 'set' / name).symlink_to('../elsewhere')
    if name == 'dataset.yaml' and read not in (to_bop, start_training):
        read(tmp_path / 'set')
        return
    with pytest.raises(DatasetError, match=r'leads to .*elsewhere.*, outside of'):
        read(tmp_path / 'set')


def test_the_folder_that_is_given_may_be_a_link(tmp_path):
    write_set(tmp_path / 'set')
    (tmp_path / 'link').symlink_to('set')
    load(tmp_path / 'link')
    (tmp_path / 'images').symlink_to('set/images')
    assert len(image_files(tmp_path / 'images', ['000000.png'])) == 1


@pytest.mark.parametrize('spoil', FAULTS)
def test_training_refuses_them_for_validation_before_it_begins(tmp_path, spoil):
    write_set(tmp_path / 'set')
    write_set(tmp_path / 'real/set')
    spoil(tmp_path / 'real/set/images/000003.png')
    options = {
        'val_images': str(tmp_path / 'real/set/images'),
        'val_annotations': str(tmp_path / 'real/set/annotations.json'),
    }
    with pytest.raises(DatasetError, match=FAULTS[spoil]):
        open_data(train_config(tmp_path / 'set', tmp_path / 'run', **options))
    path = tmp_path / 'real/set/annotations.json'
    path.write_text(path.read_text().replace('"red"', '"a"').replace('"green"', '"b"'))
    with pytest.raises(DatasetError, match='the model knows red, green; the annotations hold a'):
        open_data(train_config(tmp_path / 'set', tmp_path / 'run', **options))


def test_nothing_to_learn_is_said_at_once(tmp_path, caplog):
    content = write_set(tmp_path / 'set')
    path = tmp_path / 'set/annotations.json'
    for row in content['annotations'][1:]:
        row['iscrowd'] = 1
    path.write_text(json.dumps(content))
    start_training(tmp_path / 'set')
    assert 'no image to train on shows green' in caplog.text
    content['annotations'][0]['bbox'] = [500, 500, 9, 9]
    path.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=r'none of the 4 images .* nothing to learn'):
        start_training(tmp_path / 'set')
