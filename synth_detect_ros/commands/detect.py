"""Detect objects in image files."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from synth_detect_ros.commands.flags import add_options
from synth_detect_ros.commands.progress import progress_bar
from synth_detect_ros.config import DetectConfig

# What the command takes from the configuration that it shares with the live node.
FLAGS = ('model', 'trust_code', 'device', 'score_threshold', 'threads')


def add(parser: ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument(
        'images', nargs='*', type=Path, help='needed: image files, or folders of them'
    )
    parser.add_argument('--out', type=Path, help='needed: folder of overlays and detections.json')
    add_options(parser, DetectConfig, FLAGS)


def run(args: Namespace) -> None:
    """Write the detections and pictures of them."""
    config: DetectConfig = args.config
    config.require(images=args.images, out=args.out)
    from synth_detect_ros.inference.detect_files import detect_files
    from synth_detect_ros.inference.model import open_model

    model = open_model(
        Path(config.model), config.device, config.threads, config.runtime, config.proposals,
        config.trust_code,
    )  # fmt: skip
    with progress_bar('image') as advance:
        path = detect_files(model, args.images, args.out, config.score_threshold, advance)
    print(f'detections: {path}')
