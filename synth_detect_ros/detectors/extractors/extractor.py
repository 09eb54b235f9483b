"""What a detector must know of a pre-trained feature extractor."""

from __future__ import annotations

from dataclasses import dataclass

from synth_detect_ros.detectors.extractors.freezing import Stage

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
    """

    first_stage: Stage
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    second_stage: Stage | None
    second_channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str

    @property
    def stages(self) -> dict[str, Stage]:
        """The stages by the names that the freeze dial uses."""
        stages = {'first_stage': self.first_stage}
        if self.second_stage is not None:
            stages['second_stage'] = self.second_stage
        return stages
