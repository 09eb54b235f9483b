"""Run a grid of trainings and compare them."""

from argparse import ArgumentParser, Namespace

from synth_detect_ros.commands.flags import add_options
from synth_detect_ros.commands.progress import progress_bar
from synth_detect_ros.config import ExperimentConfig
from synth_detect_ros.errors import SynthDetectError


def add(parser: ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument('grid', metavar='NAME', help='file of a grid, or a shipped one')
    # --set speaks of the cells.
    add_options(parser, ExperimentConfig, ('setup', 'out', 'jobs', 'cells'), sets='settings')
    parser.set_defaults(resumes=True)


def run(args: Namespace) -> None:
    """Run what is not done yet, and write the results."""
    from synth_detect_ros.experiments.experiment import experiment

    with progress_bar('cell') as advance:
        failed = experiment(args.config, advance)
    print(f'results: {args.config.out}')
    if failed:
        raise SynthDetectError(f'{failed} cells failed, see the results')
