"""Training straight from the generator: images that are rendered as they are needed, never stored.

Each process that asks for images opens OpenGL once; start such processes with `spawn`, since an
OpenGL context does not survive a fork.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from synth_detect_ros.compute.core_assignment import keep_freed_memory
from synth_detect_ros.config import AugmentConfig, SynthesizeConfig
from synth_detect_ros.dataset.inputs import Inputs
from synth_detect_ros.dataset.loader import draw_change, jitter_colours
from synth_detect_ros.dataset.synthesize import Generator, make_sample
from synth_detect_ros.structures import Sample


class GeneratedSet(Dataset[tuple[NDArray[np.uint8], dict[str, torch.Tensor]]]):
    """Samples of the generator with targets as the detector takes them, augmented.

    Args:
        config: what to render; `count` is not looked at, there is no last image.
        inputs: read from the files of `config`.
        first: sample of key 0; those before it are kept for validation.
        augment: changes of an image; None for none.
        seed: of the changes; item k depends on (config, seed, k) alone.
        masks: whether targets hold masks.
    """

    def __init__(
        self,
        config: SynthesizeConfig,
        inputs: Inputs,
        first: int,
        augment: AugmentConfig | None,
        seed: int,
        *,
        masks: bool = False,
    ) -> None:
        self.config, self.inputs, self.first = config, inputs, first
        self.augment, self.seed, self.masks = augment, seed, masks
        self._generator: Generator | None = None

    def __getitem__(self, key: int) -> tuple[NDArray[np.uint8], dict[str, torch.Tensor]]:
        """Return image and target of sample `first + key`; the first call opens OpenGL."""
        if self._generator is None:
            self._generator = Generator(self.config, self.inputs)
        sample = make_sample(self._generator, self.first + key)
        if self.augment is None:
            return sample.image, target_of(sample, masks=self.masks)
        rng = np.random.default_rng([self.seed, self.first + key])
        change = draw_change(self.augment, rng)
        image = jitter_colours(sample.image, change)
        target = target_of(sample, masks=self.masks, flip=change.flip)
        return np.ascontiguousarray(image[:, ::-1]) if change.flip else image, target


def target_of(sample: Sample, *, masks: bool, flip: bool = False) -> dict[str, torch.Tensor]:
    """Return the target of a sample: its visible instances.

    Args:
        sample: of the generator.
        masks: whether to add (N, H, W) uint8 masks.
        flip: left becomes right.
    """
    boxes = sample.instances.boxes.astype(np.float32)
    seen = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(axis=1)
    boxes = boxes[seen]
    if flip:
        boxes[:, [0, 2]] = sample.ids.shape[1] - boxes[:, [2, 0]]
    target = {
        'boxes': torch.from_numpy(boxes),
        'labels': torch.from_numpy(sample.instances.labels[seen].astype(np.int64)),
    }
    if masks:
        ids = (np.flatnonzero(seen) + 1)[:, None, None]
        visible = (sample.ids == ids).astype(np.uint8)
        target['masks'] = torch.from_numpy(visible[:, :, ::-1].copy() if flip else visible)
    return target


def start_process(_: int) -> None:
    """Settle a loader process that renders: one thread, memory that stays flat."""
    cv2.setNumThreads(1)
    keep_freed_memory()
