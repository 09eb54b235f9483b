"""How a node learns that it is to end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import rclpy
from rclpy._rclpy_pybind11 import RCLError
from rclpy.executors import ExternalShutdownException


class Interrupted(Exception):  # noqa: N818 - it is none
    """Ctrl-C, or the context was shut down."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn every way in which Ctrl-C ends a spinning node into `Interrupted`.

    The signal shuts the context down at once, wherever the executor is: what it does next with the
    context raises an error of rcl.
    """
    try:
        yield
    except (KeyboardInterrupt, ExternalShutdownException):
        raise Interrupted from None
    except RCLError as error:
        if rclpy.ok():
            raise
        raise Interrupted from error
