import json

import cv2
import numpy as np
import pytest
import yaml

from synth_detect_ros.dataset.backgrounds import (
    BackgroundWriter,
    FrameRecord,
    read_background_set,
)
from synth_detect_ros.errors import BackgroundError, GeometryError, StorageError
from synth_detect_ros.files import encode_image, write_atomic
from synth_detect_ros.geometry.camera import Camera

CAMERA = Camera.from_fov(64, 48, 60.0)
RECORD = FrameRecord(stamp=1.5, topic='/camera/image_raw', encoding='bgr8', sharpness=30.0)


def picture(seed: int, width: int = 64, height: int = 48) -> np.ndarray:
    return np.random.default_rng(seed).integers(20, 230, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize('where', ['.', 'frames'])
def test_images_in_the_folder_or_in_frames_are_a_set(tmp_path, where):
    folder = tmp_path / where
    folder.mkdir(exist_ok=True)
    for name in ('b.png', 'a.png'):
        write_atomic(folder / name, encode_image(picture(ord(name[0])), 'png'))
    backgrounds = read_background_set(tmp_path)
    assert [path.name for path in backgrounds.frames] == ['a.png', 'b.png']
    assert backgrounds.camera is None
    assert np.array_equal(backgrounds.read(0), picture(ord('a')))


def test_camera_of_a_set_is_read(tmp_path):
    write_atomic(tmp_path / 'a.jpg', encode_image(picture(0), 'jpg'))
    (tmp_path / 'camera.yaml').write_text(yaml.safe_dump(CAMERA.to_calibration()))
    assert read_background_set(tmp_path).camera == CAMERA
    (tmp_path / 'camera.yaml').write_text('image_width: 3')
    with pytest.raises(GeometryError, match='calibration'):
        read_background_set(tmp_path)


def test_camera_that_is_given_otherwise_is_not_read(tmp_path):
    write_atomic(tmp_path / 'a.jpg', encode_image(picture(0), 'jpg'))
    (tmp_path / 'camera.yaml').write_text('[')
    assert read_background_set(tmp_path, calibrated=False).camera is None


def test_camera_of_another_size_is_scaled_to_the_frames(tmp_path, caplog):
    write_atomic(tmp_path / 'a.png', encode_image(picture(0), 'png'))
    (tmp_path / 'camera.yaml').write_text(
        yaml.safe_dump(Camera.from_fov(640, 480, 60.0).to_calibration())
    )
    camera = read_background_set(tmp_path).camera
    assert camera.size == CAMERA.size
    np.testing.assert_allclose(camera.K, CAMERA.K)
    assert '640x480' in caplog.text and '64x48: its intrinsics are scaled' in caplog.text


def test_camera_of_another_ratio_than_the_frames_is_refused(tmp_path):
    write_atomic(tmp_path / 'a.png', encode_image(picture(0), 'png'))
    (tmp_path / 'camera.yaml').write_text(
        yaml.safe_dump(Camera.from_fov(1280, 720, 60.0).to_calibration())
    )
    with pytest.raises(GeometryError, match=r'camera\.yaml: .* 64x48 .*1280x720.*a\.png'):
        read_background_set(tmp_path)


def test_missing_or_empty_set_is_refused(tmp_path):
    with pytest.raises(BackgroundError, match='no images'):
        read_background_set(tmp_path)
    with pytest.raises(BackgroundError, match='no such folder'):
        read_background_set(tmp_path / 'nowhere')


def test_frame_that_vanished_is_named(tmp_path):
    write_atomic(tmp_path / 'a.png', encode_image(picture(0), 'png'))
    backgrounds = read_background_set(tmp_path)
    (tmp_path / 'a.png').unlink()
    with pytest.raises(BackgroundError, match=r'a\.png'):
        backgrounds.read(0)


@pytest.mark.parametrize('format', ['png', 'jpg'])
def test_written_set_is_read_back(tmp_path, format):
    writer = BackgroundWriter(tmp_path / 'set', format)
    writer.save_camera(CAMERA)
    images = [cv2.blur(picture(seed), (9, 9)) for seed in range(3)]
    paths = [writer.add(image, RECORD) for image in images]
    backgrounds = read_background_set(tmp_path / 'set')
    assert backgrounds.frames == tuple(paths) == writer.paths
    assert backgrounds.camera == CAMERA
    limit = 0 if format == 'png' else 4
    for i, image in enumerate(images):
        assert np.abs(backgrounds.read(i).astype(int) - image).mean() <= limit
    lines = (tmp_path / 'set' / 'frames.jsonl').read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [tmp_path / 'set' / r['file'] for r in records] == paths
    assert records[0] == {'file': f'frames/000000.{format}', **vars(RECORD)}


def test_writer_continues_after_a_crash(tmp_path):
    first = BackgroundWriter(tmp_path, 'png')
    first.add(picture(0), RECORD)
    (tmp_path / 'frames' / '.000001.png.partial').write_bytes(b'half')
    with (tmp_path / 'frames.jsonl').open('a') as file:
        file.write('{"file": "fra')
    second = BackgroundWriter(tmp_path, 'png')
    assert second.paths == first.paths
    second.add(picture(1), RECORD)
    assert [p.name for p in second.paths] == ['000000.png', '000001.png']
    assert len(read_background_set(tmp_path)) == 2
    lines = (tmp_path / 'frames.jsonl').read_text().splitlines()
    assert [json.loads(line)['file'] for line in lines] == [
        'frames/000000.png',
        'frames/000001.png',
    ]


def test_set_of_another_camera_is_refused(tmp_path):
    BackgroundWriter(tmp_path, 'png').save_camera(CAMERA)
    BackgroundWriter(tmp_path, 'png').save_camera(CAMERA)
    with pytest.raises(BackgroundError, match='other intrinsics'):
        BackgroundWriter(tmp_path, 'png').save_camera(Camera.from_fov(64, 48, 61.0))


def test_full_disk_loses_nothing_that_was_written(tmp_path, full_disk):
    writer = BackgroundWriter(tmp_path, 'png')
    writer.add(picture(0), RECORD)
    full_disk()
    with pytest.raises(StorageError, match='No space left'):
        writer.add(picture(1), RECORD)
    assert np.array_equal(read_background_set(tmp_path).read(0), picture(0))
    assert len(read_background_set(tmp_path)) == 1


def test_record_that_cannot_be_written_leaves_the_frame(tmp_path):
    writer = BackgroundWriter(tmp_path, 'png')
    (tmp_path / 'frames.jsonl').mkdir()
    with pytest.raises(StorageError, match='What was written before is intact'):
        writer.add(picture(0), RECORD)
    assert len(read_background_set(tmp_path)) == 1


def test_set_cannot_be_made_below_a_file(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(StorageError, match='cannot be made'):
        BackgroundWriter(tmp_path / 'file' / 'set', 'png')


def test_frames_of_12_bits_in_16_are_as_bright_as_they_are(tmp_path):
    """One number of bits for the set, whichever frame is read; the full range stays as it was."""
    for number, value in enumerate((400, 2048, 4095)):
        cv2.imwrite(str(tmp_path / f'{number}.png'), np.full((8, 8), value, np.uint16))
    backgrounds = read_background_set(tmp_path)
    assert [int(backgrounds.read(i)[0, 0, 0]) for i in (0, 1, 2, 0)] == [25, 128, 255, 25]
    full = np.random.default_rng(0).integers(0, 65536, (8, 8, 3), np.uint16)
    cv2.imwrite(str(tmp_path / '3.png'), full)
    want = cv2.imread(str(tmp_path / '3.png'))[..., ::-1]
    np.testing.assert_array_equal(read_background_set(tmp_path).read(3), want)
