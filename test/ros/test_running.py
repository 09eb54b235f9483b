"""A node ends with its status, quietly on Ctrl-C however that arrives; errors stay errors."""

import pytest
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node

from synth_detect_ros.errors import MeshError, RenderingError
from synth_detect_ros.nodes.running import run_node

pytestmark = pytest.mark.ros


class Busy(Node):
    """Does something at its first tick."""

    def __init__(self, work):
        super().__init__('busy')
        self.status, self.destroyed = None, 0
        self.create_timer(0.01, lambda: work(self))

    def destroy_node(self):
        self.destroyed += 1
        super().destroy_node()


def run(work):
    """Return the exit status and the node."""
    nodes = []

    def make():
        nodes.append(Busy(work))
        return nodes[0]

    status = run_node('busy', make, [], interrupted=130)
    assert nodes[0].destroyed == 1 and not rclpy.ok()
    return status


def fail(error):
    def work(node):
        raise error

    return work


def test_status_of_the_node_ends_it():
    assert run(lambda node: setattr(node, 'status', 7)) == 7


@pytest.mark.parametrize('error', [KeyboardInterrupt(), ExternalShutdownException()])
def test_interrupted_node_ends_quietly(error):
    assert run(fail(error)) == 130


def test_executor_that_meets_a_context_that_is_gone_is_interrupted():
    def work(node):
        rclpy.shutdown()  # as the signal does, while a callback runs
        node.create_timer(1.0, lambda: None)

    assert run(work) == 130


def test_context_that_is_gone_between_callbacks_is_an_interruption():
    assert run(lambda node: rclpy.shutdown()) == 130


@pytest.mark.parametrize('error', [MeshError('no mesh'), RenderingError('no EGL')])
def test_error_of_the_package_is_told_without_a_traceback(capfd, error):
    assert run(fail(error)) == 1
    told = capfd.readouterr().err
    assert f'[busy]: {error}' in told and 'Traceback' not in told


@pytest.mark.parametrize('error', [RuntimeError('a bug'), ValueError('a bug')])
def test_other_errors_pass(error):
    with pytest.raises(type(error), match='a bug'):
        run(fail(error))
    assert not rclpy.ok()


def test_failure_to_make_the_node_is_an_error():
    def make():
        raise MeshError('no mesh')

    assert run_node('busy', make, []) == 1


def test_second_interrupt_while_the_node_ends_is_quiet():
    class Slow(Busy):
        def destroy_node(self):
            raise KeyboardInterrupt

    assert run_node('busy', lambda: Slow(fail(KeyboardInterrupt())), [], interrupted=130) == 130
    rclpy.try_shutdown()
