"""Make a CAD model of a box from photographs of it."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from synth_detect_ros.errors import ConfigError


def add(parser: ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument('box', nargs='?', type=Path, help='box file: size, photographs, corners')
    parser.add_argument(
        '--photos', nargs='+', type=Path, metavar='FILE',
        help='in place of a box file: write a page on which to click the corners in these',
    )  # fmt: skip
    parser.add_argument('--out', type=Path, required=True, help='folder of the model')


def run(args: Namespace) -> None:
    """Write the model, or the page that helps to write a box file."""
    if bool(args.box) == bool(args.photos):
        raise ConfigError('model-box needs either a box file, or --photos to write one from')
    if args.photos:
        from synth_detect_ros.report.corner_page import write_corner_page

        page = write_corner_page(args.photos, args.out)
        print(f'open {page} in a browser, click the corners and save the box file beside it')
        return
    from synth_detect_ros.modelling.model_box import model_box

    for name, face in model_box(args.box, args.out).items():
        height, width = face.image.shape[:2]
        print(f'{name:<8}{width:>5} x {height} px  {face.source}')
    print(f'model: {args.out}')
