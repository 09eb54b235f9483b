"""A node as a process: spin it until it is done, and let Ctrl-C end it without a traceback."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.logging import get_logger

from synth_detect_ros.errors import SynthDetectError


def run_node(
    name: str, make: Callable[[], Any], args: list[str] | None, *, interrupted: int = 0
) -> int:
    """Make a node and spin it until its attribute `status` is no longer None.

    The signal of Ctrl-C shuts the context down at once, wherever the executor is: what rcl does
    next with the context raises an error of its own, a RuntimeError.

    Args:
        name: of the node, for the log.
        make: called once ROS is initialised.
        args: of the command line; None: those of the process.
        interrupted: exit status after Ctrl-C.

    Returns:
        The status of the node; 1 after an error of this package.
    """
    rclpy.init(args=args)
    node = None
    try:
        node = make()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while node.status is None:
            executor.spin_once(timeout_sec=1.0)
        return node.status
    except SynthDetectError as error:
        get_logger(name).fatal(str(error))
        return 1
    except (KeyboardInterrupt, ExternalShutdownException):
        return interrupted
    except RuntimeError:
        if rclpy.ok():
            raise
        return interrupted
    finally:
        with suppress(KeyboardInterrupt):  # a second Ctrl-C
            if node is not None:
                node.destroy_node()
            rclpy.try_shutdown()


def log_last(node: Any, texts: Iterable[str]) -> None:
    """Log what a node has to say while it ends, those texts that are not empty.

    Ctrl-C has shut ROS down by then: a name of its own keeps the words from /rosout, which would
    complain.
    """
    for text in filter(None, texts):
        get_logger(f'{node.get_name()}.summary').info(text)
