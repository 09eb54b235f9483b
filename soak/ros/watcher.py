"""A camera and an observer in one node: publishes images, reads what the package answers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import rclpy
import scenes
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header, String

from synth_detect_ros.nodes import conversions


def scene(seed: int, size: tuple[int, int] = (160, 120)) -> np.ndarray:
    """Return a sharp (H, W, 3) uint8 image."""
    coarse = np.random.default_rng(seed).integers(40, 220, (12, 16, 3), np.uint8)
    return cv2.resize(coarse, size, interpolation=cv2.INTER_NEAREST)


class Watcher:
    """A node of its own; make one in a process that has no other.

    Args:
        namespace: of the nodes that are watched.
        size: width and height of the images [px].

    Attributes:
        results: (image stamp [ns], time of arrival [ns]) of each answer of detect_node.
        diagnostics: latest values by node.
    """

    def __init__(self, namespace: str, size: tuple[int, int] = (160, 120)) -> None:
        rclpy.init()
        self.node = rclpy.create_node('watcher', namespace=f'/{namespace}')
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._images = self.node.create_publisher(Image, 'image', 5)
        self._infos = self.node.create_publisher(CameraInfo, 'camera_info', 5)
        self.results: list[tuple[int, int]] = []
        self.diagnostics: dict[str, dict[str, str]] = {}
        self.node.create_subscription(String, 'detect_node/detections_json', self._on_result, 10)
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)
        self._size, self._camera = size, scenes.camera(*size)

    def _on_result(self, message: String) -> None:
        now = self.node.get_clock().now().nanoseconds
        rows = json.loads(message.data)
        self.results.append((rows[0]['image_id'] if rows else 0, now))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self.diagnostics[status.name.rpartition('/')[2]] = {
                value.key: value.value for value in status.values
            }

    def messages(self, seed: int) -> tuple[Image, CameraInfo]:
        """Return an image and its CameraInfo, as a good driver sends them."""
        header = Header(stamp=self.node.get_clock().now().to_msg(), frame_id='optical')
        image = conversions.image_from_rgb(scene(seed, self._size), header)
        return image, conversions.message_from_camera(self._camera, header)

    def send(self, image: Image, info: CameraInfo | None) -> None:
        """Publish both."""
        if info is not None:
            self._infos.publish(info)
        self._images.publish(image)

    def spin(self, seconds: float) -> None:
        """Let messages flow for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._executor.spin_once(timeout_sec=0.01)

    def until(self, condition: Callable[[], Any], seconds: float, each: Callable[[], Any]) -> bool:
        """Spin, and call `each` twenty times a second, until something holds."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                return False
            each()
            self.spin(0.05)
        return True

    def change_state(self, transition: int) -> bool:
        """Ask detect_node for a transition; return whether it happened."""
        request = ChangeState.Request()
        request.transition.id = transition
        return bool(self._call(ChangeState, 'change_state', request).success)

    def state(self) -> str:
        """Return the state of detect_node."""
        return str(self._call(GetState, 'get_state', GetState.Request()).current_state.label)

    def _call(self, kind: Any, name: str, request: Any) -> Any:
        if not hasattr(self, '_clients'):
            self._clients: dict[str, Any] = {}
        if name not in self._clients:
            self._clients[name] = self.node.create_client(kind, f'detect_node/{name}')
        client = self._clients[name]
        if not client.wait_for_service(60):
            raise TimeoutError(f'no service {name}')
        future = client.call_async(request)
        self._executor.spin_until_future_complete(future, timeout_sec=60)
        if not future.done():
            raise TimeoutError(f'no answer of {name}')
        return future.result()
