"""Trained models at work: live, on labelled images, side by side."""

from __future__ import annotations

import warnings
from typing import Literal, get_args

from synth_detect_ros.config.data import RELIABILITY_HELP, Reliability
from synth_detect_ros.config.options import Options
from synth_detect_ros.config.rules import option

Runtime = Literal['auto', 'torch', 'compile', 'openvino', 'onnxruntime']
RUNTIMES = get_args(Runtime)
RUNTIME_HELP = (
    'what runs the network: auto is openvino on a CPU where it is installed, otherwise torch; '
    'openvino and onnxruntime are optional packages; compile takes a minute to start'
)


TRUST_HELP = (
    "SHA-256 of the code of the model's own extractor, extractor.py of the bundle, or a file with "
    'this code; it runs only when it is named here'
)


class DetectConfig(Options):
    """`detect_node`: 2D detections and masks from live images."""

    needed = ('model',)
    model: str = option('', 'bundle: folder of a trained model', path='always')
    trust_code: str = option('', TRUST_HELP, path='if there')
    device: str = option('auto', 'auto, cpu, cuda or cuda:<n>')
    runtime: Runtime = option('auto', RUNTIME_HELP)
    proposals: int = option(
        0, 'proposals that the second stage scores; fewer are faster and may miss objects; 0: as '
        'many as in training, and the only choice for ssd and dense, which have no second stage',
        low=0, high=10000,
    )  # fmt: skip
    score_threshold: float = option(0.5, 'detections below are not published', low=0, high=1)
    compressed: bool = option(False, 'subscribe to sensor_msgs/CompressedImage')
    reliability: Reliability = option('auto', RELIABILITY_HELP)
    bits: int = option(
        0, 'bits of 16-bit images that hold light, 12 say; 0: found from them, and logged',
        low=0, high=16,
    )  # fmt: skip
    publish_json: bool = option(False, 'publish ~/detections_json (std_msgs/String, COCO results)')
    autostart: bool = option(True, 'configure and activate on start')
    threads: int = option(0, 'CPU threads of the network; 0: all cores', low=0, high=512)


# pydantic 1 had a method of this name, which its successor keeps but deprecates.
warnings.filterwarnings('ignore', 'Field name "json"')


class EvaluateConfig(Options):
    """`synth-detect evaluate`: COCO metrics on labelled images."""

    needed = ('model', 'images', 'annotations')
    model: str = option('', 'bundle: folder of a trained model', path='always')
    images: str = option('', 'folder of images', path='always')
    annotations: str = option('', 'COCO file', path='always')
    json: str = option(  # type: ignore[assignment]
        '', 'file for the metrics; empty: none', path='always'
    )
    overlays: str = option(
        '', 'folder for pictures of the worst frames; empty: none', path='always'
    )
    worst: int = option(12, 'pictures of the worst frames', low=0)
    exclude: str = option(
        '', 'ignore annotations in which this field is true, e.g. low_accuracy; empty: none'
    )
    diagnose: bool = option(
        False, 'errors by kind and size, and what mending each kind would gain'
    )
    trust_code: str = option('', TRUST_HELP, path='if there')
    device: str = option('auto', 'auto, cpu, cuda or cuda:<n>')
    runtime: Runtime = option('auto', RUNTIME_HELP)


class QuantizeConfig(Options):
    """`synth-detect quantize`: a bundle whose network computes in 8-bit integers on CPUs."""

    needed = ('model', 'dataset', 'out')
    model: str = option('', 'bundle: folder of a trained model', path='always')
    dataset: str = option(
        '', 'data set that it was trained on: images/ and annotations.json (COCO)', path='always'
    )
    out: str = option('', 'folder of the new bundle', path='always')
    backgrounds: str = option(
        '', 'background set that calibrates too; empty: none',
        path='always',
    )  # fmt: skip
    count: int = option(
        200, 'images of the data set that calibrate, and as many backgrounds at most', low=1
    )
    scored: int = option(
        200, 'other images of the data set, the last ones, on which the loss of accuracy is '
        'measured', low=1,
    )  # fmt: skip
    max_drop: float = option(
        0.01, 'largest loss of AP against float32; nothing is written where it is larger',
        low=0, high=1,
    )  # fmt: skip
    trust_code: str = option('', TRUST_HELP, path='if there')


ExportFormat = Literal['onnx', 'openvino', 'tensorrt']


class ExportModelConfig(Options):
    """`synth-detect export-model`: a model that other programs run without this package."""

    needed = ('model', 'out')
    model: str = option('', 'bundle: folder of a trained model, dense or ssd', path='always')
    out: str = option('', 'folder of the exported model; an older one is replaced', path='always')
    format: ExportFormat = option('onnx', 'what runs it; tensorrt is for the GPU it is built on')
    height: int = option(
        0, 'of the images; 0: of the camera the model was trained for', unit='px', low=0, high=8192
    )
    width: int = option(
        0, 'of the images; 0: of the camera the model was trained for', unit='px', low=0, high=8192
    )
    score_threshold: float = option(
        0.0, 'detections below are left out, as those below the threshold of the bundle are',
        low=0, high=1,
    )  # fmt: skip
    images: str = option(
        '',
        'folder of images of that size, to compare with the bundle; empty: noise',
        path='always',
    )
    count: int = option(8, 'images compared at most', low=1)
    max_unmatched: float = option(
        0.02, 'largest share of detections that only the bundle or only the export finds',
        low=0, high=1,
    )  # fmt: skip
    max_box_px: float = option(
        0.1, 'largest difference of the edges of a box', unit='px', low=0, high=1000
    )
    max_score: float = option(0.002, 'largest difference of a score', low=0, high=1)
    min_mask_iou: float = option(0.99, 'least mean overlap of masks', low=0, high=1)
    trust_code: str = option('', TRUST_HELP, path='if there')


class ExperimentConfig(Options):
    """`synth-detect experiment`: run a grid of trainings and compare them on real images."""

    needed = ('grid', 'setup', 'out')
    grid: str = option(
        '', 'file of the grid, or name of one that comes with the package', path='if there'
    )
    setup: str = option('', 'file with your cameras, objects and real frames', path='always')
    out: str = option('', 'folder of results; grids that share it share their runs', path='always')
    jobs: int = option(1, 'cells side by side; the cores are divided', low=1, high=64)
    cells: str = option(
        '', 'names of cells to run, with semicolons between; empty: all of the grid'
    )
    settings: tuple[str, ...] = option(
        (),
        'for every cell: train.<option>=value, synthesize.<option>=value, budgets.<option>=list',
    )
