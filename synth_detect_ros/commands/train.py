"""Fit a detector on a synthetic data set."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from synth_detect_ros.commands.flags import add_options
from synth_detect_ros.commands.progress import progress_bar
from synth_detect_ros.config import TrainConfig
from synth_detect_ros.config.presets import preset_for


def add(parser: ArgumentParser) -> None:
    """Declare the arguments of the command."""
    add_options(parser, TrainConfig, preset=_preset)
    parser.set_defaults(resumes=True)


def run(args: Namespace) -> None:
    """Train, and write the bundle."""
    from synth_detect_ros.training.checkpoint import Progress
    from synth_detect_ros.training.train import train

    def report(progress: Progress) -> None:
        total = round(progress.step / progress.share(args.config))  # a time limit may come first
        advance(progress.step, total, f'loss {progress.losses["loss"]:.3f}')

    with progress_bar('step') as advance:
        bundle = train(args.config, report)
    print(f'trained model: {bundle}')


def _preset(args: Namespace) -> Path:
    """Return the preset that suits the device."""
    from synth_detect_ros.devices import choose_device

    return preset_for(choose_device(getattr(args, 'device', 'auto')).type)
