"""The images that annotations name: there, in their folder, and of the size that is said."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.errors import DatasetError
from synth_detect_ros.files import read_image
from synth_detect_ros.images.places import inside


def image_files(folder: Path, names: Sequence[str], within: Path | None = None) -> list[Path]:
    """Return the files of images, in their order.

    Args:
        folder: that the names are relative to.
        names: `file_name` of COCO image rows.
        within: folder that no link may lead out of; default: `folder`.

    Raises:
        DatasetError: the folder or some of the files are missing, a file is a pipe or device, or
            leads outside.
    """
    files = [folder / name for name in names]
    gone = [name for file, name in zip(files, names, strict=True) if not os.path.lexists(file)]
    if gone:
        raise DatasetError(
            f'{folder}: {len(gone)} of {len(files)} images of the annotations are missing, the '
            f'first is {gone[0]}. Give the folder that their file_name is relative to.'
        )
    return [inside(file, within or folder, DatasetError) for file in files]


def read_annotated(path: Path, size: Sequence[int]) -> NDArray[np.uint8]:
    """Read an image as (H, W, 3) uint8 RGB and compare its size with that of its annotations.

    Args:
        path: of the image.
        size: width and height that the annotations say [px].

    Raises:
        DatasetError: see `files.read_image`; or it has another size.
    """
    image = read_image(path)
    if image.shape[1::-1] != tuple(size):
        raise DatasetError(
            f'{path}: wanted {size[0]}x{size[1]} pixels, as its annotations say, got '
            f'{image.shape[1]}x{image.shape[0]} (turned as its EXIF data say)'
        )
    return image
