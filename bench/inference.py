"""Measure detection against torchvision eager.

    python bench/inference.py --model run/bundle --source real/cookie_box/images --json FILE

The peer is the same network with the same weights and proposals, assembled from torchvision's
`GeneralizedRCNN`, as it is: float32, NCHW, batch norm as a layer. Turns alternate in one run.
Parity is measured on the same frames: for each confident detection of one side the best of the
other.
Without `--model` the network of the preset fast_cpu gets random heads; its parity means little.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
import torch
import yaml
from report import Result, report, table
from torch import nn
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.ops import MultiScaleRoIAlign

from synth_detect_ros.bundle import load_bundle, save_bundle
from synth_detect_ros.config import RUNTIMES, TrainConfig
from synth_detect_ros.config.options import read_config
from synth_detect_ros.config.presets import preset_path
from synth_detect_ros.detectors.detector import to_tensor
from synth_detect_ros.detectors.rcnn import RCNN
from synth_detect_ros.errors import ConfigError
from synth_detect_ros.files import read_image
from synth_detect_ros.geometry.boxes import iou
from synth_detect_ros.inference.predictor import Predictor
from synth_detect_ros.structures import Detections

NAME = 'infer_mobilenet_v2_640x480'
SIZE = (640, 480)
SIZES = ((320, 240), (640, 480), (1280, 1024))
PROPOSALS = (300, 200, 100, 50)
FRAMES = 12
# Detections below are not compared: what hardly passes the threshold may not on the other side.
CONFIDENT = 0.1
Detect = Callable[[np.ndarray], Detections]


class PlainBody(nn.Module):
    """The blocks and the pyramid of a detector, nothing done for speed."""

    def __init__(self, detector: RCNN) -> None:
        super().__init__()
        chain = detector.neck.first_stage.module
        self.blocks, self.taps, self.pyramid = chain.blocks, chain.taps, detector.neck.pyramid

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the pyramid's maps."""
        maps = {}
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.taps:
                maps[str(len(maps))] = x
        return self.pyramid(maps)


def torchvision_eager(bundle: Path) -> Detect:
    """Return the peer: torchvision's own assembly, with its own RoIAlign."""
    detector, _ = load_bundle(bundle)
    pool = detector.roi_heads.box_roi_pool
    own = MultiScaleRoIAlign(pool.featmap_names, pool.output_size, pool.sampling_ratio)
    detector.roi_heads.box_roi_pool = own
    body = PlainBody(detector)
    network = GeneralizedRCNN(body, detector.rpn, detector.roi_heads, detector.transform).eval()
    network = network.to(memory_format=torch.contiguous_format)

    @torch.inference_mode()
    def detect(image: np.ndarray) -> Detections:
        found = network([to_tensor(image, torch.device('cpu'))])[0]
        return Detections(
            found['labels'].numpy() - 1, found['scores'].numpy().astype(float),
            found['boxes'].numpy().astype(float),
        )  # fmt: skip

    return detect


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--model', type=Path, help='trained bundle; default: random heads')
    parser.add_argument('--weights', default='none', help='of the extractor without --model')
    parser.add_argument('--source', type=Path, help='folder of images; default: noise')
    parser.add_argument('--rounds', type=int, default=6, help='turns of each side')
    parser.add_argument('--threads', type=int, default=0, help='0: all cores')
    parser.add_argument(
        '--runtimes', nargs='*', default=['auto', 'torch', 'openvino', 'onnxruntime']
    )
    parser.add_argument('--tables', action='store_true', help='latency by resolution, proposals')
    parser.add_argument('--quick', action='store_true', help='short run: does it work?')
    parser.add_argument('--json', type=Path, help='file for the results')
    options = parser.parse_args()
    unknown = set(options.runtimes) - set(RUNTIMES)
    if unknown:
        parser.error(f'unknown runtimes {sorted(unknown)}; choose from {RUNTIMES}')
    return options


def frames(source: Path | None, size: tuple[int, int]) -> list[np.ndarray]:
    """Return some images of a folder in one size."""
    if source is None:
        return list(np.random.default_rng(0).integers(0, 256, (3, size[1], size[0], 3), np.uint8))
    files = sorted(p for p in source.iterdir() if p.suffix.lower() in ('.jpg', '.jpeg', '.png'))
    files = files[:: max(1, len(files) // FRAMES)][:FRAMES]
    return [cv2.resize(read_image(file), size, interpolation=cv2.INTER_AREA) for file in files]


def scratch_bundle(folder: Path, weights: str) -> Path:
    """Save the preset fast_cpu's network with random heads."""
    settings = [f'detector.weights={json.dumps(weights)}']
    config = read_config(TrainConfig, preset_path('fast_cpu'), settings)
    torch.manual_seed(0)
    return save_bundle(folder / 'bundle', RCNN(config.detector, ['object']), {})


def in_turns(sides: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Return the median of what each side's turns return."""
    turns: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, turn in sides.items():
            turns[name].append(turn())
    return {name: float(np.median(values)) for name, values in turns.items()}


def turn(detect: Detect, images: list[np.ndarray]) -> Callable[[], float]:
    """Return a function that takes the median time of an image [s]."""

    def run() -> float:
        times = []
        for image in images:
            start = time.perf_counter()
            detect(image)
            times.append(time.perf_counter() - start)
        return float(np.median(times))

    return run


def parity(ours: Detect, peer: Detect, images: list[np.ndarray]) -> dict[str, float]:
    """Return the least IoU and the largest difference of scores of matching detections."""
    overlaps, differences = [1.0], [0.0]
    for image in images:
        a, b = ours(image), peer(image)
        for one, other in ((a, b), (b, a)):
            for label, score, box in zip(one.labels, one.scores, one.boxes, strict=True):
                if score < CONFIDENT:
                    continue
                same = other.labels == label
                match = iou(box[None], other.boxes[same])[0]
                overlaps.append(float(match.max(initial=0)))
                if len(match):
                    differences.append(abs(float(score - other.scores[same][match.argmax()])))
    return {
        'detections': (len(overlaps) - 1) / 2, 'least_iou': round(min(overlaps), 5),
        'largest_score_difference': round(max(differences), 6),
    }  # fmt: skip


def predictors(bundle: Path, options: argparse.Namespace) -> dict[str, Predictor]:
    """Return a predictor for each runtime; say which are not there."""
    found = {}
    for name in options.runtimes:
        try:
            found[name] = Predictor(bundle, 'cpu', options.threads, name)
        except ConfigError as error:
            print(f'skipped: {error}')
    return found


def compare(bundle: Path, options: argparse.Namespace) -> list[Result]:
    """Return a row for each runtime, and the figure of the default one first."""
    images = frames(options.source, SIZE)
    found, peer = predictors(bundle, options), torchvision_eager(bundle)
    sides: dict[str, Detect] = {'peer': peer} | {k: p.detect for k, p in found.items()}
    for detect in sides.values():
        detect(images[0])
    shown = images[:2] if options.quick else images[:5]
    seconds = in_turns({k: turn(d, shown) for k, d in sides.items()}, options.rounds)
    results = []
    for name, predictor in found.items():
        details = {
            'runtime': predictor.runtime, 'ms': 1e3 * seconds[name],
            'peer_ms': 1e3 * seconds['peer'], 'threads': torch.get_num_threads(),
            'parity': parity(predictor.detect, peer, images), 'last_timings': predictor.timings,
        }  # fmt: skip
        print(name, details)
        label = NAME if name == 'auto' else f'{NAME}_{name}'
        results.append(
            Result(label, 1 / seconds[name], 1 / seconds['peer'], 'images/s',
                   'torchvision eager, same network', details)
        )  # fmt: skip
    return results


def turns_with(
    command: list[str], ours: Callable[[], float], rounds: int
) -> tuple[dict[str, float], str]:
    """Alternate with a process that answers each line with a line; return medians and version."""
    pipes = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE, 'text': True, 'bufsize': 1}
    with subprocess.Popen(command, **pipes) as running:  # type: ignore[call-overload]
        answer: dict[str, object] = {}

        def theirs() -> float:
            running.stdin.write('go\n')
            for line in running.stdout:
                if line.startswith('{'):
                    answer.update(json.loads(line))
                    return float(answer['seconds'])
            raise ConfigError('it ended without an answer')

        return in_turns({'ours': ours, 'peer': theirs}, rounds), str(answer['version'])


def print_tables(bundle: Path, options: argparse.Namespace) -> None:
    """Print latency by resolution and by proposals; whether fewer proposals change anything."""
    rows = []
    for size in SIZES:
        images = frames(options.source, size)[:4]
        with tempfile.TemporaryDirectory() as folder:
            own = scaled(bundle, Path(folder), min(size))
            ours, peer = Predictor(own, 'cpu', options.threads), torchvision_eager(own)
            sides = {'ours': turn(ours.detect, images), 'peer': turn(peer, images)}
            ms = {k: 1e3 * v for k, v in in_turns(sides, max(2, options.rounds // 2)).items()}
        rows.append((f'{size[0]}x{size[1]}', ms['ours'], ms['peer'], ms['peer'] / ms['ours']))
    print(table(('network sees', 'ours ms', 'torchvision ms', 'ratio'), rows))
    images, predictor, rows = frames(options.source, SIZE), Predictor(bundle, 'cpu'), []
    full = Predictor(bundle, 'cpu', options.threads)
    for count in PROPOSALS:
        predictor.keep_proposals(count)
        seconds = in_turns({'': turn(predictor.detect, images[:4])}, 3)['']
        same = parity(predictor.detect, full.detect, images)
        rows.append((count, 1e3 * seconds, same['least_iou'], same['largest_score_difference']))
    print(table(('proposals', 'ms', 'least IoU', 'score difference'), rows))


def scaled(bundle: Path, folder: Path, min_side: int) -> Path:
    """Copy a bundle for a network that sees images of another size."""
    copy = folder / 'bundle'
    copy.mkdir()
    (copy / 'weights.safetensors').symlink_to(bundle.resolve() / 'weights.safetensors')
    info = yaml.safe_load((bundle / 'model.yaml').read_text())
    info['detector'] |= {'min_side': min_side, 'max_side': 2 * min_side}
    (copy / 'model.yaml').write_text(yaml.safe_dump(info))
    return copy


def main() -> int:
    options = parse()
    options.rounds = 2 if options.quick else options.rounds
    torch.set_num_threads(options.threads or len(os.sched_getaffinity(0)))
    with ExitStack() as stack:
        bundle = options.model
        if bundle is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            bundle = scratch_bundle(Path(folder), options.weights)
        results = compare(bundle, options)
        if options.tables:
            print_tables(bundle, options)
    report(results, options.json)
    return 0


if __name__ == '__main__':
    sys.exit(main())
