"""Levels of detail: fewer triangles, no cracks, and an error that is what it says."""

from pathlib import Path

import numpy as np
import pytest
import scenes
import trimesh
from numpy.typing import NDArray

from synth_detect_ros.dataset.inputs import read_inputs
from synth_detect_ros.rendering.meshes.cad_file import load_mesh
from synth_detect_ros.rendering.meshes.levels import FEWEST, LARGEST_ERROR, with_levels
from synth_detect_ros.rendering.meshes.mesh import Mesh, MeshPart, part_of_corners
from synth_detect_ros.rendering.meshes.surface import is_closed, point_numbers

TEXTURE = np.full((8, 8, 3), 200, np.uint8)
# Errors are measured on the vertices of the mesh; between them they may be larger by this factor.
BETWEEN = 1.5


def part(ball: trimesh.Trimesh, colours: object = 200, textured: bool = False) -> MeshPart:
    """Return a part; its texture coordinates are longitude and height, with a seam."""
    corner = ball.faces.reshape(-1)
    positions = ball.vertices[corner]
    colours = np.broadcast_to(np.asarray(colours, np.uint8), (len(ball.vertices), 3))[corner]
    if not textured:
        return part_of_corners(positions, colours, None, None)
    angle = np.arctan2(positions[:, 1], positions[:, 0]).reshape(-1, 3) / (2 * np.pi)
    wraps = np.ptp(angle, axis=1, keepdims=True) > 0.5
    uv = np.stack(
        [np.where(wraps & (angle < 0), angle + 1, angle).reshape(-1), positions[:, 2]], 1
    )
    return part_of_corners(positions, colours, uv.astype(np.float32), TEXTURE)


def tube(sections: int = 48, rings: int = 24) -> trimesh.Trimesh:
    """Return a bent sheet, closed around, open at both ends."""
    a, z = np.meshgrid(np.linspace(0, 2 * np.pi, sections + 1)[:-1], np.linspace(0, 0.2, rings))
    radius = 0.05 + 0.01 * np.sin(8 * z / 0.2)
    points = np.stack([radius * np.cos(a), radius * np.sin(a), z], axis=2).reshape(-1, 3)
    number = np.arange(sections * rings).reshape(rings, sections)
    p, q = number[:-1], number[1:]
    a, b = np.roll(p, -1, axis=1), np.roll(q, -1, axis=1)
    faces = np.concatenate([np.stack([p, a, q], 2), np.stack([a, b, q], 2)]).reshape(-1, 3)
    return trimesh.Trimesh(points, faces, process=False)


BALL = trimesh.creation.icosphere(subdivisions=4, radius=0.05)
MESHES = {
    'ball': Mesh((part(BALL),), True),
    'textured ball': Mesh((part(BALL, textured=True),), True),
    'textured tube': Mesh((part(tube(), textured=True),)),
    'two halves': Mesh(
        tuple(
            part(
                trimesh.Trimesh(BALL.vertices, BALL.faces[half], process=False), textured=textured
            )
            for textured, half in (
                (True, BALL.triangles_center[:, 0] > 0),
                (False, BALL.triangles_center[:, 0] <= 0),
            )
        ),
        True,
    ),
}


@pytest.fixture(scope='module', params=MESHES)
def mesh(request: pytest.FixtureRequest) -> Mesh:
    return with_levels(MESHES[request.param])


def corners(parts: tuple[MeshPart, ...]) -> NDArray[np.float64]:
    return np.concatenate([p.vertices[p.faces].reshape(-1, 3) for p in parts]).astype(np.float64)


def border(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the ends (N, 3) of the edges that one triangle has."""
    point = point_numbers(positions).reshape(-1, 3)
    start, end = point.reshape(-1), np.roll(point, -1, axis=1).reshape(-1)
    count = int(point.max()) + 1
    alone = ~np.isin(start * count + end, end * count + start)
    return positions[alone]


def as_trimesh(parts: tuple[MeshPart, ...]) -> trimesh.Trimesh:
    """Return the triangles that have an area; trimesh before 5.2 finds no distance to others."""
    positions = corners(parts)
    mesh = trimesh.Trimesh(positions, np.arange(len(positions)).reshape(-1, 3), process=False)
    mesh.update_faces(mesh.nondegenerate_faces())
    return mesh


def distances(source: tuple[MeshPart, ...], target: tuple[MeshPart, ...]) -> float:
    """Return the largest distance from points on one surface to the other."""
    points, _ = trimesh.sample.sample_surface(as_trimesh(source), 150, seed=1)
    return float(trimesh.proximity.closest_point_naive(as_trimesh(target), points)[1].max())


def test_each_level_has_fewer_triangles_and_more_error(mesh: Mesh) -> None:
    assert len(mesh.levels) >= 3
    counts = [len(corners(level.parts)) for level in (mesh, *mesh.levels)]
    errors = [0.0, *(level.error for level in mesh.levels)]
    assert counts == sorted(counts, reverse=True) and counts[-1] < counts[0] / 4
    assert errors == sorted(errors) and errors[-1] <= LARGEST_ERROR * mesh.diameter


def test_surfaces_are_no_farther_apart_than_the_error(mesh: Mesh) -> None:
    for level in mesh.levels[::3]:
        assert distances(mesh.parts, level.parts) <= BETWEEN * level.error
        assert distances(level.parts, mesh.parts) <= BETWEEN * level.error


def test_nothing_opens(mesh: Mesh) -> None:
    open_ends = border(corners(mesh.parts))
    for level in mesh.levels:
        assert is_closed(corners(level.parts)) == mesh.closed
        ends = border(corners(level.parts))
        assert len(ends) <= len(open_ends) and (len(ends) > 0) == (len(open_ends) > 0)


def test_borders_stay_where_they_are(mesh: Mesh) -> None:
    for level in mesh.levels:
        ends = border(corners(level.parts))
        assert np.isin(np.round(ends[:, 2], 6), (0.0, 0.2)).all()


def test_vertices_keep_their_texture(mesh: Mesh) -> None:
    for level in mesh.levels:
        for full, few in zip(mesh.parts, level.parts, strict=True):
            assert few.texture is full.texture
            if full.uv is not None:
                table = {row.tobytes() for row in np.hstack([full.vertices, full.uv])}
                assert all(row.tobytes() in table for row in np.hstack([few.vertices, few.uv]))


@pytest.mark.parametrize('name', ['textured ball', 'textured tube'])
def test_texture_is_shown_where_it_was(name: str) -> None:
    """Coordinates are longitude and height: all over the triangles they must fit the place."""
    mesh = with_levels(MESHES[name])
    for level in mesh.levels:
        (few,) = level.parts
        weights = np.random.default_rng(0).dirichlet(np.ones(3), (len(few.faces), 3))
        place, uv = (
            np.einsum('fkc,fcd->fkd', weights, v[few.faces]) for v in (few.vertices, few.uv)
        )
        np.testing.assert_allclose(uv[..., 1], place[..., 2], atol=1e-6)
        angle = np.arctan2(place[..., 1], place[..., 0]) / (2 * np.pi)
        turn = np.abs((uv[..., 0] - angle + 0.5) % 1 - 0.5) * 2 * np.pi
        shift = (turn * np.linalg.norm(place[..., :2], axis=2))[off_poles(place)]
        assert shift.max() <= BETWEEN * level.error


def off_poles(place: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return where longitude is defined well: at the poles of the ball it is not."""
    return np.linalg.norm(place[..., :2], axis=2) > 0.025


def test_colour_borders_stay() -> None:
    sides = np.where(BALL.vertices[:, 2:] > 0.001, [[200, 20, 20]], [[20, 20, 200]])
    mesh = with_levels(Mesh((part(BALL, sides),), True))
    (few,) = mesh.levels[-1].parts
    assert len(few.faces) < len(BALL.faces) / 2
    red = few.colours[:, 0] == 200
    np.testing.assert_array_equal(red, few.vertices[:, 2] > 0.001)
    mixed = red[few.faces].any(axis=1) & ~red[few.faces].all(axis=1)
    full = mesh.parts[0]
    heights = full.vertices[full.faces[np.ptp(full.colours[full.faces][..., 0], axis=1) > 0]][
        ..., 2
    ]
    slack = mesh.levels[-1].error
    assert few.vertices[few.faces[mixed]][..., 2].min() >= heights.min() - slack


def test_small_and_flat_meshes_are_left_alone_or_cut_to_their_outline() -> None:
    box = Mesh((part(trimesh.creation.box((0.1, 0.1, 0.1))),), True)
    assert len(box.parts[0].faces) < FEWEST and with_levels(box) is box
    x, y = np.meshgrid(np.linspace(0, 0.1, 21), np.linspace(0, 0.1, 21))
    number = np.arange(21 * 21).reshape(21, 21)
    p, q, r, s = number[:-1, :-1], number[:-1, 1:], number[1:, :-1], number[1:, 1:]
    faces = np.concatenate([np.stack([p, q, r], 2), np.stack([q, s, r], 2)]).reshape(-1, 3)
    points = np.stack([x, y, 0 * x], axis=2).reshape(-1, 3)
    sheet = with_levels(Mesh((part(trimesh.Trimesh(points, faces, process=False)),)))
    last = sheet.levels[-1]
    assert len(last.parts[0].faces) < 20 and last.error < 1e-9
    assert as_trimesh(last.parts).area == pytest.approx(0.01)


def test_the_same_mesh_gives_the_same_levels() -> None:
    first, again = (with_levels(MESHES['textured ball']) for _ in range(2))
    for one, other in zip(first.levels, again.levels, strict=True):
        assert one.error == other.error
        np.testing.assert_array_equal(one.parts[0].faces, other.parts[0].faces)


def test_broken_triangles_do_no_harm() -> None:
    """Two points of a triangle in one place, edges of three triangles, triangles on a line."""
    odd = np.concatenate([BALL.faces, [[0, 0, 1], [5, 6, 900]], BALL.faces[:1]])
    mesh = with_levels(Mesh((part(trimesh.Trimesh(BALL.vertices, odd, process=False)),)))
    for level in mesh.levels:
        assert np.isfinite(corners(level.parts)).all()
    assert distances(mesh.parts, mesh.levels[0].parts) <= BETWEEN * mesh.levels[0].error


def test_levels_of_a_real_scan(data_dir: Path) -> None:
    scan = load_mesh(data_dir / 'models' / 'ycb' / '035_power_drill' / 'textured.dae', 'm')
    mesh = with_levels(scan)
    assert len(mesh.levels) >= 4 and len(mesh.levels[-1].parts[0].faces) < 2000
    full, few = mesh.parts[0], mesh.levels[-1].parts[0]
    assert is_closed(corners((few,))) == scan.closed
    assert distances((full,), (few,)) <= BETWEEN * mesh.levels[-1].error


def test_the_reference_renderer_gets_all_triangles(tmp_path: Path) -> None:
    config = scenes.config(tmp_path)
    ours, reference = read_inputs(config), read_inputs(config.replace(renderer='pyrender'))
    assert ours.targets[1].mesh.levels
    assert not any(m.mesh.levels for m in (*reference.targets, *reference.distractors))
