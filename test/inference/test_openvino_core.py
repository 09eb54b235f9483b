"""How models are compiled for the CPU."""

import numpy as np
import pytest

from synth_detect_ros.inference.openvino_core import compile_for_cpu

openvino = pytest.importorskip('openvino')


def test_threads_are_as_many_as_asked_for_and_free_to_go_where_there_is_room():
    ops = openvino.opset13
    x = ops.parameter([1, 8], np.float32)
    request = compile_for_cpu(openvino.Model([ops.relu(x)], [x], 'm'), 1)
    compiled = request.get_compiled_model()
    assert compiled.get_property('INFERENCE_NUM_THREADS') == 1
    # Pinned, those of two nodes would share one core: 18 ms an image alone, 40 ms side by side.
    assert not compiled.get_property('ENABLE_CPU_PINNING')
