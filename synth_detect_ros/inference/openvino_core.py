"""OpenVINO's core, and models compiled for the CPU by it; torch is not needed here."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any


@cache
def openvino_core() -> Any:
    """Return OpenVINO's core, the same one for the life of the process.

    Each core gives the thread that first uses it a stack for signal handlers, and takes it back
    with the core. Where two are dropped in the order in which they were made, the stack of the
    first, which is gone, becomes the thread's again, and the next signal ends the process
    (seen with OpenVINO 2026.4; sigaltstack(2)).
    """
    openvino: Any = importlib.import_module('openvino')
    return openvino.Core()


def compile_for_cpu(model: Any, threads: int) -> Any:
    """Return an infer request of a model that computes one image as early as can be.

    Args:
        model: of OpenVINO, or the path of its .xml file.
        threads: of the CPU.
    """
    hints = {
        'PERFORMANCE_HINT': 'LATENCY',
        'INFERENCE_NUM_THREADS': threads,
        # Pinned threads of two processes would share the first cores and leave others idle.
        'ENABLE_CPU_PINNING': False,
        # Not bfloat16, which OpenVINO would take on CPUs that have it.
        'INFERENCE_PRECISION_HINT': 'f32',
    }
    return openvino_core().compile_model(model, 'CPU', hints).create_infer_request()
