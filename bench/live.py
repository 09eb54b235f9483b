"""Measure the live detector over a real graph: a replayed camera, detect_node and a listener.

    python bench/live.py --model run/bundle --source frames/ [--camera camera.yaml] [--rate 10]

Prints JSON. Ages run from the stamp of the image, set when the camera publishes it, to the arrival
of its detections here; `overhead_ms` is what of that is neither the model's own time nor waiting
behind the image before: transport in and out, conversion, drawing, publishing. With `--show` this
process listens to the overlay and the masks too, as RViz would. Fast DDS runs with the package's
profile for images unless `--stock-dds` is given.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import Image
from std_msgs.msg import String

from synth_detect_ros.nodes.timings import WINDOW

NAMESPACE = '/bench_live'
PROFILE = Path(__file__).parents[1] / 'config' / 'fastdds_images.xml'
STARTUP_S = 120.0
# Images before the measurement starts: caches fill, clocks of the processor rise.
WARM_UP = 10
# Low, so that nearly every image has a detection, whose message carries the stamp.
SCORE = 0.05


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--model', type=Path, required=True, help='bundle')
    parser.add_argument('--source', type=Path, required=True, help='folder, video or bag')
    parser.add_argument('--camera', type=Path, help='calibration; default: beside the source')
    parser.add_argument('--rate', type=float, default=10.0, help='camera images a second')
    parser.add_argument('--seconds', type=float, default=20.0, help='length of the measurement')
    parser.add_argument('--threads', type=int, default=0, help='of the network; 0: all cores')
    parser.add_argument(
        '--stock-dds', action='store_true', help='without config/fastdds_images.xml'
    )
    parser.add_argument('--show', action='store_true', help='listen to overlay and masks too')
    parser.add_argument('--json', type=Path, help='file for the result')
    return parser.parse_args()


@contextmanager
def process(node: str, parameters: dict[str, object]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a node; end it, and show what it said if it had already ended by itself."""
    command = [sys.executable, '-m', f'synth_detect_ros.nodes.{node}', '--ros-args']
    command += ['-r', f'__ns:={NAMESPACE}']
    for name, value in parameters.items():
        text = str(value).lower() if isinstance(value, bool) else value
        command += ['-p', f'{name}:={text}']
    with tempfile.TemporaryFile() as log:
        running = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield running
        finally:
            if running.poll() is not None:
                log.seek(0)
                sys.stderr.write(log.read().decode(errors='replace'))
            else:
                running.send_signal(signal.SIGINT)
                try:
                    running.wait(20)
                except subprocess.TimeoutExpired:
                    running.kill()
                    running.wait()


class Listener:
    """Collects ages and diagnostics."""

    def __init__(self, show: bool) -> None:
        self.node = rclpy.create_node('listener', namespace=NAMESPACE)
        self.ages_ms: list[float] = []
        self.timings: dict[str, float] = {}
        create = self.node.create_subscription
        create(String, 'detect_node/detections_json', self._on_detections, 10)
        create(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)
        for topic in ('overlay', 'masks') if show else ():
            create(Image, f'detect_node/{topic}', lambda _: None, 5)

    def _on_detections(self, message: String) -> None:
        now = self.node.get_clock().now()
        results = json.loads(message.data)  # the stamp stands in each of them
        stamp = results[0]['image_id'] if results else np.nan
        self.ages_ms.append((now.nanoseconds - stamp) / 1e6)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        if message.status[0].name == f'{NAMESPACE}/detect_node':
            pairs = {v.key: v.value for v in message.status[0].values if v.key != 'model'}
            self.timings = {key: float(value) for key, value in pairs.items()}


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Return the numbers of one run.

    Raises:
        RuntimeError: a node ended, or nothing was detected.
    """
    detector = {
        'model': options.model, 'threads': options.threads, 'publish_json': True,
        'score_threshold': SCORE,
    }  # fmt: skip
    camera = {'source': options.source, 'rate_hz': options.rate, 'loop': True}
    if options.camera:
        camera['camera'] = options.camera
    listener = Listener(options.show)
    with process('detect_node', detector) as detect, process('camera_replay_node', camera) as play:

        def until(count: int, end: float) -> None:
            while len(listener.ages_ms) < count and time.monotonic() < end:
                rclpy.spin_once(listener.node, timeout_sec=0.1)
                if detect.poll() is not None or play.poll() is not None:
                    raise RuntimeError('a node ended by itself; see above')

        until(WARM_UP, time.monotonic() + STARTUP_S)
        if len(listener.ages_ms) < WARM_UP:
            raise RuntimeError(f'{STARTUP_S:.0f} s without {WARM_UP} images with detections')
        until(sys.maxsize, time.monotonic() + options.seconds)
    return numbers(listener.timings, np.array(listener.ages_ms), options.rate)


def numbers(timings: dict[str, float], ages: np.ndarray, rate: float) -> dict[str, object]:
    """Return what was measured over the images that the node's last report is about.

    Args:
        timings: the last report of the node, over its latest `WINDOW` images.
        ages: of all images since the start, NaN for one without detections [ms].
        rate: of the camera [Hz].
    """
    processed = int(timings['processed'])
    ages = ages[max(0, processed - WINDOW) : processed]
    mean = float(np.nanmean(ages))
    ages = ages[~np.isnan(ages)]
    limit = timings['inference_ms_max'] + 1000 / rate
    return {
        'images': len(ages),
        'camera_hz': rate,
        'inference_ms': timings['inference_ms'],
        'overhead_ms': round(mean - timings['inference_ms'] - timings['wait_ms'], 2),
        'node_overhead_ms': timings['overhead_ms'],
        'wait_ms': timings['wait_ms'],
        'age_ms_median': round(float(np.median(ages)), 2),
        'age_ms_p95': round(float(np.percentile(ages, 95)), 2),
        'age_ms_max': round(float(ages.max()), 2),
        'age_limit_ms': round(limit, 2),
        'older_than_limit': int((ages > limit).sum()),
        'dropped': int(timings['dropped']),
    }


def main() -> int:
    options = parse()
    if not options.stock_dds:
        for name in ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'):
            os.environ.setdefault(name, str(PROFILE))
    rclpy.init()
    try:
        result = measure(options)
    except RuntimeError as error:
        sys.stderr.write(f'{error}\n')
        return 1
    finally:
        rclpy.try_shutdown()
    text = json.dumps(result, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text)
    return 0


if __name__ == '__main__':
    sys.exit(main())
