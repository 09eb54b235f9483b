"""Bags of every kind give what is whole in them, and nothing but errors of the package."""

import os
import shutil
import sqlite3
import struct

import bag_files
import numpy as np
import pytest
from bag_files import KINDS, Messages, write_bag

from synth_detect_ros.errors import BagError, BagLimitError, ConfigError, SynthDetectError
from synth_detect_ros.nodes.bags import unpacking
from synth_detect_ros.nodes.bags.bag import Bag, is_bag
from synth_detect_ros.nodes.bags.bag import bag_files as files_in

SIZE = (60, 80, 3)
COUNT = 6


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, SIZE, np.uint8)


def record(path, kind, count=COUNT):
    """Write images on /cam/image, and on /other what nobody asks for."""
    make = Messages(kind.startswith('ros1'))
    images = [make.image(i, picture(i)) for i in range(count)]
    others = [make.image(i, picture(100 + i)) for i in range(count)]
    empty = {'/empty': 'sensor_msgs/msg/Image'}
    return write_bag(path, {'/cam/image': images, '/other': others}, kind, empty)


def pixels(bag, topic='/cam/image'):
    return [message.data.reshape(SIZE) for _, message in bag.messages({topic})]


def seeds(path):
    """Return the numbers of the pictures that a bag gives; each must be one, as it was."""
    known = {picture(seed).tobytes(): seed for seed in range(COUNT)}
    return [known[image.tobytes()] for image in pixels(Bag(path))]


@pytest.mark.parametrize('kind', KINDS)
def test_every_kind_gives_its_messages_again_and_again(tmp_path, kind):
    path = record(tmp_path / 'bag', kind)
    bag = Bag(path)
    assert is_bag(path)
    assert bag.topics == dict.fromkeys(('/cam/image', '/other', '/empty'), 'sensor_msgs/msg/Image')
    for _ in range(2):
        assert np.array_equal(pixels(bag), [picture(i) for i in range(COUNT)])
    assert np.array_equal(pixels(bag, '/other'), [picture(100 + i) for i in range(COUNT)])
    assert pixels(bag, '/empty') == []
    assert [topic for topic, _ in bag.messages({'/cam/image', '/other'})].count('/other') == COUNT


@pytest.mark.parametrize(
    'metadata',
    [
        None,
        b'',
        b'rosbag2_bagfile_information:\n  version: 5\n',
        b'[' * 9999,
        b'a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n'
        + b''.join(b'a%d: &a%d [%s]\n' % (i, i, b'*a%d, ' % (i - 1) * 10) for i in range(1, 10)),
        bytes(2 << 20),
    ],
)
@pytest.mark.parametrize('kind', [kind for kind in KINDS if not kind.startswith('ros1')])
def test_metadata_may_be_missing_or_cut_off(tmp_path, kind, metadata):
    path = record(tmp_path / 'bag', kind)
    (path / 'metadata.yaml').unlink()
    if metadata is not None:
        (path / 'metadata.yaml').write_bytes(metadata)
    assert seeds(path) == list(range(COUNT))


@pytest.mark.parametrize('kind', KINDS)
def test_each_file_of_a_bag_is_a_bag(tmp_path, kind):
    (file,) = bag_files.files_of(record(tmp_path / 'bag', kind))
    assert is_bag(file)
    assert seeds(file) == list(range(COUNT))
    renamed = file.rename(tmp_path / 'renamed')
    assert is_bag(renamed) or file.name.endswith('.zstd')
    assert seeds(renamed) == list(range(COUNT))


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('share', [0.3, 0.55, 0.8, 0.97, 0.999])
def test_bag_that_ends_early_gives_the_first_messages(tmp_path, kind, share):
    """Wherever power was lost: whole messages, in their order, none missing in between."""
    (file,) = bag_files.files_of(record(tmp_path / 'bag', kind))
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    try:
        found = seeds(file)
    except BagError as error:  # what is compressed as a whole may hold no whole message
        found = []
        assert str(file.with_suffix('')) in str(error) or 'bag' in str(error)
    assert found == list(range(len(found)))
    if kind in ('mcap', 'ros1'):  # uncompressed: pictures take nearly all of the file
        assert len(found) >= int(share * COUNT) - 1


@pytest.mark.parametrize('kind', ['mcap', 'ros1', 'db3'])
def test_zeros_behind_a_file_that_ends_early_do_not_matter(tmp_path, kind):
    """A file system may have made room for what never came."""
    (file,) = bag_files.files_of(record(tmp_path / 'bag', kind))
    content = file.read_bytes()
    cut = content[: len(content) * 3 // 4]
    file.write_bytes(cut)
    without = seeds(file)
    file.write_bytes(cut + bytes(len(content) - len(cut)))
    assert seeds(file)[: len(without)] == without


@pytest.mark.parametrize('kind', KINDS)
def test_mutated_bags_raise_errors_of_the_package_only(tmp_path, kind, caplog):
    (file,) = bag_files.files_of(record(tmp_path / 'bag', kind, count=2))
    content, rng = file.read_bytes(), np.random.default_rng(7)
    caplog.set_level('CRITICAL')
    for _ in range(60):
        mutated = bytearray(content)
        for at in rng.integers(0, len(content), rng.integers(1, 8)):
            early = rng.integers(1, 4000) if rng.random() < 0.7 else at
            mutated[min(at, early)] = rng.integers(256)
        file.write_bytes(bytes(mutated))
        try:
            for _ in Bag(file).messages({'/cam/image', '/other'}):
                pass
        except (SynthDetectError, OSError):
            pass


def test_files_are_played_in_the_order_of_their_numbers(tmp_path):
    make, folder = Messages(), tmp_path / 'bag'
    folder.mkdir()
    for number in (0, 1, 2, 10):
        part = write_bag(
            tmp_path / f'bag_{number}', {'/cam/image': [make.image(0, picture(number % 7))]}
        )
        (part / f'bag_{number}.db3').rename(folder / f'bag_{number}.db3')
    assert seeds(folder) == [0, 1, 2, 3]
    assert [file.name for file in files_in(folder)][-1] == 'bag_10.db3'
    # Unpacked beside what is compressed: played once.
    shutil.copy(folder / 'bag_1.db3', folder / 'bag_1.db3.zstd')
    assert seeds(folder) == [0, 1, 2, 3]


def test_missing_and_broken_files_of_a_bag_are_said(tmp_path, caplog):
    path = record(tmp_path / 'bag', 'db3')
    (path / 'bag.db3').rename(path / 'other.db3')
    (path / 'worse.db3').write_bytes(b'')
    assert seeds(path) == list(range(COUNT))
    assert 'bag.db3 is missing' in caplog.text and 'worse.db3: cannot be read' in caplog.text


def test_what_a_killed_recorder_left_beside_the_file_counts(tmp_path):
    """In SQLite's resilient mode messages lie in a file of their own until it is closed."""
    path = record(tmp_path / 'bag', 'db3', count=3)
    file = path / 'bag.db3'
    writer = sqlite3.connect(file)
    writer.execute('PRAGMA journal_mode=WAL')
    (topic,) = writer.execute("SELECT id FROM topics WHERE name = '/cam/image'").fetchone()
    make = Messages()
    data = bytes(make.store.serialize_cdr(make.image(3, picture(3)), 'sensor_msgs/msg/Image'))
    writer.execute(
        'INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)', (topic, 10**12, data)
    )
    writer.commit()
    (tmp_path / 'lost').mkdir()
    for left in path.iterdir():
        shutil.copy(left, tmp_path / 'lost')
    writer.close()
    before = {left: left.read_bytes() for left in (tmp_path / 'lost').iterdir()}
    assert seeds(tmp_path / 'lost') == [0, 1, 2, 3]
    assert {left: left.read_bytes() for left in (tmp_path / 'lost').iterdir()} == before


@pytest.mark.parametrize('name', ['a.bag', 'a.mcap', 'a.db3', 'a.db3.zstd'])
@pytest.mark.parametrize(
    'content', [b'', b'#ROSBAG V2.0\nnothing', b'text', b'\x28\xb5\x2f\xfd12']
)
def test_what_is_no_bag_is_refused_by_name(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert is_bag(tmp_path / name)
    with pytest.raises(BagError, match='cannot be read as a bag'):
        Bag(tmp_path / name)


def test_pipe_is_no_bag(tmp_path):
    os.mkfifo(tmp_path / 'a.db3')
    os.mkfifo(tmp_path / 'metadata.yaml')
    with pytest.raises(BagError, match='no regular file'):
        Bag(tmp_path / 'a.db3')
    with pytest.raises(BagError, match='holds no file'):
        Bag(tmp_path)


def test_bags_of_ros1_in_a_folder_are_one(tmp_path):
    (tmp_path / 'bags').mkdir()
    record(tmp_path / 'bags' / 'a_0', 'ros1')
    record(tmp_path / 'bags' / 'a_1', 'ros1')
    (tmp_path / 'bags' / 'a_1.bag').rename(tmp_path / 'bags' / 'a_1.bag.active')
    assert is_bag(tmp_path / 'bags') and seeds(tmp_path / 'bags') == [*range(COUNT), *range(COUNT)]


def test_folder_without_a_bag_is_refused(tmp_path):
    assert not is_bag(tmp_path)
    (tmp_path / 'metadata.yaml').write_text('a: 1')
    with pytest.raises(BagError, match=r'holds no file of \.mcap'):
        Bag(tmp_path)


@pytest.mark.parametrize('kind', KINDS)
def test_message_over_the_limit_is_refused_with_the_variable(tmp_path, kind, monkeypatch):
    make = Messages(kind.startswith('ros1'))
    image = make.image(0, np.zeros((800, 800, 3), np.uint8))
    path = write_bag(tmp_path / 'bag', {'/cam/image': [image]}, kind)
    assert len(list(Bag(path).messages({'/cam/image'}))) == 1
    monkeypatch.setenv(unpacking.LIMIT_VARIABLE, '1')
    with pytest.raises(BagLimitError, match=f'raise {unpacking.LIMIT_VARIABLE}'):
        list(Bag(path).messages({'/cam/image'}))
    monkeypatch.setenv(unpacking.LIMIT_VARIABLE, 'much')
    with pytest.raises(ConfigError, match='wanted a positive number'):
        list(Bag(path).messages({'/cam/image'}))


@pytest.mark.parametrize('method', ['zstd', 'lz4', 'bz2'])
def test_data_that_unpack_to_more_than_the_limit_are_refused_before_they_do(method, monkeypatch):
    compress = {
        'zstd': unpacking.zstd.compress,
        'lz4': unpacking.lz4.frame.compress,
        'bz2': unpacking.bz2.compress,
    }[method]
    data = compress(bytes(3 * 10**6))
    assert unpacking.unpack(data, method, 'x') == bytes(3 * 10**6)
    assert unpacking.unpack(data * 2, method, 'x') == bytes(6 * 10**6)
    monkeypatch.setenv(unpacking.LIMIT_VARIABLE, '2')
    with pytest.raises(BagLimitError, match='larger than the limit'):
        unpacking.unpack(data, method, 'x')


def test_unknown_compression_lists_the_known_ones():
    with pytest.raises(BagError, match=r"'rar' is not known\. Choose one of zstd, lz4, bz2"):
        unpacking.unpack(b'1', 'rar', 'x')


def test_chunk_that_says_it_is_huge_is_refused_unread(tmp_path):
    """The size stands in the file before the data."""
    (file,) = bag_files.files_of(record(tmp_path / 'bag', 'mcap_storage'))
    content = bytearray(file.read_bytes())
    chunk = 8
    while content[chunk] != 6:  # op code
        chunk += 9 + struct.unpack_from('<Q', content, chunk + 1)[0]
    struct.pack_into('<Q', content, chunk + 9 + 16, 10**12)
    file.write_bytes(content)
    with pytest.raises(BagLimitError, match='chunk of 1000000 MB'):
        list(Bag(file).messages({'/cam/image'}))
