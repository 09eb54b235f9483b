"""A model that detects, whatever it is: a bundle, or an exported model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.inference.exported import ExportedModel, is_exported
from synth_detect_ros.structures import Detections


class Model(Protocol):
    """What `Predictor` and `ExportedModel` have in common; they say what it means."""

    @property
    def classes(self) -> Sequence[str]:
        """Class names; label i is classes[i]."""

    @property
    def has_masks(self) -> bool:
        """Whether detections come with masks."""

    @property
    def architecture(self) -> str:
        """Of the detector."""

    @property
    def device(self) -> object:
        """Where it runs."""

    @property
    def runtime(self) -> str:
        """Who computes."""

    @property
    def timings(self) -> Mapping[str, float]:
        """Duration of the last call's parts [ms]."""

    @property
    def input_size(self) -> tuple[int, int] | None:
        """The only (height, width) of images that it takes [px]; None: it takes any."""

    def keep_proposals(self, count: int) -> None:
        """Pass this many proposals an image to the second stage, where there is one."""

    def detect(
        self, image: NDArray[np.uint8], score_threshold: float = 0.0, *, masks: bool = True
    ) -> Detections:
        """Find the objects in one (H, W, 3) uint8 RGB image."""


def open_model(
    folder: Path,
    device: str = 'auto',
    threads: int = 0,
    runtime: str = 'auto',
    proposals: int = 0,
    trust_code: str = '',
) -> Model:
    """Open a bundle or an exported model; torch is imported for a bundle alone.

    Args:
        folder: of the model.
        device: see `choose_device`.
        threads: of the CPU; 0 takes every core this process may use.
        runtime: see `runtimes.build_runtime`.
        proposals: see `Predictor.keep_proposals`.
        trust_code: see `load_bundle`.

    Raises:
        BundleError: the model is missing, damaged, or its code is not trusted.
        ConfigError: the device or runtime is not there, or cannot run it; or there are no
            proposals to be kept.
    """
    if is_exported(folder):
        model = ExportedModel(folder, device, threads, runtime)
        model.keep_proposals(proposals)
        return model
    from synth_detect_ros.inference.predictor import Predictor  # noqa: PLC0415

    return Predictor(folder, device, threads, runtime, proposals, trust_code)
