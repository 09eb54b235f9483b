"""Write a data set in the format of YOLO or BOP."""

from argparse import ArgumentParser, Namespace

from synth_detect_ros.commands.flags import add_options
from synth_detect_ros.config import ExportConfig


def add(parser: ArgumentParser) -> None:
    """Declare the arguments of the command."""
    add_options(parser, ExportConfig)


def run(args: Namespace) -> None:
    """Write the data set anew."""
    from synth_detect_ros.dataset.export import export

    print(f'exported: {export(args.config)}')
