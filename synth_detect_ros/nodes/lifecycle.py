"""What rclpy's lifecycle nodes lack."""

from __future__ import annotations

from lifecycle_msgs.srv import ChangeState
from rclpy.lifecycle import LifecycleNode


def survive_impossible_transitions(node: LifecycleNode) -> None:
    """Answer a request for a transition that the state does not allow; rclpy ends the process."""
    # There is no public way to the service: see rclpy/lifecycle/node.py, __on_change_state.
    service = node._service_change_state
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
