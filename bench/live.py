"""Measure the live detector over a real graph: a replayed camera, detect_node and a listener.

    python bench/live.py --model run/bundle --source frames/               beside a bare relay
    python bench/live.py --model run/bundle --source frames/ --once        numbers of one run
    python bench/live.py --model run/bundle --source frames/ --soak 600    a long time at 30 Hz

Ages run from the stamp of the image, set when the camera publishes it, to the arrival of its
detections here; the overhead is what of that is neither the model's own time nor waiting behind
the image before: transport in and out, conversion, publishing. The relay is a node of a dozen
lines that answers each image at once; its age is what transport alone takes, measured in turns
with the detector at 640x480 and 1280x1024. With `--show` this process listens to the overlay and
the masks too, as RViz would. Fast DDS runs with the package's profile for images unless
`--stock-dds` is given, and OpenMP's threads sleep while they wait, as detect.launch.py sets it.
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
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import ExternalShutdownException
from report import Result, report, table
from sensor_msgs.msg import Image
from std_msgs.msg import String

from synth_detect_ros.files import read_image
from synth_detect_ros.nodes.latency import WINDOW
from synth_detect_ros.nodes.topics import LATEST, RELIABLE

NAMESPACE = '/bench_live'
PROFILE = Path(__file__).parents[1] / 'config' / 'fastdds_images.xml'
STARTUP_S = 120.0
# Images before the measurement starts: caches fill, clocks of the processor rise.
WARM_UP = 10
# Low, so that nearly every image has a detection, whose message carries the stamp.
SCORE = 0.05
SIZES = ((640, 480), (1280, 1024))
# Images of the benchmark: as many as fit into memory and differ enough.
FRAMES = 12
SOAK_HZ = 30.0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--model', type=Path, help='bundle')
    parser.add_argument('--source', type=Path, help='folder, video or bag')
    parser.add_argument('--camera', type=Path, help='calibration; default: beside the source')
    parser.add_argument(
        '--rate', type=float, help='camera images a second; default: 10, beside the relay 3'
    )
    parser.add_argument(
        '--seconds', type=float, help='length of a measurement; default: 20, beside the relay 10'
    )
    parser.add_argument('--rounds', type=int, default=2, help='turns of detector and relay')
    parser.add_argument('--threads', type=int, default=0, help='of the network; 0: all cores')
    parser.add_argument('--runtime', default='auto', help='of the network')
    parser.add_argument(
        '--stock-dds', action='store_true', help='without config/fastdds_images.xml'
    )
    parser.add_argument('--show', action='store_true', help='listen to overlay and masks too')
    parser.add_argument('--once', action='store_true', help='one run at the size of the source')
    parser.add_argument('--soak', type=float, metavar='SECONDS', help='one long run at 30 Hz')
    parser.add_argument('--quick', action='store_true', help='short runs: does it work?')
    parser.add_argument('--json', type=Path, help='file for the result')
    parser.add_argument('--relay', action='store_true', help=argparse.SUPPRESS)
    return parser.parse_args()


def node_command(node: str, parameters: dict[str, object]) -> list[str]:
    """Return the command of one of the package's nodes."""
    command = [sys.executable, '-m', f'synth_detect_ros.nodes.{node}', '--ros-args']
    command += ['-r', f'__ns:={NAMESPACE}']
    for name, value in parameters.items():
        text = str(value).lower() if isinstance(value, bool) else value
        command += ['-p', f'{name}:={text}']
    return command


@contextmanager
def process(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a node; end it, and show what it said if it had already ended by itself."""
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


def relay() -> None:
    """Answer each image at once: what any node that listens and speaks costs."""
    rclpy.init()
    node = rclpy.create_node('relay', namespace=NAMESPACE)
    answers = node.create_publisher(String, 'detect_node/detections_json', RELIABLE)

    def answer(message: Image) -> None:
        stamp = message.header.stamp
        answers.publish(String(data=f'[{{"image_id": {stamp.sec * 10**9 + stamp.nanosec}}}]'))

    node.create_subscription(Image, 'image', answer, LATEST)
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()


class Listener:
    """Collects ages and diagnostics."""

    def __init__(self, show: bool) -> None:
        self.node = rclpy.create_node('listener', namespace=NAMESPACE)
        self.ages_ms: list[float] = []
        self.timings: dict[str, float] = {}
        self.reports: list[tuple[int, dict[str, float]]] = []
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
            words = ('model', 'reliability')
            pairs = {v.key: v.value for v in message.status[0].values if v.key not in words}
            self.timings = {key: float(value) for key, value in pairs.items()}
            self.reports.append((len(self.ages_ms), self.timings))


@contextmanager
def graph(options: argparse.Namespace, peer: bool = False) -> Iterator[Graph]:
    """Start a camera and what answers it: the detector, or the relay."""
    detector = {
        'model': options.model, 'threads': options.threads, 'publish_json': True,
        'score_threshold': SCORE, 'runtime': options.runtime,
    }  # fmt: skip
    camera = {'source': options.source, 'rate_hz': options.rate, 'loop': True}
    if options.camera:
        camera['camera'] = options.camera
    answer = (
        [sys.executable, __file__, '--relay'] if peer else node_command('detect_node', detector)
    )
    listener = Listener(options.show)
    try:
        with (
            process(answer) as node,
            process(node_command('camera_replay_node', camera)) as play,
        ):
            yield Graph(listener, node, play)
    finally:
        listener.node.destroy_node()


@dataclass
class Graph:
    """Running nodes and who listens to them."""

    listener: Listener
    node: subprocess.Popen[bytes]
    camera: subprocess.Popen[bytes]

    def listen(self, seconds: float, count: int = sys.maxsize) -> None:
        """Listen for a time, or until so many images are answered.

        Raises:
            RuntimeError: a node ended.
        """
        end = time.monotonic() + seconds
        while len(self.listener.ages_ms) < count and time.monotonic() < end:
            rclpy.spin_once(self.listener.node, timeout_sec=0.1)
            if self.node.poll() is not None or self.camera.poll() is not None:
                raise RuntimeError('a node ended by itself; see above')

    def warm_up(self) -> None:
        """Wait for the first images.

        Raises:
            RuntimeError: they do not come.
        """
        self.listen(STARTUP_S, WARM_UP)
        if len(self.listener.ages_ms) < WARM_UP:
            raise RuntimeError(f'{STARTUP_S:.0f} s without {WARM_UP} images with detections')


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Return the numbers of one run of the detector."""
    with graph(options) as running:
        running.warm_up()
        start, used = time.monotonic(), cpu_seconds(running.node)
        running.listen(options.seconds)
        cores = (cpu_seconds(running.node) - used) / (time.monotonic() - start)
        resident = memory(running.node)
    ages = np.array(running.listener.ages_ms)
    return {
        **numbers(running.listener.reports, ages, options.rate),
        'cores_in_use': round(cores, 2),
        'memory_mb': round(resident, 1),
    }


def measure_relay(options: argparse.Namespace) -> float:
    """Return the mean age of the relay's answers [ms]."""
    with graph(options, peer=True) as running:
        running.warm_up()
        running.listen(options.seconds)
    return float(np.nanmean(running.listener.ages_ms[WARM_UP:]))


def compare(options: argparse.Namespace) -> list[Result]:
    """Return the overhead at each size beside the age of the relay, medians of the rounds."""
    results = []
    for width, height in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            resized = argparse.Namespace(**vars(options))
            resized.source, resized.camera = (
                write_frames(options.source, folder, width, height),
                None,
            )
            ours, peer = [], []
            for _ in range(options.rounds):
                ours.append(measure(resized))
                peer.append(measure_relay(resized))
        overheads = [float(run['overhead_ms']) for run in ours]  # type: ignore[arg-type]
        results.append(
            Result(
                f'node_overhead_{width}x{height}', float(np.median(overheads)),
                float(np.median(peer)), 'ms', 'bare rclpy relay', {'runs': ours, 'relay_ms': peer},
            )
        )  # fmt: skip
    return results


def write_frames(source: Path, folder: str, width: int, height: int) -> Path:
    """Write some of a folder's images in another size."""
    files = sorted(p for p in source.iterdir() if p.suffix.lower() in ('.jpg', '.jpeg', '.png'))
    for path in files[:: max(1, len(files) // FRAMES)][:FRAMES]:
        image = cv2.resize(read_image(path), (width, height), interpolation=cv2.INTER_AREA)
        cv2.imwrite(f'{folder}/{path.stem}.jpg', image[..., ::-1])
    return Path(folder)


def soak(options: argparse.Namespace) -> list[Result]:
    """Feed images at 30 Hz for a long time; a row a minute of ages and memory."""
    rows = []
    with graph(options) as running:
        running.warm_up()
        end, listener = time.monotonic() + options.soak, running.listener
        while (left := end - time.monotonic()) > 1:
            seen = len(listener.ages_ms)
            running.listen(min(60.0, left))
            ages = np.array(listener.ages_ms[seen:])
            shares = np.nanpercentile(ages, [50, 95, 100])
            limit = 2 * listener.timings['inference_ms_max'] + 1000 / options.rate
            rows.append((len(rows) + 1, len(ages), *shares.tolist(), limit, memory(running.node)))
            print(rows[-1], flush=True)
    head = ('minute', 'images', 'age p50 ms', 'p95', 'max', 'limit', 'memory MB')
    print(table(head, rows))
    first, last = rows[0][-1], rows[-1][-1]
    details = {'head': head, 'rows': rows, 'camera_hz': options.rate}
    return [Result('live_soak_memory', last, first, 'MB', 'itself after a minute', details)]


def memory(running: subprocess.Popen[bytes]) -> float:
    """Return the resident memory of a process [MB]."""
    lines = Path(f'/proc/{running.pid}/status').read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith('VmRSS'))


def cpu_seconds(running: subprocess.Popen[bytes]) -> float:
    """Return the processor time of a process, in user and system mode [s]."""
    fields = Path(f'/proc/{running.pid}/stat').read_text().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def numbers(
    reports: list[tuple[int, dict[str, float]]], ages: np.ndarray, rate: float
) -> dict[str, object]:
    """Return what was measured over the same images by the node and from outside.

    Args:
        reports: of the node, each over its latest `WINDOW` images, and how many ages were known.
        ages: of all images since the start, NaN for one without detections [ms].
        rate: of the camera [Hz].
    """
    seen, last = reports[-1]
    start, first = next((r for r in reports if r[0] >= WARM_UP), reports[0])
    count, before = int(last['processed']), int(first['processed'])
    if count > WINDOW:  # what the last report is about; otherwise what came since the first one
        start, first, count, before = seen - WINDOW, last, WINDOW, 0

    def mean(key: str) -> float:
        return (last[key] * count - first[key] * before) / max(1, count - before)

    ages = ages[start:seen]
    overhead = float(np.nanmean(ages)) - mean('inference_ms') - mean('wait_ms')
    ages = ages[~np.isnan(ages)]
    limit = last['inference_ms_max'] + 1000 / rate
    return {
        'images': len(ages),
        'camera_hz': rate,
        'inference_ms': round(mean('inference_ms'), 2),
        'overhead_ms': round(overhead, 2),
        'node_overhead_ms': round(mean('overhead_ms'), 2),
        'wait_ms': round(mean('wait_ms'), 2),
        'age_ms_median': round(float(np.median(ages)), 2),
        'age_ms_p95': round(float(np.percentile(ages, 95)), 2),
        'age_ms_max': round(float(ages.max()), 2),
        'age_limit_ms': round(limit, 2),
        'older_than_limit': int((ages > limit).sum()),
        'dropped': int(last['dropped']),
    }


def main() -> int:
    options = parse()
    if options.relay:
        relay()
        return 0
    if not options.model or not options.source:
        sys.stderr.write('give --model and --source\n')
        return 2
    os.environ.setdefault('GOMP_SPINCOUNT', '1000')  # as detect.launch.py does
    if not options.stock_dds:
        for name in ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'):
            os.environ.setdefault(name, str(PROFILE))
    alone = options.once or options.soak
    options.rate = options.rate or (SOAK_HZ if options.soak else 10.0 if alone else 3.0)
    options.seconds = options.seconds or (20.0 if alone else 4.0 if options.quick else 10.0)
    options.rounds = 1 if options.quick else options.rounds
    rclpy.init()
    try:
        if options.once:
            text = json.dumps(measure(options), indent=2)
            print(text)
            if options.json:
                options.json.write_text(text)
            return 0
        results = soak(options) if options.soak else compare(options)
    except RuntimeError as error:
        sys.stderr.write(f'{error}\n')
        return 1
    finally:
        rclpy.try_shutdown()
    report(results, options.json)
    return 0


if __name__ == '__main__':
    sys.exit(main())
