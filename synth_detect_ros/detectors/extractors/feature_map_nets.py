"""Extractors that run as a whole: maps of several strides, and no second stage."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from synth_detect_ros.config import DetectorConfig
from synth_detect_ros.detectors.extractors.extractor import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    SSD_STRIDES,
    Extractor,
)
from synth_detect_ros.detectors.extractors.freezing import Stage
from synth_detect_ros.detectors.extractors.weights import fill
from synth_detect_ros.errors import ConfigError

# (height, width) of the image that unknown networks are tried with: no two sides that are halved
# some times are equal, so a map's size tells its stride and where its channels are.
PROBE = (64, 96)
STRIDES = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Layout:
    """Form of a map.

    Attributes:
        channels: how many.
        stride: pixels of the image a cell [px].
        channels_last: (B, H, W, C) in place of (B, C, H, W).
    """

    channels: int
    stride: int
    channels_last: bool = False


def layout_of(value: Any) -> Layout | None:
    """Return the form of what a network made of a `PROBE`, or None if that is not a map of it."""
    if not isinstance(value, torch.Tensor) or value.ndim != 4:
        return None
    for stride in STRIDES:
        size = (PROBE[0] // stride, PROBE[1] // stride)
        if value.shape[2:] == size:
            return Layout(value.shape[1], stride)
        if value.shape[1:3] == size:
            return Layout(value.shape[3], stride, channels_last=True)
    return None


class Maps(nn.Module):
    """Makes any extractor's output a list of (B, C, H, W) maps and picks some of them.

    Args:
        net: images -> a map, or a sequence or mapping of maps.
        picks: indices of maps, in the order in which they are returned.
        channels_last: of each pick.
    """

    def __init__(
        self, net: nn.Module, picks: Sequence[int], channels_last: Sequence[bool]
    ) -> None:
        super().__init__()
        self.net = net
        self.picks = tuple(zip(picks, channels_last, strict=True))

    def extra_repr(self) -> str:
        """Tell which maps are picked: the key of kept features holds it."""
        return f'picks={self.picks}'

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the picked maps of (B, 3, H, W) images."""
        out = self.net(x)
        if isinstance(out, dict):
            out = out.values()
        maps = [out] if isinstance(out, torch.Tensor) else list(out)
        return [maps[i].permute(0, 3, 1, 2) if last else maps[i] for i, last in self.picks]


def from_maps(
    config: DetectorConfig,
    net: nn.Module,
    layouts: Sequence[Layout | None],
    source: str,
    mean: Sequence[float],
    std: Sequence[float],
) -> Extractor:
    """Make an extractor of a network that can only be run as a whole.

    Args:
        config: `neck`, `c4_stride`, `fpn_finest_stride` and `adapters` are read.
        net: see `Maps`.
        layouts: of its maps; None for one that is not used.
        source: where the weights came from.
        mean: of the RGB channels the weights were trained with, image in [0, 1].
        std: likewise.

    Raises:
        ConfigError: its maps do not fit the neck.
    """
    if config.adapters:
        raise ConfigError(f'detector.adapters: not for {config.backbone}, which runs as a whole')
    # The last map of each stride.
    last = {layout.stride: i for i, layout in enumerate(layouts) if layout is not None}
    chosen = _choose(config, sorted(last))
    picks = [last[s] for s in chosen]
    forms = [layout for i in picks if (layout := layouts[i]) is not None]
    return Extractor(
        first_stage=Stage(
            Maps(net, picks, [f.channels_last for f in forms]), config.weights != 'none'
        ),
        channels=tuple(f.channels for f in forms),
        strides=tuple(f.stride for f in forms),
        second_stage=None,
        second_channels=0,
        mean=tuple(mean),
        std=tuple(std),
        source=source,
    )


def _choose(config: DetectorConfig, strides: Sequence[int]) -> list[int]:
    """Return the strides of the maps that the neck takes, of those that a network has."""
    if config.neck == 'c4':
        chosen = [s for s in strides if s <= config.c4_stride][-1:]
    elif config.neck == 'extra':
        chosen = [s for s in SSD_STRIDES if s in strides and SSD_STRIDES[0] in strides]
    else:
        chosen = [s for s in strides if s >= config.fpn_finest_stride]
    if len(chosen) < (2 if config.neck == 'fpn' else 1):
        raise ConfigError(
            f'detector.neck: {config.neck} does not fit {config.backbone}, whose maps have '
            f'strides {list(strides)}; a pyramid needs two maps of '
            f'{config.fpn_finest_stride} or more, c4 one of at most {config.c4_stride}, extra one '
            f'of {SSD_STRIDES[0]}'
        )
    return chosen


def unknown(hub: str, name: str, names: Sequence[str]) -> ConfigError:
    """Return the error that lists those names of a hub that are like one it does not know."""
    near = difflib.get_close_matches(name, names, 8, 0.4)
    return ConfigError(
        f'detector.backbone: {hub} has no model {name!r}. '
        + (f'Near it: {", ".join(near)}' if near else f'It has {", ".join(names)}')
    )


def own_extractor(config: DetectorConfig, load: bool) -> Extractor:
    """Build the extractor that a function of the user's returns.

    Args:
        config: `backbone` is '<file.py|module>:<function>'.
        load: False leaves the weights as the function made them.

    Raises:
        ConfigError: there is no such function, or it returns something else.
        WeightsError: a weight file does not fit.
    """
    place, _, function = config.backbone.rpartition(':')
    build = getattr(_import(place), function, None)
    if not callable(build):
        raise ConfigError(f'detector.backbone: {place} has no function {function!r}')
    net = build()
    channels, strides = (_as_tuple(getattr(net, key, None)) for key in ('out_channels', 'stride'))
    if not isinstance(net, nn.Module) or not channels or len(channels) != len(strides):
        raise ConfigError(
            f'detector.backbone: {config.backbone} must return a torch Module with the attributes '
            'out_channels and stride, one whole number for each map it puts out'
        )
    own = config.weights in ('default', 'none')
    source = config.backbone if own else fill(net, config, load)
    mean, std = getattr(net, 'mean', IMAGENET_MEAN), getattr(net, 'std', IMAGENET_STD)
    layouts = [Layout(c, s) for c, s in zip(channels, strides, strict=True)]
    return from_maps(config, net, layouts, source, mean, std)


def _as_tuple(value: Any) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,)
    return tuple(value) if isinstance(value, list | tuple) else ()


def _import(place: str) -> ModuleType:
    """Import a module by name, or a Python file by path."""
    try:
        if not place.endswith('.py'):
            return importlib.import_module(place)
        path = Path(place).expanduser().resolve()
        if not path.is_file():
            raise ConfigError(f'detector.backbone: {path}: no such file')
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
    except ImportError as error:
        raise ConfigError(f'detector.backbone: {place} cannot be imported: {error}') from error
    return module
