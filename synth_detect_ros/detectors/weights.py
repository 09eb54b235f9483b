"""Weights of extractors: from a hub or a local file, checked against the architecture."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from synth_detect_ros.config import DetectorConfig
from synth_detect_ros.errors import WeightsError

# Parts of a classification network that a detector does not use, and counters.
UNUSED = ('fc.', 'classifier.', 'head.', 'num_batches_tracked')


def fill(
    net: nn.Module,
    config: DetectorConfig,
    load: bool,
    download: Callable[[], dict[str, torch.Tensor]],
) -> str:
    """Put the weights that a configuration names into a network.

    Args:
        net: the whole classification network.
        config: `weights` and `backbone` are read.
        load: False leaves the weights as they are.
        download: fetches the state dict of the hub.

    Returns:
        Where the weights came from, with a hash for a file.

    Raises:
        WeightsError: no network, no such file, or another architecture's weights.
    """
    if config.weights == 'none' or not load:
        return config.weights
    if config.weights == 'default':
        try:
            state = download()
        except OSError as error:
            raise no_download(config, error) from error
        net.load_state_dict(state)
        return f'torchvision {config.backbone}'
    path = Path(config.weights)
    _load_checked(net, read_weights(path), path)
    return f'{path.name} sha256:{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}'


def no_download(config: DetectorConfig, error: Exception) -> WeightsError:
    """Return the error that says what to do on a machine without network."""
    return WeightsError(
        f'the weights of {config.backbone} cannot be downloaded ({error}). Fetch the file on a '
        'machine with network and give it as detector.weights: FILE (.safetensors or .pth).'
    )


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
        raise WeightsError(f'{path}: not a readable weight file: {error}') from error
    state = state.get('state_dict', state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise WeightsError(f'{path}: wanted a state dict of tensors')
    return state


def _load_checked(net: nn.Module, state: dict[str, torch.Tensor], path: Path) -> None:
    own = net.state_dict()
    used = [key for key in own if not any(part in key for part in UNUSED)]
    missing = [key for key in used if key not in state]
    wrong = [key for key in used if key in state and state[key].shape != own[key].shape]
    if missing or wrong:
        raise WeightsError(
            f'{path} does not fit the architecture: {len(missing)} of {len(used)} tensors are '
            f'missing (first: {(missing or ["-"])[0]}), {len(wrong)} have another shape (first: '
            f'{(wrong or ["-"])[0]}). Is detector.backbone the network these weights belong to?'
        )
    fitting = {k: v for k, v in state.items() if k in own and v.shape == own[k].shape}
    net.load_state_dict(fitting, strict=False)
