"""Extractors from networks that can only be run as a whole: maps of several strides, one stage."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from synth_detect_ros.config import NetworkConfig
from synth_detect_ros.detectors.extractors.extractor import Extractor, neck_strides
from synth_detect_ros.detectors.extractors.freezing import Stage
from synth_detect_ros.detectors.extractors.own_code import OwnCode
from synth_detect_ros.errors import ConfigError

# (height, width) of the image that unknown networks are tried with: no two sides that are halved
# some times are equal, so a map's size tells its stride and where its channels are.
PROBE = (64, 96)
STRIDES = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class MapForm:
    """Form of a feature map.

    Attributes:
        channels: how many.
        stride: pixels of the image a cell [px].
        channels_last: (B, H, W, C) in place of (B, C, H, W).
    """

    channels: int
    stride: int
    channels_last: bool = False


def form_of(value: Any) -> MapForm | None:
    """Return the form of what a network made of a `PROBE`, or None if that is not a map of it."""
    if not isinstance(value, torch.Tensor) or value.ndim != 4:
        return None
    for stride in STRIDES:
        size = (PROBE[0] // stride, PROBE[1] // stride)
        if value.shape[2:] == size:
            return MapForm(value.shape[1], stride)
        if value.shape[1:3] == size:
            return MapForm(value.shape[3], stride, channels_last=True)
    return None


class PickedMaps(nn.Module):
    """Makes the output of any network a list of (B, C, H, W) maps and picks some of them.

    Args:
        net: images -> a map, or a sequence or mapping of maps.
        picks: index of each map that is returned, and whether its channels are last.
    """

    def __init__(self, net: nn.Module, picks: Sequence[tuple[int, bool]]) -> None:
        super().__init__()
        self.net = net
        self.picks = tuple(picks)

    def extra_repr(self) -> str:
        """Tell which maps are picked: the key of cached features holds it."""
        return f'picks={self.picks}'

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the picked maps of (B, 3, H, W) images."""
        out = self.net(x)
        if isinstance(out, dict):
            out = out.values()
        maps = [out] if isinstance(out, torch.Tensor) else list(out)
        return [maps[i].permute(0, 3, 1, 2) if last else maps[i] for i, last in self.picks]


def map_extractor(
    config: NetworkConfig,
    net: nn.Module,
    forms: Sequence[MapForm | None],
    source: str,
    mean: Sequence[float],
    std: Sequence[float],
    own_code: OwnCode | None = None,
) -> Extractor:
    """Make an extractor of a network that can only be run as a whole.

    Args:
        config: `adapters` and what `neck_strides` needs are read.
        net: see `PickedMaps`.
        forms: of its maps; None for one that is not used.
        source: where the weights came from.
        mean: of the RGB channels the weights were trained with, image in [0, 1].
        std: likewise.
        own_code: that built `net`.

    Raises:
        ConfigError: its maps do not fit the neck.
    """
    if config.adapters:
        raise ConfigError(f'detector.adapters: not for {config.extractor}, which runs as a whole')
    # The last map of each stride.
    last = {form.stride: (i, form) for i, form in enumerate(forms) if form is not None}
    chosen = [last[stride] for stride in neck_strides(config, sorted(last))]
    picks = [(i, form.channels_last) for i, form in chosen]
    return Extractor(
        first_stage=Stage(PickedMaps(net, picks), config.weights != 'none'),
        channels=tuple(form.channels for _, form in chosen),
        strides=tuple(form.stride for _, form in chosen),
        second_stage=None,
        second_channels=0,
        mean=tuple(mean),
        std=tuple(std),
        source=source,
        own_code=own_code,
    )


def unknown(hub: str, name: str, names: Sequence[str]) -> ConfigError:
    """Return the error that lists those names of a hub that are like one it does not know."""
    near = difflib.get_close_matches(name, names, 8, 0.4)
    return ConfigError(
        f'detector.extractor: {hub} has no model {name!r}. '
        + (f'Near it: {", ".join(near)}' if near else f'It has {", ".join(names)}')
    )
