import cv2
import numpy as np
import pytest
import tiny
import yaml

from synth_detect_ros.dataset.backgrounds import spread
from synth_detect_ros.errors import BackgroundError, BundleError, DatasetError, StorageError
from synth_detect_ros.geometry.camera import Camera
from synth_detect_ros.report.overlay import class_colour
from synth_detect_ros.report.show import GAP, TILE_WIDTH, contact_sheet, show


@pytest.mark.parametrize('length', [1, 2, 5, 100])
@pytest.mark.parametrize('count', [1, 2, 7, 200])
def test_spread_indices_are_in_range_different_and_reach_both_ends(length, count):
    indices = spread(length, count)
    assert len(indices) == len(set(indices)) == min(length, count)
    assert min(indices) == 0
    assert max(indices) == (length - 1 if count > 1 else 0)


@pytest.mark.parametrize('count', range(1, 8))
def test_every_image_is_on_the_sheet_once(count):
    colours = [(40 * i, 20, 10) for i in range(count)]
    shapes = [(60, 80), (80, 60), (90, 160)]
    images = [np.full((*shapes[i % 3], 3), colours[i], np.uint8) for i in range(count)]
    sheet = contact_sheet(images)
    for i, colour in enumerate(colours):
        height = round(images[i].shape[0] * TILE_WIDTH / images[i].shape[1])
        assert (sheet == colour).all(axis=2).sum() == TILE_WIDTH * height
    assert (sheet[:GAP] == 255).all() and (sheet[:, -GAP:] == 255).all()


def test_data_set_whose_run_was_interrupted_says_so(tmp_path):
    (tmp_path / 'images').mkdir()
    (tmp_path / 'parts').mkdir()
    (tmp_path / 'dataset.yaml').write_text('format: 1')
    with pytest.raises(DatasetError, match='interrupted'):
        show(tmp_path, tmp_path / 'sheet.png', count=4)


def test_a_picture_that_cannot_be_written_is_named(tmp_path):
    folder = tiny.write_dataset(tmp_path / 'set', count=1)
    (tmp_path / 'file').touch()
    with pytest.raises(StorageError, match='cannot be made'):
        show(folder, tmp_path / 'file' / 'sheet.png', count=1)


def test_data_set_is_counted_and_pictured(tmp_path):
    folder = tiny.write_dataset(tmp_path / 'set', count=5)
    text = show(folder, tmp_path / 'new/sheet.png', count=4)
    assert 'data set: 5 images of 128x96 pixels' in text
    assert 'red: 3 instances' in text and 'green: 2 instances' in text
    sheet = cv2.imread(str(tmp_path / 'new/sheet.png'))[..., ::-1]
    assert sheet.shape[1] == 2 * TILE_WIDTH + 3 * GAP
    # image 0 is red: its mask is tinted with the colour of class 0
    tint = 0.6 * np.array(tiny.COLOURS[0]) + 0.4 * np.array(class_colour(0))
    assert (np.abs(sheet.astype(int) - tint).max(axis=2) < 4).sum() > 1000


def test_background_set_is_counted_and_pictured(tmp_path):
    cv2.imwrite(str(tmp_path / '0.png'), np.zeros((60, 80, 3), np.uint8))
    text = show(tmp_path, tmp_path / 'sheet.png', count=4)
    assert text.startswith('background set: 1 frames, no camera.yaml')
    assert (tmp_path / 'sheet.png').is_file()


def test_camera_of_a_background_set_is_described(tmp_path):
    cv2.imwrite(str(tmp_path / '0.png'), np.zeros((60, 80, 3), np.uint8))
    calibration = Camera.from_fov(80, 60, 90).to_calibration()
    (tmp_path / 'camera.yaml').write_text(yaml.safe_dump(calibration))
    assert '80x60, focal length 40 px, no lens distortion' in show(tmp_path, tmp_path / 's.png', 1)


def test_bundle_is_described_without_a_picture(tmp_path):
    bundle = tiny.write_bundle(tmp_path / 'bundle')
    text = show(bundle, tmp_path / 'sheet.png', count=4)
    assert 'trained model: faster_rcnn, fpn, mobilenet_v2' in text
    assert 'classes: red, green' in text
    assert 'freeze: policy none' in text
    assert not (tmp_path / 'sheet.png').exists()


def test_metrics_of_a_bundle_are_described(tmp_path):
    metrics = {'AP': 0.5, 'AP50': 0.75, 'per_class': {'red': {'AP': 0.5}}}
    bundle = tiny.write_bundle(tmp_path / 'bundle')
    text = (bundle / 'model.yaml').read_text()
    facts = {'metrics': {'validated_on': 'real', 'images': 3, 'bbox': metrics}}
    (bundle / 'model.yaml').write_text(text + yaml.safe_dump(facts))
    (bundle / 'SHA256SUMS').unlink()  # as one does who edits it on purpose
    assert 'metrics: on real images, boxes AP 0.500 AP50 0.750' in show(bundle, tmp_path, 1)


def test_what_is_nothing_of_ours_is_refused(tmp_path):
    with pytest.raises(DatasetError, match='no such folder'):
        show(tmp_path / 'gone', tmp_path / 's.png', 1)
    with pytest.raises(BackgroundError, match='no images'):
        show(tmp_path, tmp_path / 's.png', 1)
    (tmp_path / 'model.yaml').write_text('classes: [a]\n')
    with pytest.raises(BundleError, match='truncated or edited'):
        show(tmp_path, tmp_path / 's.png', 1)
