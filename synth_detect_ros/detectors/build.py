"""The detector that a configuration names."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from synth_detect_ros.config import DetectorConfig
from synth_detect_ros.detectors.detector import Detector
from synth_detect_ros.detectors.extractors.own_code import OwnCode
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
    config: DetectorConfig,
    classes: Sequence[str],
    *,
    load_weights: bool = True,
    own_code: OwnCode | None = None,
) -> Detector:
    """Build a detector.

    Args:
        config: the network.
        classes: class names; label i is classes[i].
        load_weights: False leaves the extractor's weights to the caller.
        own_code: builds the extractor in place of the file that `config` names.

    Raises:
        ConfigError: the extractor is not known or does not fit.
        WeightsError: its weights are missing or do not fit.
    """
    kind = DETECTORS[config.architecture]
    return kind(config, classes, load_weights=load_weights, own_code=own_code)
