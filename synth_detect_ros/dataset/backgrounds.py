"""A captured background set on disk: real frames of one camera, and its intrinsics.

    camera.yaml     ROS calibration file
    frames/         000000.png ...
    frames.jsonl    a line for each frame: file, stamp, topic, encoding, sharpness

Images directly in the folder, and a missing camera.yaml, make a valid set too.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from synth_detect_ros.errors import BackgroundError
from synth_detect_ros.files import (
    append_line,
    encode_image,
    make_folder,
    read_image,
    write_atomic,
)
from synth_detect_ros.folders import remove_leftovers
from synth_detect_ros.geometry.calibration import camera_of_images, read_camera
from synth_detect_ros.geometry.camera import Camera
from synth_detect_ros.images.depth import FULL_RANGE, BitDepth
from synth_detect_ros.images.headers import is_deep
from synth_detect_ros.images.places import IMAGE_SUFFIXES, images_in, inside

_FRAMES_FOR_DEPTH = 50
_HEAD = 32  # [bytes] that hold the depth of a PNG
CAMERA_FILE, RECORDS_FILE, FRAMES_FOLDER = 'camera.yaml', 'frames.jsonl', 'frames'


@dataclass(frozen=True)
class BackgroundSet:
    """Real frames of one camera.

    Attributes:
        folder: where the set lies.
        frames: image files in the order of their names, at least one.
        camera: intrinsics of the frames; None when the set has no camera.yaml, or it was not read.
        depth: of 16-bit frames.
    """

    folder: Path
    frames: tuple[Path, ...]
    camera: Camera | None
    depth: BitDepth = FULL_RANGE

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.frames)

    def read(self, index: int) -> NDArray[np.uint8]:
        """Read one frame as (H, W, 3) uint8 RGB.

        Raises:
            BackgroundError: the file is gone, no image, or incomplete.
        """
        return read_image(self.frames[index], BackgroundError, self.depth)


def read_background_set(folder: Path, *, calibrated: bool = True) -> BackgroundSet:
    """Open a background set.

    Where camera.yaml is of another size than the first frame, its intrinsics are scaled.

    Args:
        folder: holds frames/ or the images themselves, and camera.yaml where there is one.
        calibrated: False where the intrinsics are given otherwise: camera.yaml is not read, so
            that it does not matter whether it is right.

    Raises:
        BackgroundError: the folder is missing or holds no image, the first one is broken, or a
            file leads out of the folder.
        GeometryError: camera.yaml is no calibration, or of another ratio of width and height
            than the first frame.
        UncalibratedCameraError: its focal length is zero.
    """
    if not folder.is_dir():
        raise BackgroundError(
            f'{folder}: no such folder. A background set comes from synthesize_node, or is a '
            'folder of images of your camera with its camera.yaml.'
        )
    frames = _frames(folder)
    if not frames:
        raise BackgroundError(
            f'{folder}: no images ({", ".join(IMAGE_SUFFIXES)}) in it or in its frames/'
        )
    calibration, depth = folder / CAMERA_FILE, _depth_of(frames)
    if not calibrated or not calibration.exists():
        return BackgroundSet(folder, tuple(frames), None, depth)
    inside(calibration, folder, BackgroundError)
    height, width = read_image(frames[0], BackgroundError).shape[:2]
    camera = camera_of_images(read_camera(calibration), (width, height), calibration, frames[0])
    return BackgroundSet(folder, tuple(frames), camera, depth)


def has_frames(folder: Path) -> bool:
    """Return whether a folder holds images as a background set does."""
    return bool(_frames(folder))


def _frames(folder: Path) -> list[Path]:
    frames = images_in(folder / FRAMES_FOLDER, BackgroundError, folder)
    return frames or images_in(folder, BackgroundError)


def _depth_of(frames: list[Path]) -> BitDepth:
    """Return how many bits hold light, of the first frames: one number for all of the set."""
    depth = BitDepth()
    for frame in frames[:_FRAMES_FOR_DEPTH]:
        with suppress(OSError, BackgroundError):
            with frame.open('rb') as file:
                deep = is_deep(file.read(_HEAD))
            if deep:
                read_image(frame, BackgroundError, depth)
    return BitDepth(depth.bits)


def spread(length: int, count: int) -> list[int]:
    """Return at most `count` indices below `length`, evenly spread, first and last included."""
    return np.unique(np.linspace(0, length - 1, min(length, count)).round().astype(int)).tolist()


@dataclass(frozen=True)
class FrameRecord:
    """Where a frame came from; one line of frames.jsonl.

    Attributes:
        stamp: of the message's header [s].
        topic: the image came on.
        encoding: of the message, before the conversion to RGB.
        sharpness: variance of the Laplacian [grey levels^2].
    """

    stamp: float
    topic: str
    encoding: str
    sharpness: float


class BackgroundWriter:
    """Adds frames to a background set; goes on where an interrupted run stopped.

    A frame is on disk before its record, and both are written whole: the set is valid at any
    moment.

    Args:
        folder: of the set; made when it is missing.
        format: of the frames, 'png' or 'jpg'.

    Raises:
        StorageError: the folder cannot be made or written.
    """

    def __init__(self, folder: Path, format: str) -> None:
        self._folder, self._format = folder, format
        self._frames, self._records = folder / FRAMES_FOLDER, folder / RECORDS_FILE
        make_folder(self._frames)
        remove_leftovers(self._frames)
        self._paths = images_in(self._frames, BackgroundError, folder)
        self._next = 1 + max((int(p.stem) for p in self._paths if p.stem.isdigit()), default=-1)
        if self._records.exists():  # drop a last line that a crash cut off
            records = inside(self._records, folder, BackgroundError).read_bytes()
            whole, newline, rest = records.rpartition(b'\n')
            if rest:
                write_atomic(self._records, whole + newline)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Frames of the set, those of former runs included."""
        return tuple(self._paths)

    def camera(self) -> Camera | None:
        """Return the intrinsics in camera.yaml; None without frames or without a whole file.

        Raises:
            GeometryError: camera.yaml is no calibration.
        """
        path = self._folder / CAMERA_FILE
        if not self._paths or not path.exists() or not path.stat().st_size:
            return None
        return read_camera(inside(path, self._folder, BackgroundError))

    def save_camera(self, camera: Camera) -> None:
        """Write camera.yaml, or check it against the one of a former run.

        Raises:
            BackgroundError: the set was captured with other intrinsics.
            StorageError: writing failed.
        """
        path = self._folder / CAMERA_FILE
        if not path.exists() or not path.stat().st_size:
            text = yaml.safe_dump(camera.to_calibration(), sort_keys=False)
            write_atomic(path, text.encode())
        elif read_camera(path) != camera:
            raise BackgroundError(
                f'{path} holds other intrinsics than the camera sends now. A set belongs to one '
                'camera: give another folder, or delete this one to start afresh.'
            )

    def add(self, image: NDArray[np.uint8], record: FrameRecord) -> Path:
        """Write one frame and its record.

        Args:
            image: (H, W, 3) uint8 RGB.
            record: where it came from.

        Raises:
            StorageError: the disk is full; frames written before are intact.
        """
        path = self._frames / f'{self._next:06d}.{self._format}'
        write_atomic(path, encode_image(image, self._format))
        self._paths.append(path)
        self._next += 1
        line = json.dumps({'file': f'{FRAMES_FOLDER}/{path.name}', **asdict(record)}) + '\n'
        append_line(self._records, line.encode())
        return path
