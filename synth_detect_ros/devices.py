"""The device on which a network computes."""

from __future__ import annotations

import torch

from synth_detect_ros.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """Turn 'auto', 'cpu', 'cuda' or 'cuda:<n>' into a device; 'auto' takes a GPU if there is one.

    Raises:
        ConfigError: an unknown name, or a GPU that is not there.
    """
    if name == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    kind, _, index = name.partition(':')
    if kind not in ('cpu', 'cuda') or (index and not index.isdigit()):
        raise ConfigError(
            f'device: {name!r} is not known. Choose one of auto, cpu, cuda, cuda:<n>.'
        )
    if kind == 'cuda' and int(index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f'device: {name} was asked for, but PyTorch sees {torch.cuda.device_count()} GPUs. '
            'Choose auto or cpu, or install a CUDA build of torch.'
        )
    return torch.device(name)
