"""Time an ultralytics network with random weights; run by the interpreter that has ultralytics.

    python bench/ultralytics_peer.py --network yolo11n --runtime openvino --height 480 --width 640

Architecture only: what it finds means nothing, what it takes does. Prints JSON. Reads a line
before each turn and answers with a line, so that turns can alternate with another process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time


def in_openvino(network, image, threads):
    """Return a function that computes a network as `yolo export format=openvino` would have it."""
    import openvino  # noqa: PLC0415

    network.model[-1].export, network.model[-1].format = True, 'openvino'
    network(image)
    model = openvino.convert_model(network, example_input=image)
    hints = {
        'PERFORMANCE_HINT': 'LATENCY',
        'INFERENCE_NUM_THREADS': threads,
        'INFERENCE_PRECISION_HINT': 'f32',
    }
    request = openvino.Core().compile_model(model, 'CPU', hints).create_infer_request()
    return lambda x: request.infer([x.numpy()], share_inputs=True, share_outputs=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--network', default='yolo11n', help='name of its YAML')
    parser.add_argument('--runtime', choices=['torch', 'openvino'], default='torch')
    parser.add_argument('--height', type=int, default=480)
    parser.add_argument('--width', type=int, default=640)
    parser.add_argument('--images', type=int, default=8, help='of a turn')
    parser.add_argument('--threads', type=int, default=0, help='0: as torch decides')
    options = parser.parse_args()
    import torch  # noqa: PLC0415 - after --help
    from ultralytics import YOLO  # noqa: PLC0415
    from ultralytics import __version__ as version  # noqa: PLC0415

    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    network = YOLO(f'{options.network}.yaml').model.eval().fuse()
    image = torch.rand(1, 3, options.height, options.width)
    with torch.inference_mode():
        if options.runtime == 'openvino':
            network = in_openvino(network, image, options.threads)
        network(image)
        for _ in sys.stdin:
            times = []
            for _ in range(options.images):
                start = time.perf_counter()
                network(image)
                times.append(time.perf_counter() - start)
            answer = {'seconds': statistics.median(times), 'version': version}
            print(json.dumps(answer), flush=True)


if __name__ == '__main__':
    main()
