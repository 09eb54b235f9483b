"""Pre-trained feature extractors behind one contract: torchvision's, timm's or a user's own.

An `Extractor` is a first stage that turns an image into feature maps and, where the network is a
chain that can be cut, a second stage that a C4 detector runs on each proposal. Chains are those of
`CHAINS`, under names of their own. Weights come from the hub of torchvision or timm, or from a
local file, which is checked against the architecture.
"""

from __future__ import annotations

from synth_detect_ros.config import NetworkConfig
from synth_detect_ros.detectors.extractors.chain_extractors import CHAINS, chain_extractor
from synth_detect_ros.detectors.extractors.extractor import Extractor
from synth_detect_ros.detectors.extractors.own_code import OwnCode
from synth_detect_ros.detectors.extractors.own_extractors import own_extractor
from synth_detect_ros.detectors.extractors.timm_extractors import timm_extractor
from synth_detect_ros.detectors.extractors.torchvision_extractors import torchvision_extractor
from synth_detect_ros.errors import ConfigError

HUBS = ('torchvision:', 'timm:')


def is_own(name: str) -> bool:
    """Return whether an extractor of this name is built by code of the user's."""
    return ':' in name and not name.startswith(HUBS)


def build_extractor(
    config: NetworkConfig, *, load: bool = True, own_code: OwnCode | None = None
) -> Extractor:
    """Build the extractor that a configuration names, with its weights.

    Args:
        config: `extractor`, `weights`, `adapters` and what belongs to the neck are read.
        load: False leaves the weights to the caller, who has all of them in a bundle.
        own_code: builds it in place of the file that `extractor` names, where it names one.

    Returns:
        The extractor, nothing frozen yet.

    Raises:
        ConfigError: the name is not known, or the network does not fit the neck.
        WeightsError: weights are missing or do not fit the architecture.
    """
    name = config.extractor
    if name in CHAINS:
        return chain_extractor(config, load)
    if name.startswith('torchvision:'):
        return torchvision_extractor(config, load)
    if name.startswith('timm:'):
        return timm_extractor(config, load)
    if is_own(name):
        return own_extractor(config, load, own_code)
    raise ConfigError(
        f'detector.extractor: {name!r} is not known. Choose one of {", ".join(CHAINS)}, '
        'torchvision:<name>, timm:<name>, or <file.py|module>:<function>.'
    )
