"""A textured CAD model of a box, from its size and photographs of its faces."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from synth_detect_ros.errors import ConfigError
from synth_detect_ros.files import encode_image, make_folder, write_atomic
from synth_detect_ros.modelling.box_file import Box, FacePhoto, read_box
from synth_detect_ros.modelling.cuboid import (
    FACES,
    Image,
    atlas,
    face_size,
    mtl_text,
    obj_text,
)
from synth_detect_ros.modelling.rectify import face_extent, rectify, sharpness
from synth_detect_ros.modelling.turntable import turntable
from synth_detect_ros.rendering.meshes.cad_file import load_mesh

logger = logging.getLogger(__name__)

# Longest side of a face's texture [px]: three of them, and their gutters, fit into the 4096 that
# the renderer keeps of a texture.
LARGEST_SIDE = 1200
PICTURE = 'turntable.png'


@dataclass(frozen=True, eq=False)
class FaceTexture:
    """What a face of the model looks like, and why.

    Attributes:
        image: (h, w, 3) uint8 RGB.
        source: the photograph, or 'as <face>', or 'plain'.
        sharpness: of the photograph, see `rectify.sharpness`; None without one.
    """

    image: Image
    source: str
    sharpness: float | None = None


def model_box(path: Path, out: Path) -> dict[str, FaceTexture]:
    """Make a CAD model of the box that a file describes.

    Args:
        path: box file, see `box_file`.
        out: folder; gets `<name>.obj`, `<name>.mtl`, `<name>.png`, `objects.yaml` for
            `synthesize` and `turntable.png`, a picture of all sides.

    Returns:
        The faces by name.

    Raises:
        ConfigError: see `box_file.read_box`; or a photograph would be overwritten.
        GeometryError: see `box_file.read_box`.
        RenderingError: there is no OpenGL for the turntable; the model is there.
        StorageError: the folder cannot be written.
    """
    box = read_box(path)
    _spare_photographs(box, out)
    faces = textures_of(box)
    for name, face in faces.items():
        if face.sharpness is None:
            logger.warning('%s: no photograph of it, painted %s', name, face.source)
    image, coordinates = atlas({name: face.image for name, face in faces.items()})
    make_folder(out)
    write_atomic(out / f'{box.name}.png', encode_image(image, 'png'))
    write_atomic(out / f'{box.name}.mtl', mtl_text(box.name).encode())
    model = out / f'{box.name}.obj'
    write_atomic(model, obj_text(box.name, box.size, coordinates).encode())
    entry = {'name': box.name, 'mesh': model.name, 'unit': 'm'}
    objects = yaml.safe_dump({'objects': [entry]}, sort_keys=False)
    write_atomic(out / 'objects.yaml', objects.encode())
    picture = turntable(load_mesh(model, 'm'))
    write_atomic(out / PICTURE, encode_image(picture, 'png'))
    return faces


def _spare_photographs(box: Box, out: Path) -> None:
    photographs = {
        os.path.realpath(photo.path) for photos in box.faces.values() for photo in photos
    }
    for file in (f'{box.name}.png', PICTURE):
        if os.path.realpath(out / file) in photographs:
            raise ConfigError(
                f'{out / file} is one of the photographs: the model would overwrite it. Give '
                'another folder, or the box another name.'
            )


def textures_of(box: Box) -> dict[str, FaceTexture]:
    """Return the texture of every face: of its sharpest photograph, or of the face behind it.

    All have the same texels a metre: as many as the photograph that shows most.
    """
    density = _texels_per_metre(box)

    def texels(name: str) -> tuple[int, int]:
        width, height = (max(round(side * density), 1) for side in face_size(name, box.size))
        return width, height

    shown = {name: _sharpest(photos, texels(name), box) for name, photos in box.faces.items()}
    mean = np.mean([face.image.mean(axis=(0, 1)) for face in shown.values()], axis=0)
    return {name: shown.get(name) or _stand_in(name, shown, texels(name), mean) for name in FACES}


def _texels_per_metre(box: Box) -> float:
    """Return the density of the photograph that shows most, at most what an atlas can hold."""
    densities = [
        pixels / metres
        for name, photos in box.faces.items()
        for photo in photos
        for pixels, metres in zip(
            face_extent(photo.corners), face_size(name, box.size), strict=True
        )
    ]
    return min(max(densities), LARGEST_SIDE / max(box.size))


def _sharpest(photos: list[FacePhoto], size: tuple[int, int], box: Box) -> FaceTexture:
    candidates = []
    for photo in photos:
        image = rectify(photo.image, photo.corners, size, box.camera)
        candidates.append(FaceTexture(image, photo.path.name, sharpness(image)))
    return max(candidates, key=lambda face: face.sharpness or 0.0)


def _stand_in(
    name: str, shown: Mapping[str, FaceTexture], size: tuple[int, int], mean: np.ndarray
) -> FaceTexture:
    """Return the texture of a face that nobody photographed."""
    opposite = FACES[name].opposite
    if opposite in shown:
        return FaceTexture(shown[opposite].image, f'as {opposite}')
    plain = np.broadcast_to(np.rint(mean).astype(np.uint8), (size[1], size[0], 3))
    return FaceTexture(np.ascontiguousarray(plain), 'plain')
