"""The detector that a configuration names."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from synth_detect_ros.config import DetectorConfig
from synth_detect_ros.detectors.detector import Detector
from synth_detect_ros.detectors.rcnn import RCNN
from synth_detect_ros.detectors.ssd import SSD

# By architecture.
DETECTORS: dict[str, Callable[..., Detector]] = {
    'faster_rcnn': RCNN,
    'mask_rcnn': RCNN,
    'rfcn': RCNN,
    'ssd': SSD,
}


def build_detector(
    config: DetectorConfig, classes: Sequence[str], *, load_weights: bool = True
) -> Detector:
    """Build a detector.

    Args:
        config: the network.
        classes: class names; label i is classes[i].
        load_weights: False leaves the extractor's weights to the caller.

    Raises:
        ConfigError: the extractor is not known or does not fit.
        WeightsError: its weights are missing or do not fit.
    """
    return DETECTORS[config.architecture](config, classes, load_weights=load_weights)
