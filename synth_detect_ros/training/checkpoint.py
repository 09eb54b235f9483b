"""The folder of a training run: its configuration, its progress and its checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from synth_detect_ros.config import TrainConfig
from synth_detect_ros.config.detectors import translate_detector
from synth_detect_ros.config.options import build, differences, flatten, read_mapping, to_mapping
from synth_detect_ros.detectors.detector import Detector
from synth_detect_ros.errors import ConfigError, StorageError, TrainingError
from synth_detect_ros.files import whole_file
from synth_detect_ros.training.seal import check_seal, seal

logger = logging.getLogger(__name__)

CHECKPOINT, CONFIG = 'checkpoint.pt', 'train.yaml'
# What may differ between a run and its resumption without changing what is computed.
RESUMABLE = ('out', 'workers', 'device', 'checkpoint_every', 'log_every')


@dataclass
class Progress:
    """Where a run stands; stored in its checkpoint.

    Attributes:
        step: steps done.
        elapsed_s: time used, over all resumptions [s].
        best: validation score of the best weights so far; -1 before the first validation.
        metrics: metrics of those weights.
        losses: of the last step, by name, with their sum as `loss`.
        lr: learning rate of the last step.
        validated: steps that were done at the last validation.
    """

    step: int = 0
    elapsed_s: float = 0.0
    best: float = -1.0
    metrics: dict[str, Any] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)
    lr: float = 0.0
    validated: int = 0

    def share(self, config: TrainConfig) -> float:
        """Return the share of the run that is done, in [0, 1], by steps or by time."""
        share = self.step / config.steps
        if config.time_limit_s:
            share = max(share, self.elapsed_s / config.time_limit_s)
        return min(share, 1.0)


def read_progress(out: Path) -> Progress:
    """Return where the run in a folder stands.

    Raises:
        OSError: it has no checkpoint.
        TrainingError: its checkpoint is broken, or of another version.
    """
    path = out / CHECKPOINT
    with _readable(path):
        state = torch.load(path, map_location='cpu', weights_only=True, mmap=True)
        return Progress(**state['progress'])


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Say of a checkpoint that cannot be used what it is and what to do."""
    try:
        check_seal(path)
        yield
    except (OSError, ConfigError):
        raise
    except Exception as error:  # zip, pickle and PyTorch raise their own kinds
        raise TrainingError(
            f'{path}: broken, or of another version of synth_detect_ros: go on with the version '
            f'that wrote it, or remove it to begin the run anew ({error})'
        ) from error


def refuse_other_run(config: TrainConfig) -> None:
    """Make sure that the output folder is free, or holds a run of this configuration.

    Raises:
        ConfigError: it holds another run.
    """
    stored = Path(config.out) / CONFIG
    mine = to_mapping(config)
    begun = _begun_with(stored, list(flatten(mine)))
    if begun is None:
        return
    if isinstance(begun.get('detector'), dict):
        begun['detector'] = translate_detector(begun['detector'])
    found = differences(to_mapping(build(TrainConfig, begun, str(stored))), mine)
    differ = {name: text for name, text in found.items() if name not in RESUMABLE}
    if differ:
        changes = ', '.join(differ.values())
        lasting = {'steps', 'time_limit_s'} & set(differ)
        why = 'The learning rate follows steps and time_limit_s from the start. ' * bool(lasting)
        raise ConfigError(
            f'{config.out} holds a run with another configuration: {changes}. {why}Give what it '
            'was begun with to go on with it, or choose another out.'
        )


def _begun_with(stored: Path, names: Sequence[str]) -> dict[str, Any] | None:
    """Return the options that a run was begun with; None when nobody knows, or it is none yet.

    Where train.yaml is empty or cut, as a run that was killed may have left it, those in the
    checkpoint count.

    Args:
        stored: train.yaml.
        names: dotted names of all options, in their order.
    """
    checkpoint = stored.with_name(CHECKPOINT)
    if not stored.is_file() and not checkpoint.is_file():
        return None
    text = stored.read_bytes() if stored.is_file() else b''
    with suppress(ConfigError):
        begun = read_mapping(stored) if text.endswith(b'\n') else {}
        if not _is_cut(list(flatten(begun)), names):
            return begun
    if not checkpoint.is_file():
        return None
    with _readable(checkpoint):
        state = torch.load(checkpoint, map_location='cpu', weights_only=True, mmap=True)
    logger.warning('%s is not whole; its checkpoint is', stored)
    return dict(state['config']) if 'config' in state else None


def _is_cut(found: Sequence[str], names: Sequence[str]) -> bool:
    """Return whether options are the first ones of all; the last may be a group without any."""
    if len(found) >= len(names):
        return False
    *before, last = found or ('',)
    wanted = names[len(before)]
    return before == list(names[: len(before)]) and (
        not last or f'{wanted}.'.startswith(f'{last}.')
    )


def save_checkpoint(
    config: TrainConfig,
    detector: Detector,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
) -> None:
    """Write what a run goes on from; the checkpoint before stays whole until this one is.

    Raises:
        StorageError: it cannot be written.
    """
    state = {
        'model': detector.state_dict(),
        'optimizer': optimizer.state_dict(),
        'progress': dict(vars(progress)),
        'config': to_mapping(config),
        'own_code': detector.own_code.sha256 if detector.own_code else None,
    }
    path = Path(config.out) / CHECKPOINT
    try:
        with whole_file(path) as file:
            torch.save(state, file)
            seal(file)
    except RuntimeError as error:  # PyTorch's writer raises it
        raise StorageError(f'{path}: the checkpoint cannot be written: {error}') from error


def load_checkpoint(out: Path, detector: Detector, optimizer: torch.optim.Optimizer) -> Progress:
    """Give detector and optimiser the state of a checkpoint, where there is one.

    Returns:
        Where the run stands; at its start without a checkpoint.

    Raises:
        ConfigError: the code of the extractor is another one.
        TrainingError: it is broken, or of another version.
    """
    path = out / CHECKPOINT
    if not path.is_file():
        return Progress()
    with _readable(path):
        state = torch.load(path, map_location='cpu', weights_only=True)
        own_code = state.get('own_code')
        if own_code and detector.own_code and own_code != detector.own_code.sha256:
            raise ConfigError(
                f'{detector.own_code.file} is not the code that the run in {out} began with '
                f'(SHA-256 {own_code}). Restore it, or choose another out.'
            )
        detector.load_state_dict(state['model'])
        optimizer.load_state_dict(state['optimizer'])
        progress = Progress(**state['progress'])
    logger.info('going on at step %d of %s', progress.step, path)
    return progress
