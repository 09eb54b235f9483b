"""Processes that are asked to end do so as at Ctrl-C, and none outlives the one it works for."""

import os
import signal
import subprocess
import sys
import time

import pytest

from synth_detect_ros.compute.interrupts import INTERRUPTS, PARENT, ending_like_ctrl_c

# A command that works until it is told to end, then saves.
WORK = """
import signal, sys, time
from synth_detect_ros.commands import main, show
def work(args):
    try:
        print('working', flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        print('saved', flush=True)
        raise
show.run = work
sys.exit(main.main(['show', 'x']))
"""
START = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, '-c', sys.argv[1]],
                         env={**os.environ, sys.argv[2]: str(os.getpid())})
time.sleep(60)
"""


def start(code, *args, **environment):
    return subprocess.Popen(
        [sys.executable, '-c', code, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env=os.environ | environment,
    )  # fmt: skip


@pytest.mark.parametrize('number', INTERRUPTS)
def test_command_saves_and_ends_with_status_130(number):
    # Whoever runs these tests under nohup hands ignored signals down.
    process = start(f'import signal\nsignal.signal({int(number)}, signal.SIG_DFL)\n{WORK}')
    assert process.stdout.readline() == 'working\n'
    process.send_signal(number)
    out, error = process.communicate(timeout=30)
    assert (out, process.returncode) == ('saved\n', 130)
    assert 'interrupted; the same command starts again' in error


def test_signal_that_is_ignored_stays_ignored():
    nohup = f'import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n{WORK}'
    process = start(nohup)
    process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30)[0] == 'saved\n'


def test_command_ends_with_the_process_that_started_it():
    process = start(START, WORK, PARENT)
    assert process.stdout.readline() == 'working\n'
    process.kill()
    # Read to its end when the child has ended, too: it holds the other end of the pipe.
    assert process.communicate(timeout=30)[0] == 'saved\n'


def test_handlers_are_put_back():
    before = [signal.getsignal(number) for number in INTERRUPTS]
    with pytest.raises(KeyboardInterrupt), ending_like_ctrl_c():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert [signal.getsignal(number) for number in INTERRUPTS] == before
