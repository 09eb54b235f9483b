"""Files: whole or not at all."""

import errno
import os
import resource
import signal
import stat
import struct
import zlib
from contextlib import suppress

import cv2
import numpy as np
import pytest

from synth_detect_ros.errors import (
    BackgroundError,
    ConfigError,
    DatasetError,
    ImageLimitError,
    StorageError,
)
from synth_detect_ros.files import (
    append_line,
    decode_image,
    encode_image,
    make_folder,
    read_image,
    write_atomic,
)
from synth_detect_ros.images.headers import image_size, is_deep, is_grey, jpeg_length


def picture(width=640, height=480):
    return np.random.default_rng(1).integers(20, 230, (height, width, 3), dtype=np.uint8)


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, full_disk):
    path = tmp_path / 'file'
    write_atomic(path, b'old')
    full_disk()
    with pytest.raises(StorageError, match='No space left'):
        write_atomic(path, b'new')
    assert [p.name for p in tmp_path.iterdir()] == ['file']
    assert path.read_bytes() == b'old'


def test_two_writers_of_one_file_do_not_disturb_each_other(tmp_path, monkeypatch):
    """One is in the middle of writing when the other begins and ends."""
    path, synced = tmp_path / 'file', []
    original = os.fsync

    def sync(number):
        synced.append(number)
        if len(synced) == 1:
            write_atomic(path, b'second')
            assert path.read_bytes() == b'second'
        original(number)

    monkeypatch.setattr(os, 'fsync', sync)
    write_atomic(path, b'first')
    assert [p.name for p in tmp_path.iterdir()] == ['file']
    assert path.read_bytes() == b'first'


def test_folder_that_cannot_be_made_is_named(tmp_path):
    make_folder(tmp_path / 'a' / 'b')
    make_folder(tmp_path / 'a' / 'b')
    (tmp_path / 'file').write_text('')
    with pytest.raises(StorageError, match='set: cannot be made'):
        make_folder(tmp_path / 'file' / 'set')


@pytest.mark.parametrize('format', ['png', 'jpg'])
@pytest.mark.parametrize('share', [0.0, 0.5, 0.9])
def test_image_that_is_cut_off_is_refused_and_named(tmp_path, format, share):
    data, path = encode_image(picture(), format), tmp_path / f'half.{format}'
    path.write_bytes(data)
    assert read_image(path).shape == (480, 640, 3)
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DatasetError, match=rf'half\.{format}: no complete image'):
        read_image(path)


def test_missing_image_raises_the_error_that_is_asked_for(tmp_path):
    with pytest.raises(DatasetError, match=r'none\.jpg: cannot be read: No such file'):
        read_image(tmp_path / 'none.jpg')
    with pytest.raises(BackgroundError, match=r'none\.jpg: cannot be read'):
        read_image(tmp_path / 'none.jpg', BackgroundError)


def test_image_is_rgb(tmp_path):
    cv2.imwrite(str(tmp_path / 'red.png'), np.full((4, 4, 3), (0, 0, 255), np.uint8))
    assert (read_image(tmp_path / 'red.png') == (255, 0, 0)).all()


def progressive(image):
    flags = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 3]
    return cv2.imencode('.jpg', image[..., ::-1], flags)[1].tobytes()


def with_thumbnail(image):
    """Return a JPEG whose first segment holds a whole JPEG, as photographs do."""
    data, small = encode_image(image, 'jpg'), encode_image(image[::8, ::8], 'jpg')
    segment = b'Exif\0\0' + small
    return data[:2] + b'\xff\xe1' + (2 + len(segment)).to_bytes(2, 'big') + segment + data[2:]


JPEGS = {
    'plain': lambda image: encode_image(image, 'jpg'),
    'progressive': progressive,
    'with_thumbnail': with_thumbnail,
}


@pytest.mark.parametrize('kind', JPEGS)
@pytest.mark.parametrize(
    'behind', [b'\0' * 300_000, b'\0\0\0\x18ftypmp42' + bytes(5000), b'\xff' * 2000, b'another']
)
def test_bytes_behind_a_complete_jpeg_do_not_matter(kind, behind):
    whole = JPEGS[kind](picture(160, 120))
    behind = encode_image(picture(64, 48), 'jpg') if behind == b'another' else behind
    image = decode_image(whole + behind)
    assert jpeg_length(whole + behind) == len(whole)
    assert image is not None and np.array_equal(image, decode_image(whole))


@pytest.mark.parametrize('kind', JPEGS)
@pytest.mark.parametrize('behind', [b'', b'\0' * 300_000])
def test_jpeg_that_ends_anywhere_is_refused_whatever_lies_behind(kind, behind):
    """A thumbnail, which is whole, does not make a picture whole."""
    whole = JPEGS[kind](picture(96, 64))
    for end in range(0, len(whole), 41):
        assert decode_image(whole[:end] + behind) is None, end


def test_another_jpeg_in_the_middle_of_one_does_not_complete_it():
    whole = encode_image(picture(96, 64), 'jpg')
    assert decode_image(whole[: len(whole) // 2] + whole) is None
    assert jpeg_length(b'\xff\xd9') is None and jpeg_length(b'text') is None


def test_line_that_cannot_be_added_is_not_there_in_part(tmp_path, full_disk):
    path = tmp_path / 'log'
    append_line(path, b'first\n')
    full_disk()
    with pytest.raises(StorageError, match='No space left'):
        append_line(path, b'second\n')
    assert path.read_bytes() == b'first\n'


def test_line_that_is_cut_by_the_disk_is_taken_back(tmp_path):
    path = tmp_path / 'log'
    append_line(path, b'first\n')
    before, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.getsignal(signal.SIGXFSZ)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (9, before[1]))
        with pytest.raises(StorageError, match='cannot be written'):
            append_line(path, b'second\n')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert path.read_bytes() == b'first\n'


def test_name_of_255_bytes_can_be_written(tmp_path):
    path = tmp_path / ('n' * 255)
    write_atomic(path, b'content')
    assert path.read_bytes() == b'content'


def test_folder_is_brought_to_the_disk_behind_the_file(tmp_path, monkeypatch):
    """Else a crash of the machine may take the name of a file that is there."""
    synced = []
    monkeypatch.setattr(os, 'fsync', lambda number: synced.append(os.fstat(number).st_ino))
    write_atomic(tmp_path / 'file', b'content')
    assert synced == [(tmp_path / 'file').stat().st_ino, tmp_path.stat().st_ino]


def test_file_system_that_cannot_sync_a_folder_is_no_error(tmp_path, monkeypatch):
    original = os.fsync

    def fsync(number):
        if stat.S_ISDIR(os.fstat(number).st_mode):
            raise OSError(errno.EINVAL, 'Invalid argument')
        original(number)

    monkeypatch.setattr(os, 'fsync', fsync)
    write_atomic(tmp_path / 'file', b'content')
    assert (tmp_path / 'file').read_bytes() == b'content'


def with_size(format, width, height):
    """Return a small image whose header says another size."""
    data = bytearray(encode_image(picture(64, 48), format))
    if format == 'png':
        struct.pack_into('>II', data, 16, width, height)
        struct.pack_into('>I', data, 29, zlib.crc32(data[12:29]))
    else:
        struct.pack_into('>HH', data, data.index(b'\xff\xc0') + 5, height, width)
    return bytes(data)


@pytest.mark.parametrize('format', ['png', 'jpg'])
def test_image_of_more_pixels_than_the_limit_is_refused_undecoded(tmp_path, format, monkeypatch):
    path, data = tmp_path / f'bomb.{format}', with_size(format, 60_000, 60_000)
    assert image_size(data) == (60_000, 60_000)
    with pytest.raises(ImageLimitError, match=r'60000x60000 .* raise SYNTH_DETECT_MAX_MEGAPIXELS'):
        decode_image(data)
    path.write_bytes(data)
    with pytest.raises(BackgroundError, match=rf'bomb\.{format}: 60000x60000 .*MEGAPIXELS'):
        read_image(path, BackgroundError)
    whole = encode_image(picture(2000, 1000), format)
    assert decode_image(whole).shape == (1000, 2000, 3)
    monkeypatch.setenv('SYNTH_DETECT_MAX_MEGAPIXELS', '1')
    with pytest.raises(ImageLimitError, match='now 1'):
        decode_image(whole)
    monkeypatch.setenv('SYNTH_DETECT_MAX_MEGAPIXELS', '-1')
    with pytest.raises(ConfigError, match="positive number, got '-1'"):
        decode_image(whole)


@pytest.mark.parametrize('format', ['png', 'jpg'])
@pytest.mark.parametrize('size', [(0, 5), (5, 0), (0, 0)])
def test_image_without_pixels_is_no_image(format, size):
    assert decode_image(with_size(format, *size)) is None


@pytest.mark.parametrize('end', ['.bmp', '.webp', '.tiff'])
def test_other_images_are_decoded_as_before_whatever_their_name(end):
    data = cv2.imencode(end, picture(64, 48)[..., ::-1])[1].tobytes()
    assert image_size(data) == (64, 48) and decode_image(data).shape == (48, 64, 3)


@pytest.mark.parametrize('format', ['png', 'jpg'])
def test_mutated_images_are_images_or_none(format):
    data, rng = encode_image(picture(64, 48), format), np.random.default_rng(3)
    for _ in range(200):
        mutated = bytearray(data)
        for at in rng.integers(0, 300, 3):
            mutated[at] = rng.integers(256)
        with suppress(ImageLimitError):
            image = decode_image(bytes(mutated))
            assert image is None or image.ndim == 3
    assert decode_image(b'') is None and decode_image(b'text') is None


@pytest.mark.parametrize('format', ['png', 'jpg'])
def test_a_file_is_refused_by_its_beginning(tmp_path, format):
    path = tmp_path / f'bomb.{format}'
    with path.open('wb') as file:
        file.write(with_size(format, 60_000, 60_000))
        file.truncate(1 << 40)  # without a block on the disk; more than any memory
    with pytest.raises(DatasetError, match=r'60000x60000 .*MEGAPIXELS'):
        read_image(path)


def test_a_file_of_more_bytes_than_the_limit_is_refused(tmp_path, monkeypatch):
    path = tmp_path / 'a.jpg'
    data = encode_image(picture(640, 480), 'jpg') + bytes(2_000_000)  # cameras add to them
    path.write_bytes(data)
    assert read_image(path).shape == (480, 640, 3)
    monkeypatch.setenv('SYNTH_DETECT_MAX_FILE_MB', '1.5')
    with pytest.raises(DatasetError, match=r'a\.jpg: .* limit of 1\.5 MB.* raise .*MAX_FILE_MB'):
        read_image(path)
    monkeypatch.setenv('SYNTH_DETECT_MAX_FILE_MB', str(len(data) / 1e6))
    assert read_image(path).shape == (480, 640, 3)


@pytest.mark.parametrize('end', ['.png', '.jpg'])
def test_headers_tell_grey_and_deep_as_decoding_does(end):
    images = [picture(9, 7), picture(9, 7)[..., 0], picture(9, 7)[..., 0].astype(np.uint16) * 256]
    images.append(np.dstack([picture(9, 7), picture(9, 7)[..., 0]]))
    for image in images if end == '.png' else images[:2]:
        data = cv2.imencode(end, image)[1].tobytes()
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        assert is_grey(data) == (decoded.ndim == 2)
        assert is_deep(data) == (decoded.dtype == np.uint16)
    assert not is_grey(b'') and not is_grey(b'\xff\xd8\xff') and not is_grey(b'text')


def test_pipe_is_no_image(tmp_path):
    """Nobody writes into it: reading it would wait for ever."""
    os.mkfifo(tmp_path / 'pipe.png')
    with pytest.raises(DatasetError, match='not a regular file'):
        read_image(tmp_path / 'pipe.png')
