"""Folders: one writer, replaced at once, and clean after processes that were killed."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from synth_detect_ros import folders
from synth_detect_ros.errors import StorageError
from synth_detect_ros.files import append_line, whole_file, write_atomic
from synth_detect_ros.folders import (
    FolderLock,
    folder_before,
    remove_leftovers,
    settle_folder,
    whole_folder,
)

HEAD = """
import os, signal, sys, time
from pathlib import Path
from synth_detect_ros.files import whole_file
from synth_detect_ros.folders import FolderLock, whole_folder
folder = Path(sys.argv[1])
"""


def start(script: str, folder: Path) -> subprocess.Popen[str]:
    """Start a process; wait until it says that it is where it shall be."""
    child = subprocess.Popen(
        [sys.executable, '-c', HEAD + script, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout and child.stdout.readline() == 'here\n'
    return child


def kill(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.communicate()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fill(folder: Path, word: str) -> None:
    with whole_folder(folder) as partial:
        for name in 'ab':
            write_atomic(partial / name, word.encode())


def cannot(first: Path, second: Path) -> bool:
    return False


@pytest.mark.parametrize('exchanged', [True, False])
def test_folder_is_replaced_while_others_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchanged: bool
) -> None:
    """Opened once, it holds files of one time; without an exchange, it has its other name."""
    if not exchanged:
        monkeypatch.setattr(folders, 'exchange', cannot)
    folder, done = tmp_path / 'set', threading.Event()
    fill(folder, 'first')

    def replace() -> None:
        for k in range(100):
            fill(folder, f'word {k}')
        done.set()

    thread = threading.Thread(target=replace)
    thread.start()
    while not done.is_set():
        for place in (folder, folder_before(folder), folder):
            try:
                opened = os.open(place, os.O_RDONLY)
                break
            except FileNotFoundError:
                assert not exchanged
        assert set(os.listdir(opened)) <= {'a', 'b'}
        os.close(opened)
    thread.join()
    assert names(tmp_path) == ['set'] and names(folder) == ['a', 'b']
    assert (folder / 'a').read_text() == 'word 99'


@pytest.mark.parametrize('exchanged', [True, False])
def test_folder_that_fails_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchanged: bool
) -> None:
    if not exchanged:
        monkeypatch.setattr(folders, 'exchange', cannot)
    fill(tmp_path / 'set', 'old')
    with pytest.raises(ValueError, match='no'), whole_folder(tmp_path / 'set') as partial:
        (partial / 'a').write_text('new')
        raise ValueError('no')
    assert names(tmp_path) == ['set'] and (tmp_path / 'set' / 'a').read_text() == 'old'
    (tmp_path / 'file').touch()
    with pytest.raises(StorageError, match='cannot be made'):
        fill(tmp_path / 'file' / 'set', 'new')


def test_what_a_link_points_at_is_replaced(tmp_path: Path) -> None:
    fill(tmp_path / 'other' / 'set', 'old')
    (tmp_path / 'set').symlink_to(tmp_path / 'other' / 'set')
    fill(tmp_path / 'set', 'new')
    assert (tmp_path / 'set').is_symlink()
    assert (tmp_path / 'other' / 'set' / 'a').read_text() == 'new'
    assert names(tmp_path / 'other') == ['set']


def test_a_link_to_itself_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / 'loop').symlink_to('loop')
    with pytest.raises(StorageError, match='loop'), whole_folder(tmp_path / 'loop'):
        pass
    assert names(tmp_path) == ['loop']


def test_folder_that_was_moved_out_of_the_way_comes_back(tmp_path: Path) -> None:
    folder = tmp_path / 'set'
    fill(folder, 'old')
    folder.rename(folder_before(folder))
    settle_folder(folder)
    assert (folder / 'a').read_text() == 'old'
    fill(folder_before(folder), 'older')
    settle_folder(folder)
    assert names(tmp_path) == ['set'] and (folder / 'a').read_text() == 'old'
    settle_folder(tmp_path / 'nothing')


@pytest.mark.parametrize('what', ['whole_file', 'whole_folder'])
def test_leftovers_of_the_killed_go_and_those_of_the_living_stay(
    tmp_path: Path, what: str
) -> None:
    write_atomic(tmp_path / '.mine.partial', b'')
    child = start(
        f"with {what}(folder / 'x'):\n    print('here', flush=True)\n    time.sleep(60)", tmp_path
    )
    remove_leftovers(tmp_path)
    assert len(names(tmp_path)) == 2
    kill(child)
    assert len(names(tmp_path)) == 2
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ['.mine.partial']
    remove_leftovers(tmp_path / 'nowhere')


def test_leftover_of_a_file_system_without_locks_goes_by_its_age(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOTSUP, 'Operation not supported')

    monkeypatch.setattr(fcntl, 'flock', flock)
    with whole_file(tmp_path / 'x') as file:
        file.write(b'content')
        remove_leftovers(tmp_path)
    assert (tmp_path / 'x').read_bytes() == b'content'
    old = tmp_path / f'.x.{"0" * 32}.partial'  # as version 0.1 called it
    old.touch()
    os.utime(old, (0, 0))
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ['x']


def test_a_cleaner_that_comes_first_is_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, calls = fcntl.flock, []

    def flock(descriptor: int, how: int) -> None:
        calls.append(how)
        if len(calls) == 1:
            remove_leftovers(tmp_path)
            assert names(tmp_path) == []
        original(descriptor, how)

    monkeypatch.setattr(fcntl, 'flock', flock)
    write_atomic(tmp_path / 'x', b'content')
    assert names(tmp_path) == ['x']


def test_the_second_is_told_who_writes(tmp_path: Path) -> None:
    folder = tmp_path / 'set'
    child = start("lock = FolderLock(folder)\nprint('here', flush=True)\ntime.sleep(60)", folder)
    with pytest.raises(StorageError, match=f'set is being written by process {child.pid} on .*-c'):
        FolderLock(folder)
    assert names(folder) == ['.lock']
    kill(child)
    with FolderLock(folder), pytest.raises(StorageError, match=f'process {os.getpid()} '):
        FolderLock(folder)
    assert names(folder) == []
    with FolderLock(tmp_path / 'new'):
        pass
    assert not (tmp_path / 'new').exists()


def test_a_lock_that_nobody_signed_names_nobody(tmp_path: Path) -> None:
    with FolderLock(tmp_path):
        for text in ('{', '', '[' * 9999, '{"pid": 1}', '[]'):
            (tmp_path / '.lock').write_text(text)
            with pytest.raises(StorageError, match='by another process'):
                FolderLock(tmp_path)


def test_a_forked_child_does_not_keep_the_lock_of_its_parent(tmp_path: Path) -> None:
    child = start(
        'lock = FolderLock(folder)\nif os.fork():\n    os.kill(os.getpid(), signal.SIGKILL)\n'
        "print('here', flush=True)\ntime.sleep(60)",
        tmp_path,
    )
    child.wait()
    FolderLock(tmp_path).release()
    assert child.stdout
    child.stdout.close()


def test_a_holder_that_leaves_at_this_moment_is_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that was opened is removed before it is locked: that lock would bind nobody."""
    first, original, calls = FolderLock(tmp_path), fcntl.flock, []

    def flock(descriptor: int, how: int) -> None:
        calls.append(how)
        if len(calls) == 1:
            first.release()
        original(descriptor, how)

    monkeypatch.setattr(fcntl, 'flock', flock)
    with FolderLock(tmp_path), pytest.raises(StorageError, match='is being written'):
        FolderLock(tmp_path)
    assert names(tmp_path) == []


def test_without_locks_the_user_is_told_and_the_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(fcntl, 'flock', flock)
    with FolderLock(tmp_path):
        assert 'its file system has no locks (No locks available)' in caplog.text


def test_folder_that_cannot_be_locked_is_named(tmp_path: Path) -> None:
    (tmp_path / '.lock').mkdir()
    with pytest.raises(StorageError, match=f'{tmp_path.name} cannot be written'):
        FolderLock(tmp_path)


def test_modes_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        fill(tmp_path / 'set', 'word')
        append_line(tmp_path / 'log', b'line\n')
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob('*')}
    assert modes == {'set': 0o750, 'a': 0o640, 'b': 0o640, 'log': 0o640}


def test_interruption_while_writing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), whole_file(tmp_path / 'x') as file:
        file.write(b'half')
        signal.raise_signal(signal.SIGINT)
    assert names(tmp_path) == []
