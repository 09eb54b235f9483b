"""The detector that a configuration names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from synth_detect_ros.compute.memory import available_memory
from synth_detect_ros.config import DetectorConfig
from synth_detect_ros.detectors.dense.dense import Dense
from synth_detect_ros.detectors.detector import Detector
from synth_detect_ros.detectors.extractors.own_code import OwnCode
from synth_detect_ros.detectors.rcnn import RCNN
from synth_detect_ros.detectors.ssd import SSD
from synth_detect_ros.errors import ConfigError

GB = 1e9

# By architecture.
DETECTORS: dict[str, Callable[..., Detector]] = {
    'faster_rcnn': RCNN,
    'mask_rcnn': RCNN,
    'rfcn': RCNN,
    'ssd': SSD,
    'dense': Dense,
}


def build_detector(
    config: DetectorConfig,
    classes: Sequence[str],
    *,
    load_weights: bool = True,
    own_code: OwnCode | None = None,
) -> Detector:
    """Build a detector.

    Args:
        config: the network.
        classes: class names; label i is classes[i].
        load_weights: False leaves the extractor's weights to the caller.
        own_code: builds the extractor in place of the file that `config` names.

    Raises:
        ConfigError: the extractor is not known or does not fit; or the network does not fit the
            memory.
        WeightsError: its weights are missing or do not fit.
    """
    kind = DETECTORS[config.architecture]
    with _within_memory():
        return kind(config, classes, load_weights=load_weights, own_code=own_code)


@contextmanager
def _within_memory() -> Iterator[None]:
    """Refuse a network that does not fit the memory, before its weights take any.

    Memory that is allocated is taken when it is written to first; PyTorch registers a parameter
    between the two. A copy of the weights must fit as well: gradients, or what a runtime compiles.
    """
    free, total = available_memory(), 0

    def check(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal total
        if parameter is None:
            return
        total += 2 * parameter.nbytes
        if free is not None and total > free:
            layer = f'{type(module).__name__} of {" x ".join(map(str, parameter.shape))}'
            raise _too_large(f'{total / GB:.1f} GB up to a {layer}', free)

    hook = register_module_parameter_registration_hook(check)
    try:
        yield
    except RuntimeError as error:
        if 'alloc' not in str(error).lower():
            raise
        raise _too_large(str(error).partition('\n')[0], free) from error
    finally:
        hook.remove()


def _too_large(what: str, free: int | None) -> ConfigError:
    left = '' if free is None else f', but {free / GB:.1f} GB of memory are free'
    return ConfigError(
        f'detector: the network does not fit the memory: {what}{left}. Lower its widths '
        '(channels, box_head.channels) and the size of its crops (box_head.roi_size).'
    )
