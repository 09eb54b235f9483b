"""`camera_replay_node`: publish recorded images as a camera driver does."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.duration import Duration
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from synth_detect_ros.config import ReplayConfig
from synth_detect_ros.errors import ConfigError
from synth_detect_ros.nodes import conversions
from synth_detect_ros.nodes.parameters import declare_parameters, read_parameters
from synth_detect_ros.nodes.recordings import open_recording
from synth_detect_ros.nodes.running import run_node
from synth_detect_ros.nodes.topics import RELIABLE, every, publisher

_DELIVERY = Duration(seconds=2)


class CameraReplayNode(Node):
    """Publishes `image` and `camera_info`, with `compressed` also `image/compressed`.

    Without a calibration the CameraInfo is that of an uncalibrated camera: K is all 0.

    Attributes:
        status: exit status of the process; None until the last image is published.
    """

    def __init__(self) -> None:
        super().__init__('camera_replay_node')
        declare_parameters(self, ReplayConfig)
        self._config = config = read_parameters(self, ReplayConfig)
        self._recording = open_recording(config)
        self._frames = self._play()
        self._published = 0
        self.status: int | None = None
        image = self.resolve_topic_name('image')
        self._outputs: list[Any] = [publisher(self, Image, image, RELIABLE)]
        if config.compressed:
            self._outputs.append(publisher(self, CompressedImage, f'{image}/compressed', RELIABLE))
        self._info = publisher(self, CameraInfo, 'camera_info', RELIABLE)
        if self._recording.camera is None:
            self.get_logger().warning(
                f'{config.source} has no calibration: publishing an uncalibrated CameraInfo. '
                'The parameter camera takes a calibration file.'
            )
        self._waiting = config.wait_for_subscriber
        every(self, 1 / config.rate_hz, self._tick)

    def _tick(self) -> None:
        if self._waiting and not any(out.get_subscription_count() for out in self._outputs):
            self.get_logger().info('Waiting for a subscriber', once=True)
            return
        self._waiting = False
        frame = next(self._frames, None)
        if frame is None:
            self._finish()
        else:
            self._publish(frame)

    def _play(self) -> Iterator[NDArray[np.uint8]]:
        while self._config.loop or not self._published:
            yield from self._recording.frames()
            if not self._published:
                raise ConfigError(f'source: {self._config.source} holds no image')

    def _publish(self, frame: NDArray[np.uint8]) -> None:
        height, width = frame.shape[:2]
        header = Header(frame_id=self._config.frame_id)
        camera = self._recording.camera
        info = (
            CameraInfo(header=header, width=width, height=height)
            if camera is None
            else conversions.message_from_camera(camera, header)
        )
        messages = [
            conversions.compressed_from_rgb(frame, header)
            if output.msg_type is CompressedImage
            else conversions.image_from_rgb(frame, header, self._config.encoding)
            for output in self._outputs
        ]
        # Stamped after the conversion, just before publishing; all messages share this header.
        header.stamp = self.get_clock().now().to_msg()
        for output, message in zip(self._outputs, messages, strict=True):
            output.publish(message)
        self._info.publish(info)
        self._published += 1

    def _finish(self) -> None:
        for output in (*self._outputs, self._info):
            output.wait_for_all_acked(_DELIVERY)
        self.get_logger().info(f'All {self._published} images published')
        self.status = 0


def main(args: list[str] | None = None) -> int:
    """Run the node until the recording ends; return 1 when it cannot be read."""
    return run_node('camera_replay_node', CameraReplayNode, args)


if __name__ == '__main__':
    sys.exit(main())
