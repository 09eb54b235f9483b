"""Write a trained model of one stage for ONNX Runtime, OpenVINO or TensorRT."""

from argparse import ArgumentParser, Namespace

from synth_detect_ros.commands.flags import add_options
from synth_detect_ros.config import ExportModelConfig


def add(parser: ArgumentParser) -> None:
    """Declare the arguments of the command."""
    add_options(parser, ExportModelConfig)


def run(args: Namespace) -> None:
    """Write the model, and print how it compares with the bundle."""
    from synth_detect_ros.deployment.export_model import export_model

    parity = export_model(args.config)
    print(f'exported model: {args.config.out}\n{parity}')
