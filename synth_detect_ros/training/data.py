"""What a run trains on and is validated with: a stored data set, or the generator of images."""

from __future__ import annotations

import hashlib
import itertools
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from torch.utils.data import Dataset, Sampler

from synth_detect_ros.config import SynthesizeConfig, TrainConfig
from synth_detect_ros.config.options import read_config
from synth_detect_ros.dataset.generated import GeneratedSet
from synth_detect_ros.dataset.inputs import provenance, read_inputs
from synth_detect_ros.dataset.loader import LabelledImages, TrainingSet, read_labelled
from synth_detect_ros.dataset.storage import INFO_FILE, read_info
from synth_detect_ros.dataset.synthesize import synthesize
from synth_detect_ros.documents import read_yaml
from synth_detect_ros.errors import ConfigError, DatasetError, TrainingError
from synth_detect_ros.files import make_folder, read_image, write_atomic
from synth_detect_ros.training.validation import Validation

# In the folder of the run: configuration and inputs of the generator.
RECORD = 'generator.yaml'

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Where the images of a run come from.

    Attributes:
        classes: class names.
        set: (image, target) by key.
        keys: the endless keys from the n-th item on, as a function of n.
        image_bytes: size of an image [bytes].
        renders: whether reading from `set` needs OpenGL.
        validation: what the run is scored on.
        facts: camera and data set, for the bundle.
    """

    classes: tuple[str, ...]
    set: Dataset[Any]
    keys: Callable[[int], Iterable[int]]
    image_bytes: int
    renders: bool
    validation: Validation
    facts: Mapping[str, Any]


def open_data(config: TrainConfig) -> TrainingData:
    """Open the data set or the generator that a configuration names.

    Raises:
        ConfigError: `out` holds a run on images of another generator.
        DatasetError: the data set is missing, empty or broken.
        SynthDetectError: see `inputs.read_inputs`.
    """
    return _generated(config) if config.synthesize else _stored(config)


def _stored(config: TrainConfig) -> TrainingData:
    folder = Path(config.dataset)
    images = read_labelled(folder / 'images', folder / 'annotations.json')
    own, held_out = split(len(images), config.val_share)
    _check_learnable(images, len(own))
    masks = config.detector.has_masks
    data = TrainingSet(images, own, config.augment, config.seed, masks=masks)
    dataset = read_info(folder) if (folder / INFO_FILE).is_file() else {}
    digest = hashlib.sha256((folder / 'annotations.json').read_bytes()).hexdigest()
    return TrainingData(
        classes=images.classes,
        set=data,
        keys=partial(ShuffledKeys, len(data), config.seed),
        image_bytes=read_image(data.path(0)).nbytes,
        renders=False,
        validation=Validation.of(config, images.classes, folder, held_out),
        facts={
            'camera': dataset.get('camera'),
            'dataset': {'annotations_sha256': digest, 'images': len(images)},
        },
    )


def _check_learnable(images: LabelledImages, count: int) -> None:
    """Refuse images without anything to learn; name the classes that they do not show.

    Args:
        images: of the data set.
        count: of the first ones, that are trained on.

    Raises:
        DatasetError: none of them has an annotation that counts.
    """
    labels = images.labels[: images.first[count]]
    if not len(labels):
        raise DatasetError(
            f'{images.folder}: none of the {count} images to train on has an annotation that '
            'counts (crowds and boxes outside of the image do not): there is nothing to learn'
        )
    shown = set(labels.tolist())
    missing = [name for label, name in enumerate(images.classes) if label not in shown]
    if missing:
        logger.warning('%s: no image to train on shows %s', images.folder, ', '.join(missing))


def _generated(config: TrainConfig) -> TrainingData:
    options = read_config(SynthesizeConfig, Path(config.synthesize))
    inputs = read_inputs(options)
    record = provenance(options, inputs)
    _claim(Path(config.out) / RECORD, record)
    held_out = 0 if config.val_images or not config.val_share else config.val_max_images
    folder = Path(config.out) / 'validation'
    if held_out:
        logger.info(
            '%d images to validate on, rendered where they are missing: %s', held_out, folder
        )
        synthesize(options.replace(out=str(folder), count=held_out))
    masks = config.detector.has_masks
    data = GeneratedSet(options, inputs, held_out, config.augment, config.seed, masks=masks)
    return TrainingData(
        classes=inputs.classes,
        set=data,
        keys=itertools.count,
        image_bytes=3 * math.prod(inputs.camera.size),
        renders=True,
        validation=Validation.of(config, inputs.classes, folder, range(held_out)),
        facts={
            'camera': record['camera'],
            'dataset': {'synthesize': record['config'], 'inputs': record['inputs']},
        },
    )


def _claim(path: Path, record: Mapping[str, Any]) -> None:
    """Keep the record of the generator with the run; refuse to go on with another one."""
    known = _fingerprint(path)
    if known is None:
        make_folder(path.parent)
        write_atomic(path, yaml.safe_dump(dict(record), sort_keys=False).encode())
    elif known != record['fingerprint']:
        raise ConfigError(
            f'{path.parent} holds a run on images of another configuration, of changed CAD files '
            'or backgrounds, or of another version. Choose another out, or remove it.'
        )


def _fingerprint(path: Path) -> object:
    """Return the fingerprint in the record; None where that is missing, empty or cut off."""
    if not path.is_file() or not path.read_bytes().endswith(b'\n'):
        return None
    record = read_yaml(path, TrainingError)
    return record.get('fingerprint') if isinstance(record, dict) else None


class ShuffledKeys(Sampler[int]):
    """Endless keys of `TrainingSet` from any place on, shuffled anew in each epoch.

    Args:
        length: of the set.
        seed: of the order.
        first: number of keys to skip.
    """

    def __init__(self, length: int, seed: int, first: int) -> None:
        self.length, self.seed, self.first = length, seed, first

    def __iter__(self) -> Iterator[int]:
        epoch, start = divmod(self.first, self.length)
        while True:
            order = np.random.default_rng([self.seed, epoch]).permutation(self.length)
            yield from (epoch * self.length + int(k) for k in order[start:])
            epoch, start = epoch + 1, 0


def split(count: int, share: float) -> tuple[range, range]:
    """Split images into those to train on and, at the end, those held out for validation.

    Raises:
        DatasetError: nothing would be left to train on.
    """
    held_out = round(count * share)
    if held_out >= count:
        raise DatasetError(f'{count} images are too few to hold out {share:.0%} for validation')
    return range(count - held_out), range(count - held_out, count)
