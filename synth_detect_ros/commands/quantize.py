"""Write a bundle whose network computes in 8-bit integers on CPUs."""

from argparse import ArgumentParser, Namespace

from synth_detect_ros.commands.flags import add_options
from synth_detect_ros.config import QuantizeConfig


def add(parser: ArgumentParser) -> None:
    """Declare the arguments of the command."""
    add_options(parser, QuantizeConfig)


def run(args: Namespace) -> None:
    """Quantise the model."""
    from synth_detect_ros.deployment.quantize import quantize

    print(f'bundle: {quantize(args.config)}')
