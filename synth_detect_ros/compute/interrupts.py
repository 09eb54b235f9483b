"""How a process ends early: asked to, it ends as at Ctrl-C; and it does not outlive its parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from synth_detect_ros.compute.system_calls import follow_parent

# Ctrl-C; `kill`, a service manager or a container that stops; a terminal that is closed.
INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# In the environment of a command: the process that started it and that it must not outlive.
PARENT = 'SYNTH_DETECT_PARENT'
# How long a loader process goes on when all processes are told to end: until its parent has done
# its step and saved [s].
_LINGER_S = 60


@contextmanager
def ending_like_ctrl_c() -> Iterator[None]:
    """Let every signal that asks a process to end raise KeyboardInterrupt, in the block.

    Signals that are ignored, as under nohup, or have another handler are left alone, and so is
    everything outside the main thread.
    """
    changed = []
    if threading.current_thread() is threading.main_thread():
        changed = [n for n in INTERRUPTS if signal.getsignal(n) is signal.SIG_DFL]
    for number in changed:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, signal.SIG_DFL)


def follow_starter() -> None:
    """End as at Ctrl-C when the process that started this command does, where it says so."""
    parent = os.environ.pop(PARENT, '')
    if parent.isdecimal():
        follow_parent(int(parent), signal.SIGTERM)


def serve_parent() -> None:
    """Begin a worker process: signals for all are its parent's to answer, whose end ends it.

    A parent that is killed cannot tell its workers.
    """
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        follow_parent(parent.pid, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def linger() -> None:
    """Let SIGTERM end this worker process a minute later, when its parent has had time to save.

    A service manager tells all processes to end; a training whose loaders are gone is broken.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_LINGER_S) and None)
