"""What a detector must know of a pre-trained feature extractor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from synth_detect_ros.config import DenseConfig, NetworkConfig, RCNNConfig, RFCNConfig
from synth_detect_ros.detectors.extractors.freezing import Stage
from synth_detect_ros.detectors.extractors.own_code import OwnCode
from synth_detect_ros.errors import ConfigError

# Of the last map before the second stage, without dilation [px].
C4_STRIDE = 16
# Of the maps in front of SSD's extra ones; the second one where there is such a map [px].
SSD_STRIDES = (16, 32)


@dataclass(frozen=True, eq=False)
class Extractor:
    """A feature extractor and what the detector must know of it.

    Attributes:
        first_stage: (B, 3, H, W) normalised images -> list of (B, C_i, H / s_i, W / s_i) maps.
        channels: C_i of each map.
        strides: s_i of each map [px], ascending.
        second_stage: (R, C, h, w) crops of the last map -> (R, C', h', w'), or None.
        second_channels: C' of the second stage; 0 without one.
        mean: of the RGB channels the weights were trained with, image in [0, 1].
        std: likewise.
        source: where the weights came from.
        own_code: of the user's that built it; None for the extractors of the package.
    """

    first_stage: Stage
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    second_stage: Stage | None
    second_channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str
    own_code: OwnCode | None = None

    @property
    def stages(self) -> dict[str, Stage]:
        """The stages by the names that the freeze dial uses."""
        stages = {'first_stage': self.first_stage}
        if self.second_stage is not None:
            stages['second_stage'] = self.second_stage
        return stages


def neck_strides(config: NetworkConfig, strides: Sequence[int]) -> list[int]:
    """Return the strides of the maps that the neck takes [px].

    Args:
        config: the network.
        strides: of the maps that the extractor has, ascending [px].

    Raises:
        ConfigError: there are none, or too few for a pyramid.
    """
    least = 1
    if isinstance(config, RCNNConfig) and config.neck == 'fpn':
        chosen, least = [s for s in strides if s >= config.fpn_finest_stride], 2
        wanted = f'a pyramid needs two maps of {config.fpn_finest_stride} or more'
    elif isinstance(config, RCNNConfig | RFCNConfig):
        chosen = [s for s in strides if s <= config.c4_stride][-1:]
        wanted = f'c4 needs a map of at most {config.c4_stride}'
    elif isinstance(config, DenseConfig):
        chosen, least = [s for s in strides if s >= config.finest_stride], 2
        wanted = f'a pyramid needs two maps of {config.finest_stride} or more'
    else:
        chosen = [s for s in SSD_STRIDES if s in strides and SSD_STRIDES[0] in strides]
        wanted = f'extra needs one of {SSD_STRIDES[0]}'
    if len(chosen) < least:
        raise ConfigError(
            f'detector.neck: {config.neck} does not fit {config.extractor}, whose maps have '
            f'strides {list(strides)}; {wanted}'
        )
    return chosen
