import numpy as np
import pytest
import yaml

from synth_detect_ros.dataset.backgrounds import read_background_set
from synth_detect_ros.dataset.files import decode_image, encode_image, write_atomic
from synth_detect_ros.errors import BackgroundError, GeometryError, StorageError
from synth_detect_ros.geometry.camera import Camera

CAMERA = Camera.from_fov(64, 48, 60.0)


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


def test_missing_or_empty_set_is_refused(tmp_path):
    with pytest.raises(BackgroundError, match='no images'):
        read_background_set(tmp_path)
    with pytest.raises(BackgroundError, match='no such folder'):
        read_background_set(tmp_path / 'nowhere')


@pytest.mark.parametrize('format', ['png', 'jpg'])
@pytest.mark.parametrize('share', [0.0, 0.5, 0.9])
def test_half_an_image_is_refused_and_named(tmp_path, format, share):
    data = encode_image(picture(1, 640, 480), format)
    assert decode_image(data).shape == (480, 640, 3)
    path = tmp_path / f'half.{format}'
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(BackgroundError, match=f'half.{format}'):
        read_background_set(tmp_path).read(0)


def test_frame_that_vanished_is_named(tmp_path):
    write_atomic(tmp_path / 'a.png', encode_image(picture(0), 'png'))
    backgrounds = read_background_set(tmp_path)
    (tmp_path / 'a.png').unlink()
    with pytest.raises(BackgroundError, match=r'a\.png'):
        backgrounds.read(0)


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, full_disk):
    path = tmp_path / 'file'
    write_atomic(path, b'old')
    full_disk()
    with pytest.raises(StorageError, match='No space left'):
        write_atomic(path, b'new')
    assert [p.name for p in tmp_path.iterdir()] == ['file']
    assert path.read_bytes() == b'old'


@pytest.fixture
def full_disk(monkeypatch):
    """Return a function that fills the disk: from then on nothing reaches it."""

    def fill():
        def fsync(_):
            raise OSError(28, 'No space left on device')

        monkeypatch.setattr('os.fsync', fsync)

    return fill
