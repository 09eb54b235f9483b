"""Training: a detector fitted on synthetic images behind a frozen extractor.

Step k sees the same images, augmentation and random choices whether the run was interrupted or
not: everything is drawn from (seed, k). The idea is Hinterstoisser et al. 2017, sec. 3.3.
"""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from synth_detect_ros.bundle import save_bundle
from synth_detect_ros.config import TrainConfig
from synth_detect_ros.config.options import build, read_mapping, to_mapping, to_yaml
from synth_detect_ros.dataset.loader import TrainingSet
from synth_detect_ros.detectors.build import build_detector
from synth_detect_ros.detectors.detector import to_tensor
from synth_detect_ros.detectors.extractors.freezing import apply_freeze, thaw_at
from synth_detect_ros.devices import choose_device
from synth_detect_ros.errors import ConfigError, StorageError, TrainingError
from synth_detect_ros.training.batches import Losses, affordable_workers, batches, prefetch, send
from synth_detect_ros.training.cached_training import FrozenFeatures
from synth_detect_ros.training.data import open_data
from synth_detect_ros.training.log import RunLog
from synth_detect_ros.training.optimizer import (
    build_optimizer,
    has_bfloat16,
    learning_rate,
    set_learning_rate,
)

logger = logging.getLogger(__name__)

Item = tuple[NDArray[np.uint8], dict[str, torch.Tensor]]
CHECKPOINT, CONFIG, BUNDLE = 'checkpoint.pt', 'train.yaml', 'bundle'
# What may differ between a run and its resumption without changing what is computed.
RESUMABLE = ('out', 'workers', 'device', 'time_limit_s', 'checkpoint_every', 'log_every')


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
    """

    step: int = 0
    elapsed_s: float = 0.0
    best: float = -1.0
    metrics: dict[str, Any] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)
    lr: float = 0.0

    def share(self, config: TrainConfig) -> float:
        """Return the share of the run that is done, in [0, 1], by steps or by time."""
        share = self.step / config.steps
        if config.time_limit_s:
            share = max(share, self.elapsed_s / config.time_limit_s)
        return min(share, 1.0)


def train(config: TrainConfig, report: Callable[[Progress], None] | None = None) -> Path:
    """Fit a detector, going on from the checkpoint of an interrupted run in `config.out`.

    Args:
        config: what to do; `out` and one of `dataset` and `synthesize` are needed.
        report: called after each step, for progress bars.

    Returns:
        The bundle, `config.out/bundle`.

    Raises:
        ConfigError: contradicting options, or `out` holds a run with another configuration.
        DatasetError: the data set is missing, empty or broken.
        FreezeError: random weights would be frozen.
        TrainingError: a loss is not finite.
        StorageError: a checkpoint cannot be written; the last one is intact.
        KeyboardInterrupt: passed on, after a checkpoint and a bundle were written.
    """
    config.require('dataset or synthesize', 'out')
    return _Run(config).go(report or (lambda _: None))


def read_progress(out: Path) -> Progress:
    """Return where the run in a folder stands.

    Raises:
        OSError: it has no checkpoint.
    """
    state = torch.load(out / CHECKPOINT, map_location='cpu', weights_only=True, mmap=True)
    return Progress(**state['progress'])


class _Run:
    """One training run: what stays the same from step to step, and the loop."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.out = Path(config.out)
        self.device = choose_device(config.device)
        self.data = open_data(config)
        torch.manual_seed(config.seed)
        self.detector = build_detector(config.detector, self.data.classes).to(self.device)
        self.freeze = apply_freeze(self.detector, self.detector.stages, config.freeze)
        logger.info('%s', self.freeze)
        self.amp = config.amp and has_bfloat16(self.device)
        self.features = self._open_cache()
        self.optimizer = build_optimizer(config.optimizer, self.detector)
        self.progress = Progress()
        self._claim()

    def _open_cache(self) -> FrozenFeatures | None:
        """Return the features of the frozen first stage, if they are to be kept."""
        cache = self.config.cache
        if not cache.enabled:
            return None
        folder = Path(cache.folder or self.out / 'features')
        assert isinstance(self.data.set, TrainingSet)  # TrainConfig refuses a cache of others
        return FrozenFeatures(self.detector, self.data.set, folder, cache.dtype, amp=self.amp)

    def _claim(self) -> None:
        """Make the output folder ours: refuse another run's, go on with our own."""
        self.out.mkdir(parents=True, exist_ok=True)
        stored = self.out / CONFIG
        mine = to_mapping(self.config)
        if stored.is_file():
            theirs = to_mapping(build(TrainConfig, read_mapping(stored), str(stored)))
            differ = [k for k in mine if k not in RESUMABLE and theirs[k] != mine[k]]
            if differ:
                raise ConfigError(
                    f'{self.out} holds a run with another configuration ({", ".join(differ)} '
                    'differ). Choose another out, or remove it.'
                )
        stored.write_text(to_yaml(self.config))
        path = self.out / CHECKPOINT
        if path.is_file():
            state = torch.load(path, map_location=self.device, weights_only=True)
            self.detector.load_state_dict(state['model'])
            self.optimizer.load_state_dict(state['optimizer'])
            self.progress = Progress(**state['progress'])
            self._thaw()
            logger.info('going on at step %d of %s', self.progress.step, path)

    def go(self, report: Callable[[Progress], None]) -> Path:
        """Run the loop; see `train`."""
        config, progress = self.config, self.progress
        start = time.monotonic() - progress.elapsed_s
        with RunLog(self.out, progress.step) as log, closing(self._batches()) as batches:
            try:
                for losses in batches:
                    if progress.share(config) >= 1:
                        break
                    self._thaw()
                    self._step(losses)
                    progress.step += 1
                    progress.elapsed_s = time.monotonic() - start
                    self._after_step(log)
                    report(progress)
            except KeyboardInterrupt:
                self.save()
                self._bundle_if_best()
                raise
            self._validate(log)
        self.save()
        return self.out / BUNDLE

    def _thaw(self) -> None:
        """Let the extractor train from here on, where the freeze ends here."""
        step, share = self.progress.step, self.progress.share(self.config)
        if thaw_at(self.detector.stages, self.freeze, step, share):
            logger.info('step %d: the whole extractor trains now', step)

    def _frozen(self) -> bool:
        return not self.freeze.over(self.progress.step, self.progress.share(self.config))

    def _after_step(self, log: RunLog) -> None:
        config, progress = self.config, self.progress
        if progress.step % config.log_every == 0:
            log.step(progress.step, progress.elapsed_s, progress.losses, progress.lr)
        if config.val_every and progress.step % config.val_every == 0:
            self._validate(log)
        if progress.step % config.checkpoint_every == 0:
            self.save()

    def _batches(self) -> Generator[Losses, None, None]:
        """Yield batches: of known features while the first stage is frozen, then of images."""
        step = self.progress.step
        if self.features is not None and self._frozen():
            known = prefetch(self._loader(self.features.set, step), self.features.prepare)
            with closing(known):
                yield from itertools.takewhile(lambda _: self._frozen(), known)
            step = self.progress.step
        with closing(prefetch(self._loader(self.data.set, step), self._prepare)) as images:
            yield from images

    def _loader(self, data: Dataset[Any], step: int) -> Iterable[Any]:
        keys = self.data.keys(step * self.config.batch)
        workers = affordable_workers(self.config, self.data.image_bytes)
        return batches(data, keys, self.config.batch, workers, renders=self.data.renders)

    def _prepare(self, items: Sequence[Item]) -> Losses:
        images = [to_tensor(image, self.device) for image, _ in items]
        targets = [send(target, self.device) for _, target in items]
        return partial(self.detector, images, targets)

    def _step(self, compute: Losses) -> None:
        config, progress = self.config, self.progress
        # torchvision's samplers draw from the global generator.
        torch.manual_seed(config.seed * 1_000_003 + progress.step)
        progress.lr = learning_rate(config.optimizer, progress.step, progress.share(config))
        set_learning_rate(self.optimizer, config.optimizer, progress.lr)
        self.detector.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp):
            losses = compute()
        values = torch.stack(list(losses.values()))
        total = values.sum()
        # One transfer: each of them waits for the GPU.
        known = torch.cat([values, total[None]]).detach().tolist()
        progress.losses = dict(zip([*losses, 'loss'], known, strict=True))
        self._check_finite()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        if config.optimizer.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.detector.parameters(), config.optimizer.clip_norm)
        self.optimizer.step()

    def _check_finite(self) -> None:
        losses = self.progress.losses
        bad = [name for name, loss in losses.items() if not math.isfinite(loss)]
        if bad:
            raise TrainingError(
                f'step {self.progress.step}: {", ".join(bad)} not finite ({losses}). Lower '
                f'optimizer.lr (now {self.config.optimizer.lr}) or lengthen the warm-up. The last '
                f'checkpoint in {self.out} is intact.'
            )

    def _validate(self, log: RunLog) -> None:
        """Score the weights and keep them as the bundle when they are the best so far."""
        metrics = self.data.validation.score(self.detector)
        logger.info('step %d: %s', self.progress.step, self.data.validation.describe(metrics))
        log.validation(self.progress.step, metrics)
        self._bundle_if_best(metrics)

    def _bundle_if_best(self, metrics: dict[str, Any] | None = None) -> None:
        progress = self.progress
        score = self.data.validation.score_of(metrics) if metrics else -1.0
        if score < progress.best:
            return
        progress.best, progress.metrics = score, metrics or {}
        save_bundle(self.out / BUNDLE, self.detector, self._facts())

    def _facts(self) -> dict[str, Any]:
        return {
            'freeze': self.freeze.to_mapping(),
            **self.data.facts,
            'training': {'steps': self.progress.step, 'seconds': self.progress.elapsed_s},
            'metrics': {'validated_on': self.data.validation.name, **self.progress.metrics},
        }

    def save(self) -> None:
        """Write the checkpoint atomically, and what it rests on before it."""
        if self.features is not None:
            self.features.cache.sync()
        state = {
            'model': self.detector.state_dict(),
            'optimizer': self.optimizer.state_dict(),
            'progress': dict(vars(self.progress)),
        }
        path = self.out / CHECKPOINT
        temporary = path.with_suffix('.tmp')
        try:
            torch.save(state, temporary)
            temporary.replace(path)
        except (OSError, RuntimeError) as error:  # PyTorch's writer raises RuntimeError
            raise StorageError(f'{path}: the checkpoint cannot be written: {error}') from error
