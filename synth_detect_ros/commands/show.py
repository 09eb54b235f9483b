"""Picture a data set or background set, or describe a trained model."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path


def add(parser: ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument('folder', type=Path, help='data set, background set or bundle')
    parser.add_argument('--out', type=Path, default=Path('sheet.png'), help='picture; %(default)s')
    parser.add_argument('--count', type=_positive, default=12, help='images on it; %(default)s')


def run(args: Namespace) -> None:
    """Write the picture or print the description."""
    from synth_detect_ros.report.show import show

    print(show(args.folder, args.out, args.count))


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ArgumentTypeError(f'wanted 1 or more, got {value}')
    return value
