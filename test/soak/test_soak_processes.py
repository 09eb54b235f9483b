"""Processes of a soak: they end with it."""

import signal
import time

from soak.processes import Process


def _sleep():
    time.sleep(600)


def test_processes_end_with_the_soak_that_is_killed(tmp_path):
    inner = tmp_path / 'inner.pid'

    def soak():
        inner.write_text(str(Process(_sleep, tmp_path / 'inner.log').pid))
        _sleep()

    outer = Process(soak, tmp_path / 'outer.log')
    while not (inner.is_file() and inner.read_text()):
        time.sleep(0.01)
    started = int(inner.read_text())
    assert outer.kill() == -signal.SIGKILL
    end = time.monotonic() + 10
    while _runs(started):
        assert time.monotonic() < end, 'the process outlives what started it'
        time.sleep(0.01)


def _runs(pid):
    try:
        with open(f'/proc/{pid}/stat') as file:
            return file.read().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False
