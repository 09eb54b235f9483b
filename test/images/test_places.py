"""Files of a data set: in its folder, regular, also after links."""

import os

import pytest

from synth_detect_ros.errors import BackgroundError, DatasetError
from synth_detect_ros.images.places import images_in, inside


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'set' / 'sub').mkdir(parents=True)
    (tmp_path / 'secret.png').write_bytes(b'secret')
    (tmp_path / 'set' / 'a.png').write_bytes(b'a')
    return tmp_path / 'set'


def test_a_file_and_a_link_that_stay_inside_are_taken(folder):
    (folder / 'sub' / 'b.png').symlink_to('../a.png')
    for name in ('a.png', 'sub/b.png', 'sub/../a.png'):
        assert inside(folder / name, folder, DatasetError) == folder / name
    assert images_in(folder / 'sub', within=folder) == [folder / 'sub' / 'b.png']


def test_the_folder_itself_may_be_a_link(folder, tmp_path):
    (tmp_path / 'link').symlink_to(folder)
    assert images_in(tmp_path / 'link') == [tmp_path / 'link' / 'a.png']


def outside(folder):
    (folder / 'x.png').symlink_to('../secret.png')


def far_outside(folder):
    (folder / 'x.png').symlink_to('/dev/zero')


def folder_outside(folder):
    (folder / 'sub').rmdir()
    (folder / 'sub').symlink_to('/etc')


def pipe(folder):
    os.mkfifo(folder / 'x.png')


def link_to_pipe(folder):
    os.mkfifo(folder / 'pipe')
    (folder / 'x.png').symlink_to('pipe')


def loop(folder):
    (folder / 'x.png').symlink_to('x.png')


def directory(folder):
    (folder / 'x.png').mkdir()


def missing(folder):
    (folder / 'x.png').symlink_to('gone.png')


@pytest.mark.parametrize(
    ('make', 'name', 'reason'),
    [
        (outside, 'x.png', 'leads to .*secret.png, outside of'),
        (far_outside, 'x.png', 'leads to /dev/zero, outside of'),
        (folder_outside, 'sub/passwd', 'leads to /etc/passwd, outside of'),
        (pipe, 'x.png', 'not a regular file'),
        (link_to_pipe, 'x.png', 'not a regular file'),
        (loop, 'x.png', 'symbolic links'),
        (directory, 'x.png', 'not a regular file'),
        (missing, 'x.png', 'No such file'),
    ],
)
def test_whatever_else_stands_there_is_named(folder, make, name, reason):
    make(folder)
    with pytest.raises(DatasetError, match=rf'{name}: .*{reason}'):
        inside(folder / name, folder, DatasetError)
    if name == 'x.png':
        with pytest.raises(BackgroundError, match=rf'x\.png: .*{reason}'):
            images_in(folder, BackgroundError)


def test_who_made_the_links_may_have_them_followed(folder, monkeypatch):
    outside(folder)
    monkeypatch.setenv('SYNTH_DETECT_FOLLOW_LINKS', '1')
    assert images_in(folder) == [folder / 'a.png', folder / 'x.png']


def test_folders_beside_each_other_are_not_inside(folder, tmp_path):
    (tmp_path / 'set2').mkdir()
    (tmp_path / 'set2' / 'a.png').write_bytes(b'')
    with pytest.raises(DatasetError, match='outside of'):
        inside(folder / '..' / 'set2' / 'a.png', folder, DatasetError)
