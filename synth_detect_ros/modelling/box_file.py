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

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from synth_detect_ros.config.options import Options, build, read_mapping
from synth_detect_ros.config.rules import option
from synth_detect_ros.dataset.files import decode_image
from synth_detect_ros.errors import ConfigError, GeometryError
from synth_detect_ros.geometry.camera import Camera, read_camera
from synth_detect_ros.modelling.cuboid import FACES, Image, Vector
from synth_detect_ros.modelling.rectify import check_corners

# Of a class, and of files.
NAME = re.compile(r'[\w.-]+')


class SizeOptions(Options):
    """Outer size of the box, seen from its front."""

    width: float = option(0.0, 'left to right', unit='m', high=5)
    depth: float = option(0.0, 'front to back', unit='m', high=5)
    height: float = option(0.0, 'bottom to top', unit='m', high=5)

    @model_validator(mode='after')
    def _fits(self) -> SizeOptions:
        for key, value in vars(self).items():
            if value <= 0:
                raise ConfigError(f'{key}: wanted the size in metres, above 0, got {value:g}')
        return self


class FacePhotoOptions(Options):
    """One photograph of a face."""

    photo: str = option('', 'image file')
    corners_px: tuple[tuple[float, ...], ...] = option((), 'four corners, x and y', unit='px')

    @model_validator(mode='after')
    def _fits(self) -> FacePhotoOptions:
        if not self.photo:
            raise ConfigError('photo: wanted an image file, got none')
        if len(self.corners_px) != 4 or any(len(point) != 2 for point in self.corners_px):
            raise ConfigError(
                f'corners_px: wanted four corners [x, y], got {[list(p) for p in self.corners_px]}'
            )
        return self


class BoxOptions(Options):
    """A box file."""

    name: str = option('', 'class name; files are named after it')
    size_m: SizeOptions | None = option(None, 'outer size of the box', unit='m')
    camera: str = option('', 'ROS calibration file of the photographs')
    faces: dict[str, Any] = option(dict, f'photographs by face: {", ".join(FACES)}')

    @model_validator(mode='after')
    def _fits(self) -> BoxOptions:
        if not NAME.fullmatch(self.name):
            raise ConfigError(
                f'name: wanted letters, digits, dots, dashes and underscores, got {self.name!r}'
            )
        if self.name == 'turntable':  # the picture of the model is called so
            raise ConfigError('name: turntable is taken. Choose another name.')
        if self.size_m is None:
            raise ConfigError('size_m: wanted width, depth and height in metres, got none')
        unknown = [face for face in self.faces if face not in FACES]
        if unknown:
            raise ConfigError(f'faces: {unknown[0]!r} is no face. Choose of {", ".join(FACES)}.')
        return self


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
            face is unknown or stands there twice, a photograph is missing or no image, or its
            corners are no outline of a face.
        GeometryError: the calibration is broken.
    """
    options = build(BoxOptions, read_mapping(path), str(path))
    assert options.size_m is not None
    photographs: dict[Path, Image] = {}
    faces = {
        face: _face_photos(f'{path}: faces.{face}', rows, path.parent, photographs)
        for face, rows in options.faces.items()
    }
    if not faces:
        raise ConfigError(f'{path}: faces: wanted a photograph of one face at least, got none')
    calibration = path.parent / Path(options.camera).expanduser()
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
    source: str, rows: Any, folder: Path, photographs: dict[Path, Image]
) -> list[FacePhoto]:
    """Read the photographs of one face; each file is read once into `photographs`."""
    rows = [rows] if isinstance(rows, Mapping) else rows
    if not isinstance(rows, list) or not rows or not all(isinstance(r, Mapping) for r in rows):
        raise ConfigError(f'{source}: wanted photo and corners_px, or a list of them')
    found: list[FacePhoto] = []
    for number, row in enumerate(rows):
        place = f'{source}[{number}]'
        options = build(FacePhotoOptions, row, place)
        file = folder / Path(options.photo).expanduser()
        if file in [other.path for other in found]:
            raise ConfigError(f'{place}: {file} stands there twice: one face, one outline')
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
        image = decode_image(file.read_bytes())
    except OSError as error:
        raise ConfigError(f'{place}: photo: {file}: {error.strerror}') from error
    if image is None:
        raise ConfigError(
            f'{place}: photo: {file} is no complete PNG or JPEG image. Save it as one: HEIC, and '
            'photographs with a film behind them, are not read.'
        )
    return image
