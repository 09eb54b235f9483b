"""The command line: `synth-detect <verb>`.

Each verb is a module of this folder: its docstring is the help, `add` declares its arguments,
`run` calls one library function and prints. Exit status: 0 done, 1 something is wrong with the
input or the machine (one line on stderr says what), 2 wrong usage, 130 interrupted: by
Ctrl-C, SIGTERM (`kill`, a service manager, a container that stops) or a terminal that is closed.
"""

import argparse
import contextlib
import functools
import logging
import sys
from collections.abc import Iterator, Sequence

from synth_detect_ros.commands import (
    detect,
    doctor,
    evaluate,
    experiment,
    export,
    export_model,
    model_box,
    quantize,
    show,
    synthesize,
    train,
)
from synth_detect_ros.commands.flags import config_of
from synth_detect_ros.compute.interrupts import ending_like_ctrl_c, follow_starter
from synth_detect_ros.config.options import to_yaml
from synth_detect_ros.errors import SynthDetectError

VERBS = (
    model_box,
    synthesize,
    train,
    evaluate,
    detect,
    show,
    quantize,
    export,
    export_model,
    experiment,
    doctor,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; see the module for the exit status."""
    args = build_parser().parse_args(argv)
    with _logging(args.debug), ending_like_ctrl_c():
        try:
            follow_starter()
            return _run(args)
        except KeyboardInterrupt:
            again = 'continues' if args.resumes else 'starts again'
            return _fail(f'interrupted; the same command {again}', 130)
        except (SynthDetectError, OSError) as error:
            if args.debug:
                raise
            return _fail(_message(error), 1)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all verbs."""
    wide = functools.partial(argparse.HelpFormatter, max_help_position=28)
    parser = argparse.ArgumentParser(
        prog='synth-detect',
        formatter_class=wide,
        description='A 2D detector for your objects and your camera, without labelling one image.',
    )
    commands = parser.add_subparsers(metavar='COMMAND', required=True)
    for verb in VERBS:
        name = verb.__name__.rpartition('.')[2].replace('_', '-')
        title = str(verb.__doc__).partition('\n')[0]
        text = f'{title[0].lower()}{title[1:].rstrip(".")}'
        command = commands.add_parser(name, help=text, description=title, formatter_class=wide)
        command.add_argument('--debug', action='store_true', help='full traceback of an error')
        command.set_defaults(run=verb.run, resumes=False)
        verb.add(command)
    return parser


def _run(args: argparse.Namespace) -> int:
    """Run a verb; `args.config` is its configuration, where it has one."""
    if 'cls' in args:
        args.config = config_of(args)
        if args.print_config:
            print(to_yaml(args.config), end='')
            return 0
    return int(args.run(args) or 0)


@contextlib.contextmanager
def _logging(debug: bool) -> Iterator[None]:
    """Send the log of the package to stderr while a command runs."""
    logger, handler = logging.getLogger('synth_detect_ros'), logging.StreamHandler()
    handler.setFormatter(logging.Formatter('%(message)s'))
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.DEBUG if debug else logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _message(error: Exception) -> str:
    """Return what went wrong in one line."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f'{error.filename}: {error.strerror}' if error.filename else error.strerror
    if 'Original Traceback' in text:  # how PyTorch passes on an error of a loader process
        text = text.rpartition('Error: ')[2]
    return ' '.join(text.split())


def _fail(text: str, status: int) -> int:
    print(f'synth-detect: error: {text}', file=sys.stderr)
    return status


if __name__ == '__main__':
    sys.exit(main())
