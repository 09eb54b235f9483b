"""Training straight from the generator: images are rendered when they are needed, never stored.

Each process that asks for images opens OpenGL once; start such processes with `spawn`, since an
OpenGL context does not survive a fork.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from synth_detect_ros.compute.core_assignment import keep_freed_memory
from synth_detect_ros.config import AugmentConfig, SynthesizeConfig
from synth_detect_ros.dataset.augment import Item, Target, draw_change
from synth_detect_ros.dataset.inputs import Inputs
from synth_detect_ros.dataset.synthesize import Generator, make_sample
from synth_detect_ros.structures import Sample


class GeneratedSet(Dataset[Item]):
    """Samples of the generator with targets as the detector takes them, augmented.

    Args:
        config: what to render; `count` is ignored, there is no last image.
        inputs: read from the files of `config`.
        first: sample of key 0; those before it are kept for validation.
        augment: changes of an image.
        seed: of the changes; item k depends on (config, seed, k) alone.
        masks: whether targets hold masks.
    """

    def __init__(
        self,
        config: SynthesizeConfig,
        inputs: Inputs,
        first: int,
        augment: AugmentConfig,
        seed: int,
        *,
        masks: bool = False,
    ) -> None:
        self.config, self.inputs, self.first = config, inputs, first
        self.augment, self.seed, self.masks = augment, seed, masks
        self._generator: Generator | None = None

    def __getitem__(self, key: int) -> Item:
        """Return image and target of sample `first + key`; the first call opens OpenGL."""
        if self._generator is None:
            self._generator = Generator(self.config, self.inputs)
        sample = make_sample(self._generator, self.first + key)
        change = draw_change(self.augment, np.random.default_rng([self.seed, self.first + key]))
        target = target_of(sample, masks=self.masks)
        return change.image(sample.image), change.target(target, sample.ids.shape[1])


def target_of(sample: Sample, *, masks: bool) -> Target:
    """Return the target of a sample: its visible instances.

    Args:
        sample: of the generator.
        masks: whether to add (N, H, W) uint8 masks.
    """
    boxes = sample.instances.boxes
    seen = np.flatnonzero(((boxes[:, 2:] - boxes[:, :2]) > 0).all(axis=1))
    visible = sample.instances[seen]
    target = {
        'boxes': torch.from_numpy(visible.boxes.astype(np.float32)),
        'labels': torch.from_numpy(visible.labels.astype(np.int64)),
    }
    if masks:
        ids = (seen + 1)[:, None, None]
        target['masks'] = torch.from_numpy((sample.ids == ids).astype(np.uint8))
    return target


def start_process(_: int) -> None:
    """Prepare a loader process that renders: one thread, flat memory use."""
    cv2.setNumThreads(1)
    keep_freed_memory()
