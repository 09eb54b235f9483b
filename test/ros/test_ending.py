"""Ctrl-C ends a node quietly, whichever of the ways it arrives in; errors stay errors."""

import pytest
import rclpy
from rclpy._rclpy_pybind11 import RCLError
from rclpy.executors import ExternalShutdownException

from synth_detect_ros.nodes.interrupts import Interrupted, interruptible

pytestmark = pytest.mark.ros


@pytest.mark.parametrize('error', [KeyboardInterrupt(), ExternalShutdownException()])
def test_interruption_is_one(error):
    with pytest.raises(Interrupted), interruptible():
        raise error


def test_executor_that_meets_a_context_that_is_gone_is_interrupted():
    rclpy.init()
    node = rclpy.create_node('ending')
    rclpy.shutdown()  # as the signal does, while the executor is about to wait
    with pytest.raises(Interrupted), interruptible():
        node.create_timer(1.0, lambda: None)


def test_error_of_rcl_in_a_living_context_stays_one(monkeypatch):
    monkeypatch.setattr(rclpy, 'ok', lambda: True)
    with pytest.raises(RCLError), interruptible():
        raise RCLError('broken')


def test_other_errors_pass():
    with pytest.raises(ValueError, match='other'), interruptible():
        raise ValueError('other')
