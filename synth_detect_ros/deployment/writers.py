"""Files of an exported model, by format: how they are made.

ONNX comes from PyTorch's exporter of traced graphs, OpenVINO's files from its own conversion, a
TensorRT engine from the ONNX file, as in NVIDIA's documentation of the Python API.
"""

from __future__ import annotations

import errno
import importlib
import importlib.util
import io
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from synth_detect_ros.deployment.graph import DetectionGraph
from synth_detect_ros.errors import ConfigError, StorageError
from synth_detect_ros.files import write_atomic
from synth_detect_ros.inference.exported import ENGINE, ONNX, OPENVINO

PACKAGES = {
    'onnx': ('onnx', 'onnxruntime'),
    'openvino': ('openvino',),
    'tensorrt': ('onnx', 'onnxruntime', 'tensorrt'),
}
# The first one with all that is used here, half-pixel RoiAlign among it, has 16.
OPSET = 18
# The group of our facts in an OpenVINO file.
GROUP = 'synth_detect_ros'


def check_packages(format: str) -> None:
    """Refuse a format whose packages are not installed.

    Raises:
        ConfigError: it names them.
    """
    missing = [p for p in PACKAGES[format] if importlib.util.find_spec(p) is None]
    if missing:
        others = [name for name in PACKAGES if name != format]
        raise ConfigError(
            f'format: {format} needs packages that are not installed: pip install '
            f'{" ".join(missing)}; or choose {" or ".join(others)}'
        )


@torch.no_grad()
def write_model(
    format: str, graph: DetectionGraph, example: torch.Tensor, facts: Mapping[str, Any], out: Path
) -> None:
    """Write the files of a format.

    Args:
        format: see `exported.FILES`.
        graph: what is exported.
        example: (1, H, W, 3) uint8 image to trace with.
        facts: metadata; what is no text becomes JSON.
        out: folder, which is there.

    Raises:
        ConfigError: a package cannot export this network.
        StorageError: the files cannot be written.
    """
    graph(example)  # what is computed once for a size is a constant of the trace
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in facts.items()}
    WRITERS[format](graph, example, texts, out)


def _exported(format: str, convert: Callable[[], Any]) -> Any:
    """Return what a conversion returns.

    Raises:
        ConfigError: it failed; the network may hold any layer.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of torch, about tracing
            return convert()
    except Exception as error:
        raise ConfigError(
            f'format: {format} cannot hold this network at this size: {error}'
        ) from error


def _write_onnx(
    graph: DetectionGraph, example: torch.Tensor, texts: Mapping[str, str], out: Path
) -> None:
    write_atomic(out / ONNX, _exported('onnx', lambda: _onnx(graph, example, texts)))


def _onnx(graph: DetectionGraph, example: torch.Tensor, texts: Mapping[str, str]) -> bytes:
    onnx: Any = importlib.import_module('onnx')
    file: Any = io.BytesIO()
    torch.onnx.export(
        graph, (example,), file, dynamo=False, opset_version=OPSET, input_names=['image'],
        output_names=list(graph.names),
        dynamic_axes={name: {0: 'detections'} for name in graph.names},
    )  # fmt: skip
    model = onnx.load_model_from_string(file.getvalue())
    onnx.helper.set_model_props(model, dict(texts))
    return bytes(model.SerializeToString())


def _write_openvino(
    graph: DetectionGraph, example: torch.Tensor, texts: Mapping[str, str], out: Path
) -> None:
    openvino: Any = importlib.import_module('openvino')
    model = _exported(
        'openvino',
        lambda: openvino.convert_model(graph, example_input=example, input=list(example.shape)),
    )
    for output, name in zip(model.outputs, graph.names, strict=True):
        output.get_tensor().set_names({name})
    for key, text in texts.items():
        model.set_rt_info(text, [GROUP, key])
    try:
        openvino.save_model(model, out / OPENVINO, compress_to_fp16=False)
    except RuntimeError as error:
        raise StorageError(errno.EIO, f'{out / OPENVINO} cannot be written ({error})') from error


def _write_tensorrt(
    graph: DetectionGraph, example: torch.Tensor, texts: Mapping[str, str], out: Path
) -> None:
    _write_onnx(graph, example, texts, out)
    write_atomic(out / ENGINE, build_engine((out / ONNX).read_bytes()))


def build_engine(model: bytes) -> bytes:
    """Return the engine of an ONNX model, for the GPU of this machine; TensorRT 10 or later.

    Source: docs.nvidia.com/deeplearning/tensorrt, Python API, "The Build Phase".

    Raises:
        ConfigError: TensorRT cannot read the model, or build an engine of it.
    """
    tensorrt: Any = importlib.import_module('tensorrt')
    logger = tensorrt.Logger(tensorrt.Logger.WARNING)
    builder = tensorrt.Builder(logger)
    network = builder.create_network(0)
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse(model):
        errors = '; '.join(str(parser.get_error(i)) for i in range(parser.num_errors))
        raise ConfigError(f'format: tensorrt {tensorrt.__version__} cannot read it: {errors}')
    engine = builder.build_serialized_network(network, builder.create_builder_config())
    if engine is None:
        raise ConfigError(
            f'format: tensorrt {tensorrt.__version__} built no engine; its own messages say why'
        )
    return bytes(engine)


WRITERS: dict[str, Callable[[DetectionGraph, torch.Tensor, Mapping[str, str], Path], None]] = {
    'onnx': _write_onnx,
    'openvino': _write_openvino,
    'tensorrt': _write_tensorrt,
}
