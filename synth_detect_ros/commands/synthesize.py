"""Render CAD models over background frames."""

from argparse import ArgumentParser, Namespace

from synth_detect_ros.commands.flags import add_options
from synth_detect_ros.commands.progress import progress_bar
from synth_detect_ros.config import SynthesizeConfig


def add(parser: ArgumentParser) -> None:
    """Declare the arguments of the command."""
    add_options(parser, SynthesizeConfig)
    parser.set_defaults(resumes=True)


def run(args: Namespace) -> None:
    """Render the data set."""
    from synth_detect_ros.dataset.synthesize import synthesize

    with progress_bar('image', rate=False) as advance:
        folder = synthesize(
            args.config, lambda done, total, timing: advance(done, total, timing.summary())
        )
    print(f'data set: {folder}')
