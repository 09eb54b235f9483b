"""CAD files: every format gives the same metres, normals and colours; bad files are named."""

from pathlib import Path

import numpy as np
import pytest
import scenes
import trimesh
from PIL import Image

from synth_detect_ros.errors import MeshError
from synth_detect_ros.rendering.meshes.cad_file import GREY, LARGEST_TEXTURE, load_mesh
from synth_detect_ros.rendering.meshes.surface import diameter_of, is_closed


def box(tmp_path: Path, suffix: str, size: tuple[float, ...] = (0.3, 0.2, 0.1)) -> Path:
    path = tmp_path / f'box.{suffix}'
    trimesh.creation.box(size).export(path)
    return path


def corners_of(geometry: trimesh.Trimesh) -> np.ndarray:
    return np.asarray(geometry.vertices)[geometry.faces.reshape(-1)]


@pytest.mark.parametrize('suffix', ['obj', 'ply', 'stl', 'glb', 'dae', 'off'])
def test_every_format_gives_the_same_geometry(tmp_path: Path, suffix: str) -> None:
    mesh = load_mesh(box(tmp_path, suffix))
    assert mesh.diameter == pytest.approx(np.sqrt(0.14), rel=1e-5)
    assert mesh.radius == pytest.approx(mesh.diameter / 2, rel=1e-5)
    np.testing.assert_allclose(mesh.centre, 0, atol=1e-6)
    assert len(mesh.vertices) == 8 and mesh.closed
    assert sum(len(part.faces) for part in mesh.parts) == 12


def test_a_box_has_sharp_normals_and_a_ball_smooth_ones(tmp_path: Path) -> None:
    for part in load_mesh(box(tmp_path, 'stl')).parts:
        assert np.isclose(np.abs(part.normals).max(axis=1), 1).all()
        a, b, c = (part.vertices[part.faces[:, k]] for k in range(3))
        outward = (np.cross(b - a, c - a) * part.normals[part.faces[:, 0]]).sum(axis=1)
        assert (outward > 0).all()
    for part in scenes.sphere(tmp_path).parts:
        radial = part.vertices / np.linalg.norm(part.vertices, axis=1, keepdims=True)
        assert (part.normals * radial).sum(axis=1).min() > np.cos(np.deg2rad(3))
        assert len(part.vertices) == 10 * 4**4 + 2  # shared between faces: nothing is sharp


@pytest.mark.parametrize(
    ('scale', 'unit', 'diameter'),
    [(1, 'auto', 0.374), (1, 'm', 0.374), (1000, 'auto', 0.374), (1000, 'mm', 0.374)],
)
def test_units_end_in_metres(tmp_path: Path, scale: float, unit: str, diameter: float) -> None:
    path = box(tmp_path, 'stl', (0.3 * scale, 0.2 * scale, 0.1 * scale))
    assert load_mesh(path, unit).diameter == pytest.approx(diameter, rel=1e-3)


@pytest.mark.parametrize(
    ('size', 'unit', 'advice'),
    [
        (300.0, 'm', 'unit: mm'),  # a model in millimetres read as metres
        (0.3, 'mm', 'unit: m'),
        (9000.0, 'auto', 'scale the model'),
        (0.001, 'auto', 'scale the model'),
    ],
)
def test_an_implausible_size_is_refused_with_advice(
    tmp_path: Path, size: float, unit: str, advice: str
) -> None:
    path = box(tmp_path, 'stl', (size, size, size))
    with pytest.raises(MeshError, match=f'box.stl.*diameter.*{advice}'):
        load_mesh(path, unit)


def test_an_unknown_unit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MeshError, match='m, cm, mm, inch, auto'):
        load_mesh(box(tmp_path, 'stl'), 'foot')


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MeshError, match=r'none\.obj: no such CAD file'):
        load_mesh(tmp_path / 'none.obj')


@pytest.mark.parametrize('name', ['empty.obj', 'empty.stl', 'noise.ply', 'noise.glb', 'cad.xyzw'])
def test_an_empty_or_broken_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b'' if 'empty' in name else bytes(range(256)))
    with pytest.raises(MeshError, match=name):
        load_mesh(tmp_path / name)


def test_a_point_cloud_is_refused(tmp_path: Path) -> None:
    trimesh.PointCloud(np.eye(3)).export(tmp_path / 'points.ply')
    with pytest.raises(MeshError, match='wanted triangles'):
        load_mesh(tmp_path / 'points.ply')


def test_vertices_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    (tmp_path / 'nan.obj').write_text('v 0 0 0\nv 1 0 0\nv nan 1 0\nf 1 2 3\n')
    with pytest.raises(MeshError, match='NaN'):
        load_mesh(tmp_path / 'nan.obj')


def test_texture_stays_on_its_face(tmp_path: Path) -> None:
    (part,) = load_mesh(scenes.write_textured_cube(tmp_path)).parts
    assert part.texture is not None and part.uv is not None
    rows, columns, _ = part.texture.shape
    for (axis, sign), colour in scenes.FACE_COLOURS.items():
        on_face = np.isclose(part.normals[:, axis], sign)
        assert on_face.sum() == 4
        u, v = part.uv[on_face].T
        texels = part.texture[((1 - v) * rows).astype(int), (u * columns).astype(int)]
        assert (texels == colour).all()


def test_large_textures_are_made_smaller(tmp_path: Path) -> None:
    path = scenes.write_textured_cube(tmp_path)
    Image.new('RGB', (LARGEST_TEXTURE + 100, 40), (9, 8, 7)).save(tmp_path / 'faces.png')
    texture = load_mesh(path).parts[0].texture
    assert texture is not None and texture.shape[1] == LARGEST_TEXTURE
    assert (texture == (9, 8, 7)).all()


def test_vertex_face_and_material_colours_are_kept(tmp_path: Path) -> None:
    geometry = trimesh.creation.box((0.1, 0.1, 0.1))
    geometry.visual.vertex_colors = (10, 200, 30, 255)
    geometry.export(tmp_path / 'vertex.ply')
    geometry.visual = trimesh.visual.ColorVisuals(geometry, face_colors=(20, 100, 30, 255))
    geometry.export(tmp_path / 'face.ply')
    (tmp_path / 'm.mtl').write_text('newmtl red\nKd 1 0 0\n')
    text = 'mtllib m.mtl\nusemtl red\nv 0 0 0\nv .1 0 0\nv 0 .1 0\nvt 0 0\nf 1/1 2/1 3/1\n'
    (tmp_path / 'm.obj').write_text(text)
    colours = {
        name: load_mesh(tmp_path / name).parts[0].colours[0].tolist()
        for name in ('vertex.ply', 'face.ply', 'm.obj')
    }
    assert colours == {
        'vertex.ply': [10, 200, 30],
        'face.ply': [20, 100, 30],
        'm.obj': [255, 0, 0],
    }
    assert tuple(load_mesh(box(tmp_path, 'stl')).parts[0].colours[0]) == GREY


def test_a_scene_is_joined_with_its_transforms(tmp_path: Path) -> None:
    scene = trimesh.Scene()
    for x in (-0.5, 0.5):
        move = trimesh.transformations.translation_matrix((x, 0, 0))
        scene.add_geometry(trimesh.creation.box((0.1, 0.1, 0.1)), transform=move)
    scene.export(tmp_path / 'two.glb')
    mesh = load_mesh(tmp_path / 'two.glb')
    assert np.ptp(mesh.vertices[:, 0]) == pytest.approx(1.1)
    assert len(mesh.vertices) == 16 and mesh.closed


def test_only_solids_that_face_outward_are_closed() -> None:
    ball = trimesh.creation.icosphere(subdivisions=1)
    assert is_closed(corners_of(ball))
    opened = ball.copy()
    opened.update_faces(np.arange(len(ball.faces)) > 0)
    assert not is_closed(corners_of(opened))
    inverted = ball.copy()
    inverted.invert()
    assert not is_closed(corners_of(inverted))
    inverted.apply_translation((5, 0, 0))
    assert not is_closed(np.concatenate([corners_of(ball), corners_of(inverted)]))


def test_the_diameter_is_the_largest_distance() -> None:
    points = np.random.default_rng(2).normal(size=(300, 3)) * (1, 2, 3)
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    assert diameter_of(points) == pytest.approx(distances.max(), rel=2e-3)
