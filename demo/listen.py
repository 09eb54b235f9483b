"""Keep some pictures of an image topic, as a person in front of RViz would see them."""

import argparse
import sys
import time
from pathlib import Path

import cv2
import rclpy
from sensor_msgs.msg import Image

from synth_detect_ros.nodes.conversions import rgb_from_message


def main() -> int:
    """Save `--count` images of a topic, `--every` seconds apart; 1 when too few came in time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('topic')
    parser.add_argument('out', type=Path, help='folder')
    parser.add_argument('--count', type=int, default=4)
    parser.add_argument('--every', type=float, default=2.0, help='seconds')
    parser.add_argument('--patience', type=float, default=120.0, help='seconds')
    options = parser.parse_args()
    rclpy.init()
    node, images, due = rclpy.create_node('listen'), [], [0.0]

    def keep(message: Image) -> None:
        if time.monotonic() >= due[0] and len(images) < options.count:
            images.append(rgb_from_message(message))
            due[0] = time.monotonic() + options.every

    node.create_subscription(Image, options.topic, keep, 1)
    end = time.monotonic() + options.patience
    while len(images) < options.count and time.monotonic() < end:
        rclpy.spin_once(node, timeout_sec=0.5)
    rclpy.try_shutdown()
    options.out.mkdir(parents=True, exist_ok=True)
    for k, image in enumerate(images):
        cv2.imwrite(str(options.out / f'{k}.jpg'), image[..., ::-1])
    return int(len(images) < options.count)


if __name__ == '__main__':
    sys.exit(main())
