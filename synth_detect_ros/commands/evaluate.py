"""Score a trained model on labelled images."""

from argparse import ArgumentParser, Namespace

from synth_detect_ros.commands.flags import add_options
from synth_detect_ros.commands.progress import progress_bar
from synth_detect_ros.config import EvaluateConfig


def add(parser: ArgumentParser) -> None:
    """Declare the arguments of the command."""
    add_options(parser, EvaluateConfig)


def run(args: Namespace) -> None:
    """Score the model, and print the metrics."""
    from synth_detect_ros.evaluation.evaluate import evaluate, metrics_table

    with progress_bar('image') as advance:
        result = evaluate(args.config, advance)
    print(metrics_table(result))
