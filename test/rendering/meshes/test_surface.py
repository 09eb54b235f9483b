"""Normals of corners: by the faces around a point that bend little, however many these are."""

import numpy as np
import pytest
from numpy.typing import NDArray

from synth_detect_ros.rendering.meshes import surface
from synth_detect_ros.rendering.meshes.surface import CREASE_DEG, MANY_FACES, corner_normals


def fan(rims: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the corners (3F, 3) of triangles between the origin and pairs (F, 2, 3)."""
    return np.concatenate([np.zeros((len(rims), 1, 3)), rims], axis=1).reshape(-1, 3)


def cone(faces: int, height: float) -> NDArray[np.float64]:
    angle = np.linspace(0, 2 * np.pi, faces + 1)
    rim = np.stack([np.cos(angle), np.sin(angle), np.full(faces + 1, -height)], axis=1)
    return fan(np.stack([rim[:-1], rim[1:]], axis=1))


def star(faces: int) -> NDArray[np.float64]:
    """Return triangles around one point that look everywhere."""
    return fan(np.random.default_rng(3).normal(size=(faces, 2, 3)))


FANS = {
    'few faces': cone(MANY_FACES, 1.0),
    'flat': cone(1000, 0.0),
    'shallow': cone(1000, 0.3),
    'steep': cone(1000, 1.0),
    'crumpled': star(900),
}


@pytest.mark.parametrize('name', FANS)
def test_the_tip_of_a_fan_averages_what_bends_little(name: str) -> None:
    corners = FANS[name]
    triangles = corners.reshape(-1, 3, 3)
    weighted = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    flat = weighted / np.linalg.norm(weighted, axis=1, keepdims=True)
    wanted = (flat @ flat.T > np.cos(np.deg2rad(CREASE_DEG))) @ weighted
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(corner_normals(corners)[0::3], wanted, atol=1e-9)


@pytest.mark.parametrize('height', [0.0, 0.3, 1.0, 4.0])
def test_comparisons_grow_with_the_faces_not_their_square(
    monkeypatch: pytest.MonkeyPatch, height: float
) -> None:
    compare, pairs = surface._bend_little, []

    def count(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.bool_]:
        pairs.append(len(a) * len(b))
        return compare(a, b)

    monkeypatch.setattr(surface, '_bend_little', count)
    compared = []
    for faces in (5000, 20000):
        corner_normals(cone(faces, height))
        compared.append(sum(pairs))
        pairs.clear()
    assert compared[1] <= 5 * compared[0] and compared[1] < 500 * 20000
