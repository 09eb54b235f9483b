"""Who computes the dense part of a detector, from the image to raw scores and box codes.

torch with batch norm folded in always works; torch.compile needs a C++ compiler, OpenVINO and ONNX
Runtime are optional packages. All give the same numbers up to rounding in float32.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from synth_detect_ros.errors import ConfigError
from synth_detect_ros.inference.openvino_core import compile_for_cpu, openvino_core

logger = logging.getLogger(__name__)

Runtime = Callable[[torch.Tensor], Sequence[torch.Tensor]]
PACKAGES = {'openvino': ('openvino',), 'onnxruntime': ('onnx', 'onnxruntime')}
# An image to trace with; what is made of it takes any size.
EXAMPLE = (1, 3, 96, 128)


def build_runtime(
    name: str, dense: nn.Module, device: torch.device, threads: int, int8: Path | None = None
) -> tuple[str, Runtime]:
    """Return who computes the dense part, by name, and the function.

    Args:
        name: of `MAKERS`, or 'auto': OpenVINO on a CPU if it can run the network, else torch.
        dense: what is computed: a (1, 3, H, W) normalised image in, some tensors out.
        device: of the network's weights; only torch and compile know GPUs.
        threads: of the CPU.
        int8: the dense part in 8-bit integers, which OpenVINO takes in its place.

    Raises:
        ConfigError: the package is not installed, or cannot run this network on this device.
    """
    makers = dict(MAKERS)
    if int8 is not None:
        makers['openvino'] = partial(_openvino_int8, int8)
    if name == 'auto':
        if device.type == 'cpu' and not _missing('openvino'):
            try:
                return 'openvino', makers['openvino'](dense, threads)
            except Exception as error:  # the network may hold any layer
                logger.warning('OpenVINO cannot run this network, torch does: %s', error)
        return 'torch', dense
    if name in PACKAGES and device.type != 'cpu':
        raise ConfigError(
            f'runtime: {name} runs on the CPU here, but the device is {device}. Choose auto, '
            'torch or compile, or device: cpu.'
        )
    if missing := _missing(name):
        raise ConfigError(
            f'runtime: {name} is not installed: pip install {" ".join(missing)}; or choose auto'
        )
    try:
        return name, makers[name](dense, threads)
    except Exception as error:  # each of them has many kinds
        raise ConfigError(
            f'runtime: {name} cannot run this network: {error}. Choose auto or torch.'
        ) from error


def _missing(name: str) -> list[str]:
    """Return the packages that a runtime needs and that are not installed."""
    return [p for p in PACKAGES.get(name, ()) if importlib.util.find_spec(p) is None]


@torch.inference_mode()
def _compile(dense: nn.Module, _: int) -> Runtime:
    """Compile; on a GPU with CUDA graphs, whose outputs live until the next call."""
    on_gpu = next(dense.parameters()).is_cuda
    compiled: Any = torch.compile(dense, mode='reduce-overhead' if on_gpu else None)
    compiled(torch.zeros(EXAMPLE, device=next(dense.parameters()).device))
    return cast(Runtime, compiled)


@torch.no_grad()
def openvino_model(dense: nn.Module) -> Any:
    """Return the dense part as a model of OpenVINO, for images of any size."""
    openvino: Any = importlib.import_module('openvino')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of torch, about tracing
        return openvino.convert_model(dense, example_input=torch.zeros(EXAMPLE))


def _openvino(dense: nn.Module, threads: int) -> Runtime:
    return _compiled_openvino(openvino_model(dense), threads)


def _openvino_int8(file: Path, _: nn.Module, threads: int) -> Runtime:
    return _compiled_openvino(openvino_core().read_model(file), threads)


def _compiled_openvino(model: Any, threads: int) -> Runtime:
    request = compile_for_cpu(model, threads)

    def run(image: torch.Tensor) -> list[torch.Tensor]:
        found = request.infer([image.contiguous().numpy()], share_inputs=True, share_outputs=True)
        return [torch.from_numpy(found[i]) for i in range(len(found))]

    run(torch.zeros(EXAMPLE))
    return run


@torch.no_grad()
def _onnxruntime(dense: nn.Module, threads: int) -> Runtime:
    onnxruntime: Any = importlib.import_module('onnxruntime')

    file: Any = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of torch, about tracing
        torch.onnx.export(
            dense, (torch.zeros(EXAMPLE),), file, dynamo=False, opset_version=18,
            input_names=['image'], dynamic_axes={'image': {2: 'height', 3: 'width'}},
        )  # fmt: skip
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        file.getvalue(), options, providers=['CPUExecutionProvider']
    )

    def run(image: torch.Tensor) -> list[torch.Tensor]:
        found = session.run(None, {'image': image.contiguous().numpy()})
        return [torch.from_numpy(array) for array in found]

    run(torch.zeros(EXAMPLE))
    return run


MAKERS: dict[str, Callable[[nn.Module, int], Runtime]] = {
    'torch': lambda dense, _: dense,
    'compile': _compile,
    'openvino': _openvino,
    'onnxruntime': _onnxruntime,
}
