"""A captured background set on disk: real frames of one camera, and its intrinsics.

    camera.yaml     ROS calibration file
    frames/         000000.png ...
    frames.jsonl    a line for each frame: file, stamp, topic, encoding, sharpness

Images directly in the folder, and a missing camera.yaml, make a valid set too. Writing is atomic
and resumes; which frames of a live camera are worth keeping is decided by `FrameSelector`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.dataset.files import (
    IMAGE_SUFFIXES,
    decode_image,
)
from synth_detect_ros.errors import BackgroundError
from synth_detect_ros.geometry.camera import Camera, read_camera

CAMERA_FILE, RECORDS_FILE, FRAMES_FOLDER = 'camera.yaml', 'frames.jsonl', 'frames'


@dataclass(frozen=True)
class BackgroundSet:
    """Real frames of one camera.

    Attributes:
        folder: where the set lies.
        frames: image files in the order of their names, at least one.
        camera: intrinsics of the frames; None when the set has no camera.yaml.
    """

    folder: Path
    frames: tuple[Path, ...]
    camera: Camera | None

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.frames)

    def read(self, index: int) -> NDArray[np.uint8]:
        """Read one frame as (H, W, 3) uint8 RGB.

        Raises:
            BackgroundError: the file is gone, no image, or incomplete.
        """
        path = self.frames[index]
        try:
            image = decode_image(path.read_bytes())
        except OSError as error:
            raise BackgroundError(f'{path}: cannot be read: {error.strerror}') from error
        if image is None:
            raise BackgroundError(
                f'{path}: no complete image. Delete the file, or copy it again from its source.'
            )
        return image


def read_background_set(folder: Path) -> BackgroundSet:
    """Open a background set.

    Args:
        folder: holds frames/ or the images themselves, and camera.yaml where there is one.

    Raises:
        BackgroundError: the folder is missing or holds no image.
        GeometryError: camera.yaml is no calibration.
    """
    if not folder.is_dir():
        raise BackgroundError(
            f'{folder}: no such folder. A background set comes from synthesize_node, or is a '
            'folder of images of your camera with its camera.yaml.'
        )
    frames = _images(folder / FRAMES_FOLDER) or _images(folder)
    if not frames:
        raise BackgroundError(
            f'{folder}: no images ({", ".join(IMAGE_SUFFIXES)}) in it or in its frames/'
        )
    calibration = folder / CAMERA_FILE
    camera = read_camera(calibration) if calibration.exists() else None
    return BackgroundSet(folder, frames, camera)


def _images(folder: Path) -> tuple[Path, ...]:
    if not folder.is_dir():
        return ()
    return tuple(
        sorted(
            path
            for path in folder.iterdir()
            if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith('.')
        )
    )
