"""Worker processes: all work is done once, and every way to end early is clean."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from synth_detect_ros.compute.core_assignment import ONE_THREAD
from synth_detect_ros.compute.timing import Seconds
from synth_detect_ros.compute.workers import Stop, run_shards
from synth_detect_ros.errors import MeshError, RenderingError, StorageError

SHARDS = [range(i, i + 4) for i in range(0, 40, 4)]


def touch(folder: Path, shard: range, stop: Stop) -> Seconds:
    with (folder / str(shard.start)).open('x') as file:
        file.write(' '.join([str(os.getpid()), *(os.environ.get(n, '') for n in ONE_THREAD)]))
    time.sleep(0.01)
    return {'touch': 0.5, 'sleep': 0.25}


def fail(shard: range, stop: Stop) -> Seconds:
    raise MeshError(f'shard {shard.start} has no mesh')


def die(shard: range, stop: Stop) -> Seconds:
    os._exit(9)


def until_stopped(folder: Path, shard: range, stop: Stop) -> Seconds | None:
    """Work on one shard for ever; be done with the first at once."""
    (folder / str(shard.start)).touch()
    while shard.start:
        if stop():
            return None
        time.sleep(0.01)
    return {}


def where(folder: Path, shard: range, stop: Stop) -> Seconds:
    cores = ' '.join(map(str, os.sched_getaffinity(0)))
    (folder / str(os.getpid())).write_text(f'{os.environ.get("EGL_DEVICE_ID", "")}:{cores}')
    time.sleep(0.3)
    return {}


def die_once(folder: Path, shard: range, stop: Stop) -> Seconds:
    if shard.start == 20 and not (folder / 'died').exists():
        (folder / 'died').touch()
        os._exit(9)
    (folder / str(shard.start)).touch()
    time.sleep(0.05)
    return {}


def never() -> bool:
    return False


def ignore(done: int, seconds: Seconds) -> None:
    """Take progress and do nothing."""


@pytest.mark.parametrize('workers', [1, 2])
def test_every_shard_is_done_once_and_reported(tmp_path: Path, workers: int) -> None:
    reports: list[tuple[int, Seconds]] = []
    task = partial(touch, tmp_path)
    assert run_shards(task, SHARDS, workers, lambda *report: reports.append(report), never)
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == list(range(0, 40, 4))
    assert reports == [(done, {'touch': 0.5, 'sleep': 0.25}) for done in range(4, 44, 4)]


def test_workers_are_other_processes_with_one_thread(tmp_path: Path) -> None:
    before = dict(os.environ)
    assert run_shards(partial(touch, tmp_path), SHARDS[:3], 2, ignore, never)
    words = [path.read_text().split(' ') for path in tmp_path.iterdir()]
    assert all(int(pid) != os.getpid() for pid, *_ in words)
    assert all(rest == list(ONE_THREAD.values()) for _, *rest in words)
    assert dict(os.environ) == before


def test_each_worker_has_cores_of_its_own_and_the_caller_keeps_its_own(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    if len(before) < 2:
        pytest.skip('needs two cores')
    assert run_shards(partial(where, tmp_path), SHARDS[:4], 2, ignore, never)
    taken = [set(path.read_text().split(':')[1].split()) for path in tmp_path.iterdir()]
    assert len(taken) == 2 and not taken[0] & taken[1]
    assert taken[0] | taken[1] == set(map(str, before))
    assert run_shards(partial(where, tmp_path), SHARDS[:1], 1, ignore, never)
    assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize('workers', [1, 2])
def test_stop_ends_the_run_after_the_shards_in_work(tmp_path: Path, workers: int) -> None:
    stop = lambda: any(tmp_path.iterdir())  # noqa: E731
    assert not run_shards(partial(touch, tmp_path), SHARDS, workers, ignore, stop)
    assert 1 <= len(list(tmp_path.iterdir())) <= workers + 1


@pytest.mark.parametrize('workers', [1, 2])
def test_stop_reaches_a_shard_in_work(tmp_path: Path, workers: int) -> None:
    done: list[int] = []
    stop = lambda: bool(done) and (tmp_path / '4').exists()  # noqa: E731
    note = lambda count, seconds: done.append(count)  # noqa: E731
    assert not run_shards(partial(until_stopped, tmp_path), SHARDS, workers, note, stop)
    assert done == [4]


@pytest.mark.parametrize('error', [KeyboardInterrupt, StorageError(errno.ENOSPC, 'no room')])
def test_an_interruption_reaches_shards_in_work(
    tmp_path: Path, error: type[BaseException] | BaseException
) -> None:
    def interrupt(done: int, seconds: Seconds) -> None:
        raise error

    with pytest.raises((KeyboardInterrupt, StorageError)):
        run_shards(partial(until_stopped, tmp_path), SHARDS, 2, interrupt, never)


@pytest.mark.parametrize('workers', [1, 2])
def test_an_error_of_the_task_arrives_as_it_was(workers: int) -> None:
    with pytest.raises(MeshError, match='has no mesh'):
        run_shards(fail, SHARDS, workers, ignore, never)


def fill_disk(shard: range, stop: Stop) -> Seconds:
    raise StorageError(errno.ENOSPC, 'no room')


def test_a_full_disk_in_a_worker_is_still_a_full_disk() -> None:
    with pytest.raises(StorageError, match='no room') as caught:
        run_shards(fill_disk, SHARDS, 2, ignore, never)
    assert caught.value.errno == errno.ENOSPC


def test_a_dead_worker_is_reported() -> None:
    with pytest.raises(RenderingError, match=r'a worker process died.*start again to continue'):
        run_shards(die, SHARDS, 2, ignore, never)


def test_work_of_a_worker_that_crashed_is_done_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    counts: list[int] = []
    task = partial(die_once, tmp_path)
    assert run_shards(task, SHARDS, 2, lambda done, seconds: counts.append(done), never)
    assert {p.name for p in tmp_path.iterdir()} == {'died', *(str(s.start) for s in SHARDS)}
    assert counts[-1] == 40
    assert 'going on with fresh ones' in caplog.text


def test_nothing_to_do_is_done() -> None:
    assert run_shards(fail, [], 2, ignore, never)


SCRIPT = """
import signal, sys
sys.path.insert(0, sys.argv[1])
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
from functools import partial
from pathlib import Path
import test_workers as t
from synth_detect_ros.compute.workers import run_shards
if __name__ == '__main__':
    endless = [range(i, i + 1) for i in range(100000)]
    try:
        run_shards(partial(t.touch, Path(sys.argv[2])), endless, 2, t.ignore, t.never)
    except KeyboardInterrupt:
        print('stopped by Ctrl-C')
"""


@pytest.mark.parametrize('how', [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_parent(tmp_path: Path, how: signal.Signals) -> None:
    """Killed, they notice; at Ctrl-C, which a terminal sends to all, they finish what they do."""
    (tmp_path / 'main.py').write_text(SCRIPT)
    work = tmp_path / 'work'
    work.mkdir()
    command = [sys.executable, str(tmp_path / 'main.py'), str(Path(__file__).parent), str(work)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as parent:
        _wait_for(lambda: len(list(work.iterdir())) >= 5)
        workers = {int(path.read_text().split(' ')[0] or 0) for path in work.iterdir()} - {0}
        if how == signal.SIGINT:
            os.killpg(parent.pid, how)
        else:
            parent.send_signal(how)
        output, errors = parent.communicate(timeout=30)
    assert workers
    if how == signal.SIGINT:
        assert parent.returncode == 0
        assert (output, errors) == ('stopped by Ctrl-C\n', '')
    _wait_for(lambda: not any(map(_runs, workers)))
    assert all(path.stat().st_size for path in work.iterdir() if how == signal.SIGINT)


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False
