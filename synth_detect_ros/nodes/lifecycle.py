"""What rclpy's lifecycle nodes lack."""

from __future__ import annotations

from lifecycle_msgs.srv import ChangeState
from rclpy.lifecycle import LifecycleNode


def survive_impossible_transitions(node: LifecycleNode) -> None:
    """Refuse a transition that the state does not allow; it ends the process in Humble and Jazzy.

    Source: https://github.com/ros2/rclpy/issues/1209, mended in Kilted.
    """
    service = next(s for s in node.services if s.srv_type is ChangeState)
    change_state = service.callback

    def answer(
        request: ChangeState.Request, response: ChangeState.Response
    ) -> ChangeState.Response:
        try:
            return change_state(request, response)
        except RuntimeError as error:
            node.get_logger().warning(f'Refused: {error}')
            response.success = False
            return response

    service.callback = answer
