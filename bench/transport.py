"""Measure how many images reach detect_node from another process on a busy machine.

    python bench/transport.py --model run/bundle
    python bench/transport.py --model run/bundle --profile      with config/fastdds_images.xml

A camera sends images of 640x480 at 10 Hz, reliably as most drivers do, while a process on each
core does nothing but count. In turns the node subscribes best effort, as it always did before
`reliability: auto`, and as its default is. Fast DDS is as it comes, unless `--profile` is given.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from live import NAMESPACE, PROFILE, node_command, process
from report import Result, report
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from synth_detect_ros.nodes.conversions import image_from_rgb
from synth_detect_ros.nodes.topics import RELIABLE

STARTUP_S = 120.0
# The node reports once a second; one more until a report is of the time after the last image [s].
SETTLE_S = 3.0
COUNT = """
import os
parent = os.getppid()
while os.getppid() == parent:
    sum(range(1_000_000))
"""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--model', type=Path, required=True, help='bundle')
    parser.add_argument('--size', type=int, nargs=2, default=(640, 480), metavar=('W', 'H'))
    parser.add_argument('--rate', type=float, default=10.0, help='images a second')
    parser.add_argument('--seconds', type=float, default=60.0, help='length of a measurement')
    parser.add_argument('--rounds', type=int, default=2, help='turns')
    parser.add_argument('--profile', action='store_true', help='with config/fastdds_images.xml')
    parser.add_argument('--idle', action='store_true', help='no other work on the machine')
    parser.add_argument('--quick', action='store_true', help='short runs: does it work?')
    parser.add_argument('--json', type=Path, help='file for the result')
    return parser.parse_args()


@contextmanager
def busy(cores: int) -> Iterator[None]:
    """Keep this many cores busy, no longer than this process lives."""
    running = [subprocess.Popen([sys.executable, '-c', COUNT]) for _ in range(cores)]
    try:
        yield
    finally:
        for one in running:
            one.kill()
            one.wait()


class Camera:
    """Sends images, and reads what the node counts."""

    def __init__(self, size: tuple[int, int], rate: float) -> None:
        self.node = rclpy.create_node('camera', namespace=NAMESPACE)
        self._images = self.node.create_publisher(Image, 'image', RELIABLE)
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)
        self.sent, self.counts = 0, dict[str, str]()
        noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
        self._image = image_from_rgb(noise, Header(), 'bgr8')
        self._period = 1 / rate

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        if message.status[0].name == f'{NAMESPACE}/detect_node':
            self.counts = {value.key: value.value for value in message.status[0].values}

    @property
    def received(self) -> int:
        """Images that reached the node so far."""
        return int(self.counts.get('received', 0))

    def send(self, seconds: float) -> None:
        """Send images for a while."""
        due, end = time.monotonic(), time.monotonic() + seconds
        while due < end:
            self._image.header.stamp = self.node.get_clock().now().to_msg()
            self._images.publish(self._image)
            self.sent += 1
            due += self._period
            self.listen(due - time.monotonic())

    def listen(self, seconds: float) -> None:
        """Read what the node counts for a while."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            rclpy.spin_once(self.node, timeout_sec=left)

    def wait_for_node(self) -> None:
        """Send until the node answers.

        Raises:
            RuntimeError: it does not.
        """
        end = time.monotonic() + STARTUP_S
        while not self.received:
            self.send(1.0)
            if time.monotonic() > end:
                raise RuntimeError(f'{STARTUP_S:.0f} s, and detect_node has received no image')
        self.listen(SETTLE_S)


def measure(options: argparse.Namespace, reliability: str) -> dict[str, float]:
    """Return the share of the images that arrived [%], and how old their answers were."""
    parameters = {'model': options.model, 'reliability': reliability}
    camera = Camera(options.size, options.rate)
    cores = 0 if options.idle else len(os.sched_getaffinity(0))
    try:
        with process(node_command('detect_node', parameters)):
            camera.wait_for_node()
            sent, received = camera.sent, camera.received
            with busy(cores):
                camera.send(options.seconds)
                camera.listen(SETTLE_S)
            share = 100 * (camera.received - received) / (camera.sent - sent)
            names = ('age_ms', 'age_ms_p95', 'age_ms_max', 'inference_ms', 'lost')
            facts = {name: float(camera.counts[name]) for name in names if name in camera.counts}
            return {'arrived_percent': round(share, 2), 'sent': camera.sent - sent, **facts}
    finally:
        camera.node.destroy_node()


def main() -> int:
    options = parse()
    os.environ.setdefault('GOMP_SPINCOUNT', '1000')  # as detect.launch.py does
    if options.profile:
        for name in ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'):
            os.environ.setdefault(name, str(PROFILE))
    if options.quick:
        options.seconds, options.rounds = 5.0, 1
    rclpy.init()
    runs: dict[str, list[dict[str, float]]] = {'auto': [], 'best_effort': []}
    try:
        for _ in range(options.rounds):
            for reliability, found in runs.items():
                found.append(measure(options, reliability))
                print(reliability, found[-1], flush=True)
    except RuntimeError as error:
        sys.stderr.write(f'{error}\n')
        return 1
    finally:
        rclpy.try_shutdown()
    ours, peer = (
        float(np.median([run['arrived_percent'] for run in found])) for found in runs.values()
    )
    name = 'images_arrived_{}x{}'.format(*options.size)
    results = [Result(name, ours, peer, '%', 'best effort', {'runs': runs})]
    report(results, options.json)
    return 0


if __name__ == '__main__':
    sys.exit(main())
