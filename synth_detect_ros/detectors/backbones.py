"""Pre-trained feature extractors behind one contract: torchvision's, timm's or a user's own.

An `Extractor` is a first stage that turns an image into feature maps and, where the network has
one, a second stage that a C4 detector runs on each proposal. Weights come from the hub of
torchvision or timm, or from a local file, which is checked against the architecture.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torchvision
from torch import nn

from synth_detect_ros.config import DetectorConfig
from synth_detect_ros.detectors.adapters import add_adapters
from synth_detect_ros.detectors.freezing import Stage
from synth_detect_ros.detectors.strides import dilate
from synth_detect_ros.detectors.trunk import Trunk
from synth_detect_ros.detectors.weights import fill, no_download
from synth_detect_ros.errors import ConfigError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
RESNETS = ('resnet18', 'resnet34', 'resnet50', 'resnet101', 'resnet152')
# Last layers of MobileNetV2 at strides 4, 8, 16 and 32 (Sandler et al. 2018, table 2).
MOBILENET_V2_TAPS = (3, 6, 13, 18)
# Of the last map before the second stage, without dilation.
C4_STRIDE = 16


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


class _Maps(nn.Module):
    """Makes any extractor's output a list of maps and picks some of them."""

    def __init__(self, net: nn.Module, picks: Sequence[int]) -> None:
        super().__init__()
        self.net = net
        self.picks = tuple(picks)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the picked maps of (B, 3, H, W) images."""
        out = self.net(x)
        maps = [out] if isinstance(out, torch.Tensor) else list(out)
        return [maps[i] for i in self.picks]


def build_extractor(config: DetectorConfig, *, load: bool = True) -> Extractor:
    """Build the extractor that a configuration names, with its weights.

    Args:
        config: `backbone`, `weights`, `neck`, `c4_stride` and `fpn_finest_stride` are read.
        load: False leaves the weights to the caller, who has all of them in a bundle.

    Returns:
        The extractor, nothing frozen yet.

    Raises:
        ConfigError: the name is not known, or the network does not fit the neck.
        WeightsError: weights are missing or do not fit the architecture.
    """
    name = config.backbone
    if name in RESNETS:
        return _resnet(config, load)
    if name == 'mobilenet_v2':
        return _mobilenet_v2(config, load)
    if name.startswith('timm:'):
        return _timm(config, load)
    if ':' in name:
        return _own(config, load)
    raise ConfigError(
        f'detector.backbone: {name!r} is not known. Choose one of {", ".join(RESNETS)}, '
        'mobilenet_v2, timm:<name>, or <file.py|module>:<function>.'
    )


def _resnet(config: DetectorConfig, load: bool) -> Extractor:
    net = getattr(torchvision.models, config.backbone)()
    source = fill(net, config, load, lambda: _hub_weights(config.backbone))
    stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
    blocks = [stem, net.layer1, net.layer2, net.layer3, net.layer4]
    return _from_chain(config, blocks, (1, 2, 3, 4), source)


def _mobilenet_v2(config: DetectorConfig, load: bool) -> Extractor:
    net = torchvision.models.mobilenet_v2()
    source = fill(net, config, load, lambda: _hub_weights('mobilenet_v2'))
    return _from_chain(config, list(net.features), MOBILENET_V2_TAPS, source)


def _from_chain(
    config: DetectorConfig, blocks: list[nn.Module], taps: tuple[int, int, int, int], source: str
) -> Extractor:
    """Cut a chain of blocks with taps at strides 4, 8, 16 and 32 as the neck wants it."""
    pretrained = config.weights != 'none'
    strides: tuple[int, ...] = (4, 8, 16, 32)
    ends = dict(zip(strides, taps, strict=True))
    if config.neck == 'c4':
        cut = ends[C4_STRIDE]
        if config.c4_stride < C4_STRIDE:
            dilate(blocks[ends[config.c4_stride] + 1 : cut + 1])
        trunk, second = Trunk(blocks, (cut,), ends), nn.Sequential(*blocks[cut + 1 :])
        strides = (config.c4_stride,)
    else:
        keep = strides.index(config.fpn_finest_stride)
        trunk, second = Trunk(blocks, taps[keep:], ends), None
        strides = strides[keep:]
    if config.adapters:
        add_adapters(trunk, config.backbone)
    channels, second_channels = _probe(trunk, second)
    return Extractor(
        first_stage=Stage(trunk, pretrained),
        channels=channels,
        strides=strides,
        second_stage=None if second is None else Stage(second, pretrained),
        second_channels=second_channels,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        source=source,
    )


@torch.no_grad()
def _probe(first: nn.Module, second: nn.Module | None) -> tuple[tuple[int, ...], int]:
    """Return the channels of each map and of the second stage, found with a small image."""
    maps = first.eval()(torch.zeros(1, 3, 64, 64))
    last = 0 if second is None else second.eval()(maps[-1]).shape[1]
    return tuple(m.shape[1] for m in maps), last


def _timm(config: DetectorConfig, load: bool) -> Extractor:
    try:
        import timm  # noqa: PLC0415 - optional
    except ImportError as error:
        raise ConfigError(
            f'detector.backbone {config.backbone} needs timm: pip install timm'
        ) from error
    name = config.backbone.removeprefix('timm:')
    if not timm.is_model(name):
        near = ', '.join(timm.list_models(f'*{name[:6]}*')[:8]) or 'see timm.list_models()'
        raise ConfigError(f'detector.backbone: timm has no model {name!r}. Near it: {near}')
    hub = config.weights == 'default' and load
    try:
        net = timm.create_model(name, features_only=True, pretrained=hub)
    except Exception as error:  # timm lets the errors of three hubs through
        raise no_download(config, error) from error
    source = f'timm {name}' if hub else fill(net, config, load, lambda: {})
    info: Any = net.feature_info
    strides = tuple(info.reduction())
    resolve: Any = timm.data.config.resolve_model_data_config
    data: dict[str, Any] = resolve(net)
    channels = tuple(info.channels())
    return _from_maps(config, net, channels, strides, source, data['mean'], data['std'])


def _own(config: DetectorConfig, load: bool) -> Extractor:
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
    source = config.backbone if own else fill(net, config, load, lambda: {})
    mean, std = getattr(net, 'mean', IMAGENET_MEAN), getattr(net, 'std', IMAGENET_STD)
    return _from_maps(config, net, channels, strides, source, mean, std)


def _from_maps(
    config: DetectorConfig,
    net: nn.Module,
    channels: tuple[int, ...],
    strides: tuple[int, ...],
    source: str,
    mean: Sequence[float],
    std: Sequence[float],
) -> Extractor:
    """Extractor of a network that can only be run as a whole: it has no second stage."""
    if config.adapters:
        raise ConfigError(f'detector.adapters: not for {config.backbone}, which runs as a whole')
    if config.neck == 'c4':
        picks = [i for i, s in enumerate(strides) if s <= config.c4_stride][-1:]
    else:
        picks = [i for i, s in enumerate(strides) if s >= config.fpn_finest_stride]
    if not picks or (config.neck == 'fpn' and len(picks) < 2):
        raise ConfigError(
            f'detector.neck: {config.neck} does not fit {config.backbone}, whose maps have '
            f'strides {list(strides)}; a pyramid needs two maps of '
            f'{config.fpn_finest_stride} or more, c4 one of at most {config.c4_stride}'
        )
    return Extractor(
        first_stage=Stage(_Maps(net, picks), config.weights != 'none'),
        channels=tuple(channels[i] for i in picks),
        strides=tuple(strides[i] for i in picks),
        second_stage=None,
        second_channels=0,
        mean=tuple(mean),
        std=tuple(std),
        source=source,
    )


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


def _hub_weights(name: str) -> dict[str, torch.Tensor]:
    weights = torchvision.models.get_model_weights(name)['DEFAULT']
    return dict(weights.get_state_dict(progress=False))
