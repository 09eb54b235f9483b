"""The description of a box: its size, and photographs of its faces with their corners.

    name: cookie_box
    size_m: {width: 0.258, depth: 0.1913, height: 0.0799}
    camera: camera.yaml               # optional: takes the lens distortion out
    faces:
      top:
        - {photo: top.jpg, corners_px: [[253, 114], [484, 174], [410, 291], [134, 194]]}
      front: ...

Corners are upper left, upper right, lower right, lower left as the print reads, in pixels whose
middle is a whole number. Paths are relative to the file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import field_validator

from synth_detect_ros.config.options import Options, build, read_mapping
from synth_detect_ros.config.rules import option
from synth_detect_ros.errors import ConfigError, GeometryError, ImageLimitError
from synth_detect_ros.files import decode_image, read_image_data
from synth_detect_ros.geometry.calibration import read_camera
from synth_detect_ros.geometry.camera import Camera
from synth_detect_ros.modelling.cuboid import Image, Vector
from synth_detect_ros.modelling.rectify import check_corners

# Of a class, and of files.
NAME = re.compile(r'[\w.-]+')

Face = Literal['top', 'bottom', 'front', 'back', 'left', 'right']
Corner = tuple[float, float]


class SizeOptions(Options):
    """Outer size of the box, seen from its front."""

    width: float = option(..., 'left to right', unit='m', low=1e-3, high=5)
    depth: float = option(..., 'front to back', unit='m', low=1e-3, high=5)
    height: float = option(..., 'bottom to top', unit='m', low=1e-3, high=5)


class FacePhotoOptions(Options):
    """One photograph of a face."""

    photo: str = option(..., 'image file')
    corners_px: tuple[Corner, Corner, Corner, Corner] = option(
        ..., 'upper left, upper right, lower right, lower left corner, x and y', unit='px'
    )


class BoxOptions(Options):
    """A box file."""

    name: str = option(..., 'class name; files are named after it')
    size_m: SizeOptions = option(..., 'outer size of the box')
    camera: str = option('', 'ROS calibration file of the photographs; empty: no distortion')
    faces: dict[Face, tuple[FacePhotoOptions, ...]] = option(..., 'photographs by face')

    @field_validator('name')
    @classmethod
    def _is_a_file_name(cls, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ValueError(f'wanted letters, digits, dots, dashes and underscores, got {name!r}')
        if name == 'turntable':  # the picture of the model is called so
            raise ValueError('turntable is taken. Choose another name.')
        return name

    @field_validator('faces', mode='before')
    @classmethod
    def _lists(cls, faces: Any) -> Any:
        """Take one photograph for a list of one."""
        if not isinstance(faces, Mapping):
            return faces
        return {k: [rows] if isinstance(rows, Mapping) else rows for k, rows in faces.items()}


@dataclass(frozen=True, eq=False)
class FacePhoto:
    """A photograph that shows a face.

    Attributes:
        path: of the image file.
        image: (H, W, 3) uint8 RGB.
        corners: (4, 2) float64, see `rectify.check_corners` [px].
    """

    path: Path
    image: Image
    corners: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Box:
    """A box to be modelled.

    Attributes:
        name: class name.
        size: along x, y, z: width, depth, height [m].
        faces: photographs by name of the face; at least one face has some.
        camera: of the photographs; None: they have no lens distortion.
    """

    name: str
    size: Vector
    faces: dict[str, list[FacePhoto]]
    camera: Camera | None


def read_box(path: Path) -> Box:
    """Read a box file and its photographs.

    Raises:
        ConfigError: the file is missing or no description of a box, a size is not positive, a
            face is unknown, a photograph is missing, no image or listed twice for a face, or its
            corners are no outline of a face.
        GeometryError: the calibration is broken.
    """
    options = build(BoxOptions, read_mapping(path), str(path))
    photographs: dict[Path, Image] = {}
    faces: dict[str, list[FacePhoto]] = {
        face: _face_photos(f'{path}: faces.{face}', rows, path.parent, photographs)
        for face, rows in options.faces.items()
    }
    if not faces:
        raise ConfigError(f'{path}: faces: wanted a photograph of one face at least, got none')
    calibration = path.parent / os.path.expanduser(options.camera)
    camera = read_camera(calibration) if options.camera else None
    for file, image in photographs.items():
        height, width = image.shape[:2]
        if camera is not None and camera.size != (width, height):
            raise ConfigError(
                f'{path}: camera: {options.camera} is for images of {camera.width} x '
                f'{camera.height} px, but {file} has {width} x {height}'
            )
    size = options.size_m
    return Box(options.name, (size.width, size.depth, size.height), faces, camera)


def _face_photos(
    source: str, rows: tuple[FacePhotoOptions, ...], folder: Path, photographs: dict[Path, Image]
) -> list[FacePhoto]:
    """Read the photographs of one face; each file is read once into `photographs`."""
    if not rows:
        raise ConfigError(f'{source}: wanted photo and corners_px, or a list of them')
    found: list[FacePhoto] = []
    for number, options in enumerate(rows):
        place = f'{source}[{number}]'
        file = folder / os.path.expanduser(options.photo)
        if file in [other.path for other in found]:
            raise ConfigError(f'{place}: {file} is listed twice: a photograph shows a face once')
        if file not in photographs:
            photographs[file] = _read_photograph(file, place)
        image, corners = photographs[file], np.array(options.corners_px, np.float64)
        try:
            check_corners(corners, image.shape[1], image.shape[0])
        except GeometryError as error:
            raise ConfigError(f'{place}: {file.name}: {error}') from error
        found.append(FacePhoto(file, image, corners))
    return found


def _read_photograph(file: Path, place: str) -> Image:
    try:
        image = decode_image(read_image_data(file))
    except OSError as error:
        raise ConfigError(f'{place}: photo: {file}: {error.strerror}') from error
    except ImageLimitError as error:
        raise ConfigError(f'{place}: photo: {file}: {error}') from error
    if image is None:
        raise ConfigError(
            f'{place}: photo: {file} is no complete PNG or JPEG image. Save it as one: HEIC is '
            'not read.'
        )
    return image
