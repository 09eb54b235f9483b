"""moderngl against pyrender, the reference: same outlines, boxes, colours and depth."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import drawings
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get('DATA') or ROOT.parent / 'shared' / 'data')
OWN = ('cube', 'ball', 'junction_box')
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec('pyrender') is None, reason='pyrender is not installed'
)
Drawing = dict[str, np.ndarray]


@pytest.fixture(scope='module')
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, list[Drawing]]]:
    """Return by backend, then by mesh, the drawings in the order of distance."""
    folder, data = tmp_path_factory.mktemp('drawings'), str(DATA) if DATA.is_dir() else ''
    running = [
        subprocess.Popen([sys.executable, drawings.__file__, name, folder / f'{name}.npz', data])
        for name in ('moderngl', 'pyrender')
    ]
    assert [process.wait() for process in running] == [0, 0]
    found: dict[str, dict[str, list[Drawing]]] = {}
    for name in ('moderngl', 'pyrender'):
        meshes = found[name] = {}
        for key, value in np.load(folder / f'{name}.npz').items():
            mesh, _, number, kind = key.split('/')
            views = meshes.setdefault(mesh, [{} for _ in range(6)])
            views[int(number)][kind] = value
    return found


def pairs(drawn: dict, mesh: str, other: str, backend: str) -> list[tuple[Drawing, Drawing]]:
    if mesh not in drawn['moderngl']:
        pytest.skip(f'real data needed: no folder {DATA}; set DATA')
    return list(zip(drawn['moderngl'][mesh], drawn[backend][other], strict=True))


def overlap(one: Drawing, other: Drawing) -> float:
    """Return the intersection over union of two silhouettes."""
    np.testing.assert_array_equal(one['place'][:2], other['place'][:2])
    a, b = (drawing['colour'][..., 3] >= 128 for drawing in (one, other))
    return float((a & b).sum() / (a | b).sum())


def colour_error(one: Drawing, other: Drawing) -> np.ndarray:
    """Return the largest difference of a channel in each pixel that both cover, in grey levels."""
    a, b = (drawing['colour'].astype(int) for drawing in (one, other))
    inside = (a[..., 3] == 255) & (b[..., 3] == 255)
    return np.abs(a - b)[inside].max(axis=1)


def depth_error(one: Drawing, other: Drawing) -> np.ndarray:
    """Return the relative difference of depth in each pixel that both cover."""
    inside = np.isfinite(one['depth']) & np.isfinite(other['depth'])
    return np.abs(one['depth'][inside] / other['depth'][inside] - 1)


@pytest.mark.parametrize('mesh', [*OWN, *drawings.SCANS])
def test_backends_draw_the_same(drawn: dict, mesh: str) -> None:
    """All triangles in both: same arithmetic, so that only rounding and single samples differ."""
    for ours, reference in pairs(drawn, mesh, mesh, 'pyrender'):
        assert overlap(ours, reference) >= 0.998
        np.testing.assert_allclose(ours['place'], reference['place'], atol=1)
        error = colour_error(ours, reference)
        assert error.mean() < 0.5 and np.quantile(error, 0.99) <= 3
        # pyrender reads the depth of one sample, beside the middle of the pixel; surfaces slope.
        error = depth_error(ours, reference)
        assert np.median(error) < 2e-3 and np.quantile(error, 0.9) < 0.01


@pytest.mark.parametrize('mesh', [*OWN, *drawings.SCANS])
def test_levels_of_detail_shift_nothing_by_a_pixel(drawn: dict, mesh: str) -> None:
    """Half a pixel of shift changes outline pixels, and pixels on borders in the texture."""
    for ours, full in pairs(drawn, f'{mesh} in levels', mesh, 'moderngl'):
        perimeter = 4 * np.sqrt((full['colour'][..., 3] >= 128).sum())
        area = perimeter**2 / 16
        assert overlap(ours, full) >= 1 - 0.5 * perimeter / area
        np.testing.assert_allclose(ours['place'], full['place'], atol=1)
        error = colour_error(ours, full)
        assert error.mean() < 7 and np.quantile(error, 0.99) < 45
        assert np.median(depth_error(ours, full)) < 2e-3


def test_levels_of_detail_are_drawn(drawn: dict) -> None:
    """Far away, fewer triangles give another picture than all, near by the same one."""
    views = pairs(drawn, 'ball in levels', 'ball', 'moderngl')
    assert (views[-1][0]['depth'] != views[-1][1]['depth']).any()
