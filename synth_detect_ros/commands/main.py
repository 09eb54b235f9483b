"""The command line: `synth-detect <command>`; each command hands over to one library function.

Exit status: 0 done, 1 something is wrong with the input or the machine (one line on stderr says
what), 2 wrong usage, 130 interrupted. Flags are made from the fields of the command's
configuration; nested groups are set with `--set group.key=value` or in a YAML file.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import logging
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from synth_detect_ros.commands.flags import add_options, config_of
from synth_detect_ros.config import (
    DetectConfig,
    EvaluateConfig,
    ExperimentConfig,
    ExportConfig,
    SynthesizeConfig,
    TrainConfig,
)
from synth_detect_ros.config.options import to_yaml
from synth_detect_ros.errors import ConfigError, SynthDetectError

# What `detect` takes from the configuration that it shares with the live node.
DETECT_FLAGS = ('model', 'device', 'score_threshold', 'threads')

# Commands that go on where they were interrupted.
RESUMING = ('synthesize', 'train', 'experiment')

# The libraries are heavy and may be missing: each command imports its own.
# ruff: noqa: PLC0415


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; see the module for the exit status."""
    args = build_parser().parse_args(argv)
    with _logging(args.debug):
        try:
            return int(args.run(args))
        except KeyboardInterrupt:
            again = 'continues' if args.resumes else 'starts again'
            return _fail(f'interrupted; the same command {again}', 130)
        except (SynthDetectError, OSError) as error:
            if args.debug:
                raise
            return _fail(_message(error), 1)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    wide = functools.partial(argparse.HelpFormatter, max_help_position=28)
    parser = argparse.ArgumentParser(
        prog='synth-detect',
        formatter_class=wide,
        description='A 2D detector for your objects and your camera, without labelling one image.',
    )
    commands = parser.add_subparsers(metavar='COMMAND', required=True)

    def add(name: str, run: Callable[[argparse.Namespace], int], text: str) -> Any:
        title = f'{text[0].upper()}{text[1:]}.'
        command = commands.add_parser(name, help=text, description=title, formatter_class=wide)
        command.add_argument('--debug', action='store_true', help='full traceback of an error')
        command.set_defaults(run=run, resumes=name in RESUMING)
        return command

    box = add('model-box', _model_box, 'make a CAD model of a box from photographs of it')
    box.add_argument('box', nargs='?', type=Path, help='box file: size, photographs, corners')
    box.add_argument(
        '--photos', nargs='+', type=Path, metavar='FILE',
        help='in place of a box file: write a page on which to click the corners in these',
    )  # fmt: skip
    box.add_argument('--out', type=Path, required=True, help='folder of the model')
    synthesize = add('synthesize', _synthesize, 'render CAD models over background frames')
    add_options(synthesize, SynthesizeConfig)
    add_options(add('train', _train, 'fit a detector on a synthetic data set'), TrainConfig)
    add_options(
        add('evaluate', _evaluate, 'score a trained model on labelled images'), EvaluateConfig
    )
    detect = add('detect', _detect, 'detect objects in image files')
    detect.add_argument('images', nargs='*', type=Path, help='image files, or folders of them')
    detect.add_argument('--out', type=Path, help='folder of overlays and detections.json')
    add_options(detect, DetectConfig, DETECT_FLAGS)
    show = add('show', _show, 'picture a data set or background set, or describe a trained model')
    show.add_argument('folder', type=Path, help='data set, background set or bundle')
    show.add_argument('--out', type=Path, default=Path('sheet.png'), help='picture; %(default)s')
    show.add_argument('--count', type=_positive, default=12, help='images on it; %(default)s')
    export = add('export', _export, 'write a data set in the format of YOLO or BOP')
    add_options(export, ExportConfig)
    experiment = add('experiment', _experiment, 'run a grid of trainings and compare them')
    experiment.add_argument('grid', metavar='NAME', help='file of a grid, or a shipped one')
    add_options(experiment, ExperimentConfig, ('setup', 'out', 'jobs', 'cells'))
    add('doctor', _doctor, 'check this machine and say what to do')
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f'wanted 1 or more, got {value}')
    return value


def _run_or_print(args: argparse.Namespace, run: Callable[[Any], None]) -> int:
    config = config_of(args)
    if args.print_config:
        print(to_yaml(config), end='')
    else:
        run(config)
    return 0


def _model_box(args: argparse.Namespace) -> int:
    if bool(args.box) == bool(args.photos):
        raise ConfigError('model-box needs either a box file, or --photos to write one from')
    if args.photos:
        from synth_detect_ros.modelling.corner_page import write_corner_page

        page = write_corner_page(args.photos, args.out)
        print(f'open {page} in a browser, click the corners and save the box file beside it')
        return 0
    from synth_detect_ros.modelling.model_box import model_box

    for name, face in model_box(args.box, args.out).items():
        height, width = face.image.shape[:2]
        print(f'{name:<8}{width:>5} x {height} px  {face.source}')
    print(f'model: {args.out}')
    return 0


def _synthesize(args: argparse.Namespace) -> int:
    def run(config: SynthesizeConfig) -> None:
        from synth_detect_ros.dataset.synthesize import synthesize

        with _bar('image') as advance:
            folder = synthesize(
                config, lambda done, total, timing: advance(done, total, timing.summary())
            )
        print(f'data set: {folder}')

    return _run_or_print(args, run)


def _train(args: argparse.Namespace) -> int:
    if args.config is None:
        from synth_detect_ros.config.presets import preset_for
        from synth_detect_ros.devices import choose_device

        args.config = preset_for(choose_device(getattr(args, 'device', 'auto')).type)

    def run(config: TrainConfig) -> None:
        from synth_detect_ros.training.train import Progress, train

        def report(progress: Progress) -> None:
            total = round(progress.step / progress.share(config))  # a time limit may come first
            advance(progress.step, total, f'loss {progress.losses["loss"]:.3f}')

        with _bar('step') as advance:
            bundle = train(config, report)
        print(f'trained model: {bundle}')

    return _run_or_print(args, run)


def _evaluate(args: argparse.Namespace) -> int:
    def run(config: EvaluateConfig) -> None:
        from synth_detect_ros.evaluation.evaluate import evaluate, metrics_table

        with _bar('image') as advance:
            result = evaluate(config, advance)
        print(metrics_table(result))

    return _run_or_print(args, run)


def _detect(args: argparse.Namespace) -> int:
    def run(config: DetectConfig) -> None:
        config.require('model', images=args.images, out=args.out)
        from synth_detect_ros.inference.detect_files import annotate
        from synth_detect_ros.inference.predictor import Predictor

        predictor = Predictor(
            Path(config.model), config.device, config.threads, config.runtime, config.proposals
        )
        with _bar('image') as advance:
            path = annotate(predictor, args.images, args.out, config.score_threshold, advance)
        print(f'detections: {path}')

    return _run_or_print(args, run)


def _show(args: argparse.Namespace) -> int:
    from synth_detect_ros.report.show import show

    print(show(args.folder, args.out, args.count))
    return 0


def _export(args: argparse.Namespace) -> int:
    def run(config: ExportConfig) -> None:
        from synth_detect_ros.dataset.export import export

        print(f'exported: {export(config)}')

    return _run_or_print(args, run)


def _experiment(args: argparse.Namespace) -> int:
    from synth_detect_ros.experiments.experiment import experiment

    args.settings, args.overrides = args.overrides, []  # --set speaks of the cells
    config = config_of(args)
    if args.print_config:
        print(to_yaml(config), end='')
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the cells are told, and save
    with _bar('cell') as advance:
        failed = experiment(config, advance)
    print(f'results: {config.out}')
    return _fail(f'{failed} cells failed, see the results', 1) if failed else 0


def _doctor(args: argparse.Namespace) -> int:
    from synth_detect_ros.commands.doctor import examine

    findings = list(examine())
    for finding in findings:
        print(finding)
    return int(any(finding.needed and not finding.good for finding in findings))


@contextlib.contextmanager
def _bar(unit: str) -> Iterator[Callable[..., None]]:
    """Show a progress bar on stderr; yields a function of (done, total, text behind the bar)."""
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    bars: list[Any] = []

    def advance(done: int, total: int, text: str = '') -> None:
        if not bars:  # what an interrupted run did before does not count for the rate
            pause = 0.1 if sys.stderr.isatty() else 10  # [s]; a log file needs few lines
            bars.append(tqdm(total=total, initial=done - 1, unit=unit, mininterval=pause))
        bars[0].total = total
        bars[0].set_postfix_str(text, refresh=False)
        bars[0].update(done - bars[0].n)

    with logging_redirect_tqdm([logging.getLogger('synth_detect_ros')]):
        try:
            yield advance
        finally:
            for bar in bars:
                bar.close()


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
