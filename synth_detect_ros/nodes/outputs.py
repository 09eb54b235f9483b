"""What `detect_node` publishes; only what has a subscriber is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String

from synth_detect_ros.inference.model import Model
from synth_detect_ros.nodes import conversions
from synth_detect_ros.nodes.topics import LATCHED, RELIABLE, publisher
from synth_detect_ros.report.overlay import draw_detections
from synth_detect_ros.structures import Detections


class Outputs:
    """The managed publishers of a detector.

    Args:
        node: their owner; its log says once what is missing without vision_msgs.
        model: gives the classes, and whether there are masks.
        publish_json: publish ~/detections_json too.
    """

    def __init__(self, node: LifecycleNode, model: Model, *, publish_json: bool) -> None:
        self._node, self._model = node, model
        kinds: dict[str, Any] = {'overlay': Image}
        if model.has_masks:
            kinds['masks'] = Image
        if publish_json:
            kinds['detections_json'] = String
        if conversions.vision_msgs is None:
            node.get_logger().warning(
                'vision_msgs is not installed, so there is no ~/detections and no ~/vision_info '
                '(in an installed ROS 2: apt install ros-$ROS_DISTRO-vision-msgs). Everything '
                'else works; publish_json gives the detections as text.'
            )
        else:
            kinds['detections'] = conversions.vision_msgs.Detection2DArray
            kinds['vision_info'] = conversions.vision_msgs.VisionInfo
        self._publishers = {
            name: publisher(
                node, kind, f'~/{name}', LATCHED if name == 'vision_info' else RELIABLE,
                managed=True,
            )
            for name, kind in kinds.items()
        }  # fmt: skip

    def announce(self, folder: str, header: Header) -> None:
        """Publish ~/vision_info: how detections are made and where the classes are described."""
        if 'vision_info' in self._publishers:
            place = f'{folder}/model.yaml'
            message = conversions.vision_info(self._model.architecture, place, header)
            self._publishers['vision_info'].publish(message)

    def want_masks(self) -> bool:
        """Return whether ~/masks or ~/overlay has a subscriber."""
        return self._wanted('masks') or self._wanted('overlay')

    def _wanted(self, name: str) -> bool:
        output = self._publishers.get(name)
        return output is not None and output.get_subscription_count() > 0

    def publish(self, image: NDArray[np.uint8], detections: Detections, header: Header) -> None:
        """Publish the detections of one image, cheap messages first.

        Args:
            image: (H, W, 3) uint8 RGB.
            detections: of that image.
            header: of the image message.
        """
        classes = self._model.classes
        makers: dict[str, Callable[[], Any]] = {
            'detections': lambda: conversions.message_from_detections(detections, classes, header),
            'detections_json': lambda: String(
                data=conversions.json_from_detections(detections, classes, header)
            ),
            'masks': lambda: conversions.labels_from_detections(
                detections, *image.shape[:2], header
            ),
            'overlay': lambda: conversions.image_from_rgb(
                draw_detections(image, detections, classes), header
            ),
        }
        for name, make in makers.items():
            if name == 'masks' and detections.masks is None:
                continue  # the subscriber came after the detection
            if self._wanted(name):
                self._publishers[name].publish(make())

    def close(self) -> None:
        """Destroy the publishers."""
        for output in self._publishers.values():
            self._node.destroy_lifecycle_publisher(output)
        self._publishers = {}
