"""Training: a detector fitted on synthetic images behind a frozen extractor.

Step k sees the same images, augmentation and random choices whether the run was interrupted or
not: everything is drawn from (seed, k). The idea is Hinterstoisser et al. 2017, sec. 3.3.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from synth_detect_ros.bundle import save_bundle
from synth_detect_ros.config import TrainConfig
from synth_detect_ros.config.options import to_yaml
from synth_detect_ros.dataset.loader import TrainingSet
from synth_detect_ros.detectors.build import build_detector
from synth_detect_ros.detectors.detector import Detector, to_tensor
from synth_detect_ros.detectors.extractors.freezing import FreezeReport, apply_freeze, thaw_at
from synth_detect_ros.devices import choose_device
from synth_detect_ros.errors import TrainingError
from synth_detect_ros.files import make_folder, write_atomic
from synth_detect_ros.folders import FolderLock, settle_folder
from synth_detect_ros.training.batches import (
    load_batches,
    prefetch,
    telling_of_lost_loaders,
    to_device,
)
from synth_detect_ros.training.cached_training import CachedFeatures, FeatureBatch
from synth_detect_ros.training.checkpoint import (
    CONFIG,
    Progress,
    load_checkpoint,
    refuse_other_run,
    save_checkpoint,
)
from synth_detect_ros.training.data import TrainingData, open_data
from synth_detect_ros.training.log import RunLog
from synth_detect_ros.training.optimizer import (
    build_optimizer,
    has_bfloat16,
    learning_rate,
    set_learning_rate,
)
from synth_detect_ros.training.whole_steps import BrokenStepError, uninterrupted

logger = logging.getLogger(__name__)

BUNDLE = 'bundle'


@dataclass(frozen=True, eq=False)
class TrainingRun:
    """The parts of a run.

    Attributes:
        config: what to do.
        data: images to train on and to validate with.
        detector: on its device.
        freeze: what of the detector is frozen, and until when.
        features: cached features of the frozen first stage; None without cache.
        optimizer: of the detector.
        progress: where the run stands.
        amp: whether the network computes in bfloat16.
    """

    config: TrainConfig
    data: TrainingData
    detector: Detector
    freeze: FreezeReport
    features: CachedFeatures | None
    optimizer: torch.optim.SGD
    progress: Progress
    amp: bool

    @property
    def out(self) -> Path:
        """Folder of the run."""
        return Path(self.config.out)

    @property
    def device(self) -> torch.device:
        """Where the detector is."""
        return next(self.detector.parameters()).device


class ImageBatch(NamedTuple):
    """Images of a step and their targets, on the device of the detector; see its `forward`."""

    images: list[torch.Tensor]
    targets: list[dict[str, torch.Tensor]]


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
        TrainingError: a loss is not finite; or a loader process was ended.
        StorageError: a checkpoint cannot be written, the last one is intact; or another process
            trains in `out`.
        KeyboardInterrupt: passed on at the end of a step, after a checkpoint and a bundle were
            written; a second Ctrl-C within the step is passed on at once, and nothing is written.
    """
    config.require()
    with FolderLock(Path(config.out)):
        settle_folder(Path(config.out) / BUNDLE)
        return _train(config, report)


def _train(config: TrainConfig, report: Callable[[Progress], None] | None) -> Path:
    run = _open_run(config)
    step, validated = run.progress.step, run.progress.validated
    with RunLog(run.out, step, validated=validated == step) as log:
        try:
            with telling_of_lost_loaders():
                _fit(run, log, report or (lambda _: None))
            if run.progress.validated < run.progress.step or not (run.out / BUNDLE).is_dir():
                _validate(run, log)
        except BrokenStepError:
            raise  # nothing to save
        except KeyboardInterrupt:
            save_checkpoint(config, run.detector, run.optimizer, run.progress)
            _keep_if_best(run, {})
            raise
    save_checkpoint(config, run.detector, run.optimizer, run.progress)
    return run.out / BUNDLE


def _fit(run: TrainingRun, log: RunLog, report: Callable[[Progress], None]) -> None:
    """Train until the steps or the time limit are used up."""
    config, detector, optimizer, progress = run.config, run.detector, run.optimizer, run.progress
    options = config.optimizer
    _validate_if_due(run, log)  # Ctrl-C may have ended a validation
    start = time.monotonic() - progress.elapsed_s
    with closing(_draw_batches(run)) as batches:
        for batch in batches:
            if progress.share(config) >= 1:
                return
            with uninterrupted():
                # torchvision's samplers draw from the global generator.
                torch.manual_seed(config.seed * 1_000_003 + progress.step)
                progress.lr = learning_rate(options, progress.step, progress.share(config))
                set_learning_rate(optimizer, options, progress.lr)
                detector.train()
                loss = _total(run, _forward(run, batch))
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                if options.clip_norm:
                    torch.nn.utils.clip_grad_norm_(detector.parameters(), options.clip_norm)
                optimizer.step()
                progress.step += 1
                progress.elapsed_s = time.monotonic() - start
                _thaw_if_due(run)
                if progress.step % config.log_every == 0:
                    log.step(progress.step, progress.elapsed_s, progress.losses, progress.lr)
            _validate_if_due(run, log)
            if progress.step % config.checkpoint_every == 0:
                save_checkpoint(config, detector, optimizer, progress)
            report(progress)


def _open_run(config: TrainConfig) -> TrainingRun:
    """Build the parts of a run, in the state of its checkpoint if there is one; see `train`."""
    refuse_other_run(config)
    device = choose_device(config.device)
    data = open_data(config)
    torch.manual_seed(config.seed)
    detector = build_detector(config.detector, data.classes).to(device)
    freeze = apply_freeze(detector, detector.stages, config.freeze)
    logger.info('%s', freeze)
    out, cache, features = Path(config.out), config.cache, None
    amp = config.amp and has_bfloat16(device)
    if cache.enabled:
        assert isinstance(data.set, TrainingSet)  # TrainConfig refuses a cache of others
        folder = Path(cache.folder or out / 'features')
        features = CachedFeatures(detector, data.set, folder, cache.dtype, amp=amp)
    optimizer = build_optimizer(config.optimizer, detector)
    progress = load_checkpoint(out, detector, optimizer)
    make_folder(out)
    write_atomic(out / CONFIG, to_yaml(config).encode())
    run = TrainingRun(config, data, detector, freeze, features, optimizer, progress, amp)
    _thaw_if_due(run)
    return run


def _draw_batches(run: TrainingRun) -> Generator[ImageBatch | FeatureBatch, None, None]:
    """Yield batches from the step on that the run stands at, prepared ahead.

    While the freeze lasts, they are of cached features if there is a cache, afterwards of images.
    """
    config, data, progress, features = run.config, run.data, run.progress, run.features

    def to_batch(items: list[tuple[NDArray[np.uint8], dict[str, torch.Tensor]]]) -> ImageBatch:
        images = [to_tensor(image, run.device) for image, _ in items]
        return ImageBatch(images, [to_device(target, run.device) for _, target in items])

    if features is not None and not run.freeze.over(progress.step, progress.share(config)):
        loaded = load_batches(config, data, features.set, progress.step)
        with closing(prefetch(loaded, features.read_batch)) as cached:
            for batch in cached:
                if run.freeze.over(progress.step, progress.share(config)):
                    break
                yield batch
    read = load_batches(config, data, data.set, progress.step)
    with closing(prefetch(read, to_batch)) as batches:
        yield from batches


def _forward(run: TrainingRun, batch: ImageBatch | FeatureBatch) -> Mapping[str, torch.Tensor]:
    """Return the named losses of a batch."""
    with torch.autocast(run.device.type, torch.bfloat16, enabled=run.amp):
        if isinstance(batch, ImageBatch):
            return run.detector(batch.images, batch.targets)
        assert run.features is not None
        maps = batch.maps or run.features.compute(batch.items)
        return run.detector.losses_of(maps, run.features.frame, batch.targets)


def _total(run: TrainingRun, losses: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the sum of the losses; the progress keeps their values.

    Raises:
        TrainingError: a loss is not finite.
    """
    values = torch.stack(list(losses.values()))
    total = values.sum()
    # One transfer: each of them waits for the GPU.
    known = torch.cat([values, total[None]]).detach().tolist()
    run.progress.losses = dict(zip([*losses, 'loss'], known, strict=True))
    bad = [name for name, value in run.progress.losses.items() if not math.isfinite(value)]
    if bad:
        raise TrainingError(
            f'step {run.progress.step}: {", ".join(bad)} not finite ({run.progress.losses}). '
            f'Lower optimizer.lr (now {run.config.optimizer.lr}) or lengthen the warm-up. The '
            f'last checkpoint in {run.out} is intact.'
        )
    return total


def _thaw_if_due(run: TrainingRun) -> None:
    """Let the extractor train from here on, where the freeze ends here."""
    step = run.progress.step
    if thaw_at(run.detector.stages, run.freeze, step, run.progress.share(run.config)):
        logger.info('step %d: the whole extractor trains now', step)


def _validate_if_due(run: TrainingRun, log: RunLog) -> None:
    step, every = run.progress.step, run.config.val_every
    if every and step % every == 0 and step > run.progress.validated:
        _validate(run, log)


def _validate(run: TrainingRun, log: RunLog) -> None:
    """Score the weights and keep them as the bundle when they are the best so far."""
    if rows := len(run.data.validation.rows):
        logger.info('scoring %d images, which no time limit counts', rows)
    metrics = run.data.validation.score(run.detector)
    logger.info('step %d: %s', run.progress.step, run.data.validation.describe(metrics))
    with uninterrupted():
        log.validation(run.progress.step, metrics)
        _keep_if_best(run, metrics)
        run.progress.validated = run.progress.step


def _keep_if_best(run: TrainingRun, metrics: dict[str, Any]) -> None:
    """Write the bundle, unless one with a better score is there; no metrics score lowest."""
    progress, validation = run.progress, run.data.validation
    score = validation.score_of(metrics) if metrics else -1.0
    if score < progress.best:
        return
    progress.best, progress.metrics = score, metrics
    facts = {
        'freeze': run.freeze.to_mapping(),
        **run.data.facts,
        'training': {'steps': progress.step, 'seconds': progress.elapsed_s},
        'metrics': {'validated_on': validation.name, **metrics},
    }
    save_bundle(run.out / BUNDLE, run.detector, facts)
