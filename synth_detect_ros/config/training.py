"""A training run: images, freeze dial, gradient descent."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import model_validator

from synth_detect_ros.config.detectors import DetectorConfig, FasterRCNNConfig
from synth_detect_ros.config.options import Options
from synth_detect_ros.config.rules import option
from synth_detect_ros.errors import ConfigError

FREEZE_CHOICES = 'none, early:<stride>, first_stage, both_stages, until:<step>, until:<percent>%'
FREEZE_PATTERN = r'none|first_stage|both_stages|early:\d+|until:\d+%?'


class OptimizerConfig(Options):
    """Stochastic gradient descent and its schedule."""

    lr: float = option(0.02, 'learning rate', low=1e-9, high=10)
    extractor_lr: float = option(
        1.0, "learning rate of the extractor, where it trains, over that of the rest",
        low=1e-6, high=10,
    )  # fmt: skip
    momentum: float = option(0.9, 'momentum', low=0, high=0.9999)
    weight_decay: float = option(1e-4, 'L2 penalty', low=0, high=1)
    warmup_steps: int = option(100, 'steps of linear warm-up', low=0)
    schedule: Literal['cosine', 'steps', 'constant'] = option('cosine', 'after the warm-up')
    milestones: tuple[float, ...] = option(
        (0.6, 0.85), "shares of the run where 'steps' divides the rate by 10", low=0, high=1
    )
    clip_norm: float = option(10.0, 'gradient norm limit; 0: none', low=0)


class AugmentConfig(Options):
    """Changes of a training image when it is loaded."""

    flip: bool = option(True, 'horizontal flip of one image in two')
    brightness: float = option(0.25, 'largest relative change', low=0, high=1)
    contrast: float = option(0.25, 'largest relative change', low=0, high=1)
    saturation: float = option(0.3, 'largest relative change', low=0, high=1)
    hue: float = option(0.02, 'largest shift of the colour circle', low=0, high=0.5)
    variants: int = option(
        0, 'different versions of an image, one an epoch, then again; 0: a new one each epoch',
        low=0, high=1000,
    )  # fmt: skip


class CacheConfig(Options):
    """Features of the frozen first stage, kept on disk from the first epoch on."""

    enabled: bool = option(False, 'compute features once for each image and variant; see augment')
    folder: str = option(
        '', 'where; later runs with the same features use it too; empty: out/features',
        path='always',
    )  # fmt: skip
    dtype: Literal['float16', 'bfloat16', 'float32'] = option('float16', 'precision on disk')


class TrainConfig(Options):
    """`synth-detect train`: fit a detector whose extractor is frozen."""

    needed = ('dataset or synthesize', 'out')
    dataset: str = option('', 'synthetic data set', path='always')
    synthesize: str = option(
        '', 'in place of dataset: configuration of `synthesize`, rendered while it trains',
        path='always',
    )  # fmt: skip
    out: str = option('', 'folder of the run; the trained model is out/bundle', path='always')
    val_images: str = option(
        '', 'folder of real labelled images; empty: part of the data set', path='always'
    )
    val_annotations: str = option('', 'COCO file of val_images', path='always')
    val_share: float = option(0.05, 'share of the data set kept for validation', low=0, high=0.5)
    val_max_images: int = option(100, 'images scored at each validation', low=1)
    freeze: str = option('first_stage', f'freeze dial: {FREEZE_CHOICES}')
    steps: int = option(2000, 'optimiser steps', low=1)
    time_limit_s: float = option(
        0.0, 'end earlier, with a finished schedule, when this time is used up; 0: no limit',
        unit='s', low=0,
    )  # fmt: skip
    batch: int = option(2, 'images a step', low=1, high=1024)
    workers: int = option(1, 'loader processes; 0: load in the training process', low=0, high=128)
    device: str = option('auto', 'auto, cpu, cuda or cuda:<n>')
    amp: bool = option(True, 'bfloat16 autocast where the GPU or CPU computes in it')
    seed: int = option(0, 'seed of weights, order and augmentation', low=0)
    val_every: int = option(0, 'steps between validations; 0: only at the end', low=0)
    checkpoint_every: int = option(500, 'steps between checkpoints', low=1)
    log_every: int = option(20, 'steps between lines of the log', low=1)
    detector: DetectorConfig = option(FasterRCNNConfig, 'the network, by its architecture')
    optimizer: OptimizerConfig = option(OptimizerConfig, 'gradient descent')
    augment: AugmentConfig = option(AugmentConfig, 'changes of a training image')
    cache: CacheConfig = option(CacheConfig, 'features of the frozen first stage on disk')

    @model_validator(mode='after')
    def _fits(self) -> TrainConfig:
        if not re.fullmatch(FREEZE_PATTERN, self.freeze):
            raise ConfigError(
                f'freeze: {self.freeze!r} is not known. Choose one of {FREEZE_CHOICES}.'
            )
        if bool(self.val_images) != bool(self.val_annotations):
            raise ConfigError('val_images and val_annotations: give both or none')
        if self.dataset and self.synthesize:
            raise ConfigError('dataset and synthesize: images come from one place, give one')
        if self.cache.enabled and self.synthesize:
            raise ConfigError(
                'cache.enabled: images that are rendered while it trains are seen once, their '
                'features are of no more use. Render a data set first and give dataset.'
            )
        changing = self.detector.adapters or self.freeze.startswith(('none', 'early'))
        if self.cache.enabled and changing:
            raise ConfigError(
                f'cache.enabled: with freeze {self.freeze} and detector.adapters '
                f'{str(self.detector.adapters).lower()} the features change at every step and '
                'cannot be kept. Freeze the first stage without adapters, or switch the cache off.'
            )
        if self.cache.enabled and not self.augment.variants:
            raise ConfigError(
                'cache.enabled: images that are new each epoch have no features to keep. Set '
                'augment.variants, for example to 4: the disk holds that many versions of each.'
            )
        return self
