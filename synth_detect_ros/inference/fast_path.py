"""The fast path of a detector: what its `detect` finds in one image, in a fraction of the time.

A runtime computes the dense part of the network, see `runtimes`; the rest is torch. What differs
between detectors of two stages and of one is in `two_stage` and `one_stage`.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import nn

from synth_detect_ros.detectors.detector import Found
from synth_detect_ros.errors import ConfigError
from synth_detect_ros.inference.runtimes import build_runtime

logger = logging.getLogger(__name__)

Size = tuple[int, int]
RawT = TypeVar('RawT')


class FastPath(ABC, Generic[RawT]):
    """From the network's input to what is found in it.

    Args:
        dense: the part of the network that a runtime computes.
        device: where its weights are.
        runtime: who computes it, see `runtimes.build_runtime`.
        threads: of the CPU.
        int8: the dense part in 8-bit integers, where there is one.

    Attributes:
        dense: as given.
        runtime: the one that was chosen.

    Raises:
        ConfigError: the runtime is not installed or cannot run the network.
    """

    def __init__(
        self,
        dense: nn.Module,
        device: torch.device,
        runtime: str,
        threads: int,
        int8: Path | None = None,
    ) -> None:
        self.dense = dense
        self.runtime, self._run = build_runtime(runtime, dense, device, threads, int8)
        if int8 is not None and self.runtime == 'openvino':
            self.runtime = 'openvino int8'
        elif int8 is not None:
            logger.warning(
                'The model has a network in 8-bit integers, which runs in OpenVINO alone; %s '
                'computes in float32. For the other: pip install openvino, device cpu, runtime '
                'auto or openvino.', self.runtime,
            )  # fmt: skip

    def keep_proposals(self, count: int) -> None:
        """Pass this many proposals an image to the second stage; 0: as many as in training.

        Raises:
            ConfigError: there is no second stage to pass them to.
        """
        if count:
            raise ConfigError(
                f'proposals: {count} was asked for, but this detector has one stage and no '
                'proposals. Set proposals: 0.'
            )

    @abstractmethod
    def network(self, image: torch.Tensor, size: Size) -> RawT:
        """Return the raw outputs for a (1, 3, H, W) image; `size` is that before padding."""

    @abstractmethod
    def results(self, raw: RawT, size: Size, score_threshold: float, *, masks: bool) -> Found:
        """Return what is found with this score or more; `size` as in `network`."""
