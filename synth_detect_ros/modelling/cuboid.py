"""A textured cuboid: which way its faces look and read, its texture atlas, and its OBJ file.

The frame lies in the middle of the box: x to the right, y to the back, z up, seen from the front.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Vector = tuple[float, float, float]
# Texels around each face that repeat its border: what a mipmap mixes into a face that is drawn
# small, over the longest side of a face, and their least number.
GUTTER_SHARE, LEAST_GUTTER = 1 / 16, 8


@dataclass(frozen=True)
class Face:
    """How the print of a face lies on the box; its normal is right x up.

    Attributes:
        right: unit vector along which the print reads.
        up: unit vector from its lower to its upper edge.
        opposite: name of the face behind it.
    """

    right: Vector
    up: Vector
    opposite: str


# The bottom is read with its front edge at the top, as when the box is tipped onto its back.
FACES = {
    'top': Face((1, 0, 0), (0, 1, 0), 'bottom'),
    'bottom': Face((1, 0, 0), (0, -1, 0), 'top'),
    'front': Face((1, 0, 0), (0, 0, 1), 'back'),
    'back': Face((-1, 0, 0), (0, 0, 1), 'front'),
    'left': Face((0, -1, 0), (0, 0, 1), 'right'),
    'right': Face((0, 1, 0), (0, 0, 1), 'left'),
}


def face_size(name: str, size: Vector) -> tuple[float, float]:
    """Return width and height [m] of a face as its print reads.

    Args:
        name: one of `FACES`.
        size: of the box along x, y, z [m].
    """
    face = FACES[name]
    width, height = (float(np.abs(np.dot(axis, size))) for axis in (face.right, face.up))
    return width, height


def face_corners(name: str, size: Vector) -> NDArray[np.float64]:
    """Return the corners (4, 3) [m] of a face: upper left, upper right, lower right, lower left.

    Args:
        name: one of `FACES`.
        size: of the box along x, y, z [m].
    """
    face = FACES[name]
    right, up = np.array(face.right, np.float64), np.array(face.up, np.float64)
    signs = ((-1, 1), (1, 1), (1, -1), (-1, -1))
    corners = [np.cross(right, up) + x * right + y * up for x, y in signs]
    return np.array(corners) * np.array(size) / 2


def atlas(textures: Mapping[str, Image]) -> tuple[Image, dict[str, NDArray[np.float64]]]:
    """Lay the faces out in one image, each with a gutter around it.

    Args:
        textures: (h, w, 3) uint8 RGB of each face in `FACES`; opposite ones have one size.

    Returns:
        The atlas (H, W, 3) uint8 RGB, and for each face the texture coordinates (4, 2) in [0, 1],
        v upward, of its corners in the order of `face_corners`.
    """
    longest = max(max(image.shape) for image in textures.values())
    gutter = max(round(GUTTER_SHARE * longest), LEAST_GUTTER)
    cell = max(image.shape[1] for image in textures.values()) + 2 * gutter
    rows = [(name, face.opposite) for name, face in list(FACES.items())[::2]]
    height, width = sum(len(textures[name]) + 2 * gutter for name, _ in rows), 2 * cell
    bands, coordinates, y = [], {}, gutter
    for row in rows:
        cells = []
        for x, name in zip((gutter, cell + gutter), row, strict=True):
            h, w = textures[name].shape[:2]
            around = ((gutter, gutter), (gutter, cell - gutter - w), (0, 0))
            cells.append(np.pad(textures[name], around, mode='edge'))
            edges = [(x, y), (x + w, y), (x + w, y + h), (x, y + h)]
            coordinates[name] = np.array([(u / width, 1 - v / height) for u, v in edges])
        bands.append(np.hstack(cells))
        y += len(textures[row[0]]) + 2 * gutter
    return np.vstack(bands), coordinates


def obj_text(name: str, size: Vector, coordinates: Mapping[str, NDArray[np.float64]]) -> str:
    """Return an OBJ file of the box: metres, two triangles a face.

    Args:
        name: of the object; its material file is `<name>.mtl`.
        size: of the box along x, y, z [m].
        coordinates: texture coordinates of each face, see `atlas`.
    """
    lines = [f'mtllib {name}.mtl', f'o {name}', f'usemtl {name}']
    faces = []
    for number, face in enumerate(FACES):
        lines += ['v {:.6f} {:.6f} {:.6f}'.format(*corner) for corner in face_corners(face, size)]
        lines += ['vt {:.6f} {:.6f}'.format(*point) for point in coordinates[face]]
        a, b, c, d = (f'{k}/{k}' for k in range(4 * number + 1, 4 * number + 5))
        faces += [f'f {a} {d} {c}', f'f {a} {c} {b}']  # counter-clockwise from outside
    return '\n'.join([*lines, *faces]) + '\n'


def mtl_text(name: str) -> str:
    """Return the material file that belongs to `obj_text`; its texture is `<name>.png`."""
    return f'newmtl {name}\nKa 1 1 1\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {name}.png\n'
