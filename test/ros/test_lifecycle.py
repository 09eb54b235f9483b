"""A lifecycle node refuses transitions that its state does not allow, and lives on."""

import pytest
import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode

from synth_detect_ros.nodes.lifecycle import survive_impossible_transitions

pytestmark = pytest.mark.ros


def test_impossible_transition_is_refused():
    context = rclpy.Context()
    rclpy.init(context=context)
    node = LifecycleNode('alive', context=context)
    survive_impossible_transitions(node)
    client = node.create_client(ChangeState, 'alive/change_state')
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    def change(transition):
        request = ChangeState.Request(transition=Transition(id=transition))
        future = client.call_async(request)
        executor.spin_until_future_complete(future, timeout_sec=30)
        return future.result().success

    assert client.wait_for_service(30)
    assert not change(Transition.TRANSITION_ACTIVATE)
    assert change(Transition.TRANSITION_CONFIGURE)
    assert change(Transition.TRANSITION_ACTIVATE)
    assert not change(Transition.TRANSITION_CONFIGURE)
    node.destroy_node()
    context.try_shutdown()
