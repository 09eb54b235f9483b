"""Ctrl-C during training: it waits for the end of a step, so that only whole steps are saved."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from synth_detect_ros.compute.interrupts import INTERRUPTS

logger = logging.getLogger(__name__)


class BrokenStepError(KeyboardInterrupt):
    """A step was left in the middle: the state of the run is that of no step."""


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait for the end of the block; a second one leaves the block at once.

    This holds for the signals that raise KeyboardInterrupt in Python's own way: SIGINT, and those
    of `ending_like_ctrl_c`. Other handlers are left alone. Signals arrive in the
    main thread only; in another one nothing has to wait.

    Raises:
        KeyboardInterrupt: at the end of the block, if a signal arrived in it.
        BrokenStepError: the block was left in the middle.
    """
    arrived = False

    def wait(number: int, frame: FrameType | None) -> None:
        nonlocal arrived
        if arrived:
            raise KeyboardInterrupt
        arrived = True
        logger.warning('Ending after this step; another Ctrl-C ends at once, without saving.')

    raising, deferred = signal.default_int_handler, list[signal.Signals]()
    if threading.current_thread() is threading.main_thread():
        deferred = [number for number in INTERRUPTS if signal.getsignal(number) is raising]
    try:
        for number in deferred:
            signal.signal(number, wait)
        yield
    except KeyboardInterrupt as error:
        raise BrokenStepError from error
    finally:
        for number in deferred:
            signal.signal(number, raising)
    if arrived:
        raise KeyboardInterrupt
