"""What the readers of CAD files give: triangles by their corners, with all that is painted on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.errors import MeshError

Floats = NDArray[np.float64]
Colours = NDArray[np.uint8]

# Colour of a file that has none, and of one with texture coordinates for a texture it lacks.
GREY = (178, 178, 178)
UNPAINTED = (102, 102, 102)
WHITE = (255, 255, 255)


@dataclass(frozen=True, eq=False)
class Piece:
    """Triangles that share one texture.

    Attributes:
        corners: (3F, 3) float64 in the unit of the file, three rows a triangle.
        colours: (3F, 3) uint8 RGB, multiplied with the texture where there is one.
        uv: (3F, 2) float32 texture coordinates, v upward, or None.
        texture: (H, W, 3) uint8 RGB, first row at the top, or None.
    """

    corners: Floats
    colours: Colours
    uv: NDArray[np.float32] | None = None
    texture: NDArray[np.uint8] | None = None


@dataclass(frozen=True, eq=False)
class Contents:
    """A CAD file as it was read.

    Attributes:
        pieces: those with triangles.
        metre: length of the file's unit [m] where the file says it; None: it does not.
        remarks: what is not as the numbers in the file are, for example a turned frame.
    """

    pieces: tuple[Piece, ...]
    metre: float | None = None
    remarks: tuple[str, ...] = ()


def one_colour(colour: Any, corners: int) -> Colours:
    """Return an RGB colour (3,), 0..255, for a number of corners: (N, 3)."""
    return np.broadcast_to(np.asarray(colour)[:3], (corners, 3)).astype(np.uint8)


def to_bytes(shares: Any) -> Colours:
    """Return colours from 0..1 as uint8 0..255; what is no number as 0."""
    values = np.nan_to_num(np.asarray(shares, np.float64), posinf=0.0, neginf=0.0)
    return np.asarray((np.clip(values, 0, 1) * 255).round(), np.uint8)


def to_srgb(linear: Any) -> Floats:
    """Return linear light 0..1 as sRGB 0..1 (IEC 61966-2-1)."""
    light = np.clip(np.nan_to_num(np.asarray(linear, np.float64)), 0, 1)
    curve = 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055
    return np.asarray(np.where(light <= 0.0031308, 12.92 * light, curve), np.float64)


def check_indices(indices: NDArray[Any], count: int, what: str) -> None:
    """Refuse indices that point at nothing.

    Args:
        indices: from 0.
        count: of what is pointed at.
        what: says where the indices stand, and what they point at.

    Raises:
        MeshError: one is negative or not below the count.
    """
    if indices.size and (indices.min() < 0 or indices.max() >= count):
        wrong = indices[(indices < 0) | (indices >= count)].reshape(-1)[0]
        raise MeshError(f'{what} {int(wrong)} is not there: wanted 0 to {count - 1}')
