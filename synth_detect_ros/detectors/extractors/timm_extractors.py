"""timm's networks by name: with their classifier, or as extractors that run as a whole."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import nn

from synth_detect_ros.config import NetworkConfig
from synth_detect_ros.detectors.extractors.extractor import Extractor
from synth_detect_ros.detectors.extractors.feature_maps import (
    PROBE,
    MapForm,
    form_of,
    map_extractor,
    unknown,
)
from synth_detect_ros.detectors.extractors.weights import UNUSED, Hub, fill
from synth_detect_ros.errors import ConfigError

# Options of networks that otherwise take images of one size only: Swin, and ViT.
ANY_SIZE: tuple[dict[str, Any], ...] = ({'strict_img_size': False}, {'dynamic_img_size': True})


def timm_network(config: NetworkConfig, name: str, load: bool) -> tuple[nn.Module, str]:
    """Return a whole classification network, and where its weights came from.

    Args:
        config: `weights` and `extractor` are read.
        name: of the network in timm.
        load: False leaves the weights random.

    Raises:
        ConfigError: timm is not installed, or does not know the network.
        WeightsError: the weights cannot be had, or do not fit.
    """
    timm = _timm(config)
    net: nn.Module = timm.create_model(name)
    classifier = getattr(net, 'pretrained_cfg', {}).get('classifier') or ()
    names = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    unused = (*UNUSED, *(f'{part}.' for part in names))
    return net, fill(net, config, load, timm_hub(timm, name), unused)


def timm_hub(timm: Any, name: str) -> Hub:
    """Return where timm fetches the weights of a network: Hugging Face, or else an address.

    Args:
        timm: the module.
        name: of the network, with or without the tag of its weights.
    """
    found = timm.get_pretrained_cfg(name)
    url = found.url or None
    if found.hf_hub_id:
        file = found.hf_hub_filename or 'model.safetensors'
        url = f'https://huggingface.co/{found.hf_hub_id}/resolve/main/{file}'

    def fetch() -> dict[str, torch.Tensor]:
        return dict(timm.create_model(name, pretrained=True).state_dict())

    return Hub(f'timm {name}', url, fetch)


def timm_extractor(config: NetworkConfig, load: bool) -> Extractor:
    """Build the extractor timm:<name>.

    Args:
        config: see `build_extractor`.
        load: False leaves the weights random.

    Raises:
        ConfigError: timm is not installed, does not know the network, or it has no maps that
            follow the size of the image.
        WeightsError: the weights cannot be had, or do not fit.
    """
    timm, name = _timm(config), config.extractor.removeprefix('timm:')
    if not timm.is_model(name):
        raise unknown('timm', name, timm.list_models())
    source, weights = config.weights, {}
    options, forms = _fitting(timm, name)
    if load and config.weights != 'none':
        whole, source = timm_network(config, name, load)
        # timm knows which layers of an extractor have which weights of the whole network.
        overlay = {'state_dict': whole.state_dict()}
        weights = {'pretrained': True, 'pretrained_cfg_overlay': overlay}
    net = timm.create_model(name, features_only=True, **options, **weights)
    data: dict[str, Any] = timm.data.resolve_model_data_config(net)
    return map_extractor(config, net, forms, source, data['mean'], data['std'])


def _timm(config: NetworkConfig) -> Any:
    try:
        return importlib.import_module('timm')
    except ImportError as error:
        raise ConfigError(
            f'detector.extractor {config.extractor} needs timm: pip install timm'
        ) from error


def _fitting(timm: Any, name: str) -> tuple[dict[str, Any], list[MapForm | None]]:
    """Return options with which a network takes images of any size, and the form of its maps."""
    errors = []
    for options in ({}, *ANY_SIZE):
        try:
            net = timm.create_model(name, features_only=True, **options).eval()
            with torch.no_grad():
                return options, [form_of(m) for m in net(torch.zeros(1, 3, *PROBE))]
        except Exception as error:  # each network has its own way to refuse options or images
            errors.append(error)
    raise ConfigError(
        f'detector.extractor: wanted maps that follow the size of the image, but timm:{name} '
        f'makes none of one of {PROBE[1]} x {PROBE[0]} px: {errors[0]}. Choose another network.'
    ) from errors[0]
