"""Measure the preset dense_cpu, image to detections, beside the network of YOLO11n alone.

    python bench/fast.py --model run/bundle --source real/cookie_box/images --peers-python PYTHON

The peer is what people deploy on CPUs: ultralytics' YOLO11n at 640x480 in OpenVINO, float32,
without its pre- and postprocessing. Its weights are random: what it finds means nothing, what it
takes does. Turns alternate in one run. Without `--model` our heads are random as well.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import torch
from inference import SIZE, frames, turn, turns_with
from report import Result, report

from synth_detect_ros.bundle import save_bundle
from synth_detect_ros.config import TrainConfig
from synth_detect_ros.config.options import read_config
from synth_detect_ros.config.presets import preset_path
from synth_detect_ros.detectors.build import build_detector
from synth_detect_ros.errors import ConfigError
from synth_detect_ros.inference.predictor import Predictor

NAME, PEER = 'infer_fast_640x480', 'yolo11n'


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--model', type=Path, help='trained bundle; default: random heads')
    parser.add_argument('--weights', default='none', help='of the extractor without --model')
    parser.add_argument('--source', type=Path, help='folder of images; default: noise')
    parser.add_argument('--rounds', type=int, default=10, help='turns of each side')
    parser.add_argument('--threads', type=int, default=0, help='0: all cores')
    parser.add_argument('--peers-python', help='interpreter that has ultralytics')
    parser.add_argument('--quick', action='store_true', help='short run: does it work?')
    parser.add_argument('--json', type=Path, help='file for the results')
    return parser.parse_args()


def scratch_bundle(folder: Path, weights: str) -> Path:
    """Save the network of the preset with random heads."""
    settings = [f'detector.weights={json.dumps(weights)}']
    config = read_config(TrainConfig, preset_path('dense_cpu'), settings)
    torch.manual_seed(0)
    return save_bundle(folder / 'bundle', build_detector(config.detector, ['object']), {})


def compare(bundle: Path, options: argparse.Namespace) -> list[Result]:
    """Return the row; none, with a reason, where the peer cannot be run."""
    if not options.peers_python:
        print('skipped: YOLO11n; --peers-python PATH names an interpreter that has ultralytics')
        return []
    threads = options.threads or len(os.sched_getaffinity(0))
    script = Path(__file__).with_name('ultralytics_peer.py')
    command = [options.peers_python, str(script), '--network', PEER, '--runtime', 'openvino']
    command += ['--width', str(SIZE[0]), '--height', str(SIZE[1]), '--threads', str(threads)]
    images = frames(options.source, SIZE)[:5]
    predictor = Predictor(bundle, 'cpu', threads)
    predictor.detect(images[0])
    rounds = 2 if options.quick else options.rounds
    try:
        seconds, version = turns_with(command, turn(predictor.detect, images), rounds)
    except (ConfigError, OSError) as error:
        print(f'skipped: {options.peers_python} cannot run ultralytics: {error}')
        return []
    details = {
        'runtime': predictor.runtime, 'ms': 1e3 * seconds['ours'],
        'peer_ms': 1e3 * seconds['peer'], 'threads': threads, 'parts_ms': predictor.timings,
    }  # fmt: skip
    print(details)
    peer = f'{PEER}, OpenVINO float32, network alone, ultralytics {version}'
    return [Result(NAME, 1 / seconds['ours'], 1 / seconds['peer'], 'images/s', peer, details)]


def main() -> int:
    options = parse()
    with ExitStack() as stack:
        bundle = options.model
        if bundle is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            bundle = scratch_bundle(Path(folder), options.weights)
        report(compare(bundle, options), options.json)
    return 0


if __name__ == '__main__':
    sys.exit(main())
