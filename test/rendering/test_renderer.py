"""Rendering against geometry: outlines, boxes, colours, depth and visibility, bent lens or not."""

import importlib.util
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import scenes
from numpy.typing import NDArray

from synth_detect_ros.errors import ConfigError, GeometryError, RenderingError
from synth_detect_ros.geometry.boxes import edges_from_pixels
from synth_detect_ros.geometry.camera import Camera, project, unproject
from synth_detect_ros.geometry.poses import ray_rotation, view_rotation
from synth_detect_ros.rendering.backends import get_renderer
from synth_detect_ros.rendering.lens import Lens
from synth_detect_ros.rendering.meshes.cad_file import load_mesh
from synth_detect_ros.rendering.meshes.mesh import Mesh
from synth_detect_ros.rendering.renderer import Canvas, Instance, Layer, Light, Material, Renderer

# The laws hold for both backends; a process has one: see `test_the_laws_hold_for_pyrender`.
BACKEND = os.environ.get('RENDERER', 'moderngl')
PLAIN = Material(ambient=1.0, diffuse=0.0, specular=0.0)
CAMERAS = {
    'ideal': scenes.camera(),
    'plumb_bob barrel': scenes.camera(D=np.array([-0.3, 0.1, 0.002, -0.001, 0.0])),
    'plumb_bob pincushion': scenes.camera(D=np.array([0.25, 0.1, 0.0, 0.0, 0.0])),
    'rational_polynomial': scenes.camera(
        D=np.array([0.2, 0.1, 0.001, 0.0, 0.02, 0.4, 0.1, 0.01]),
        distortion_model='rational_polynomial',
    ),
    'equidistant': scenes.camera(
        focal=110.0, D=np.array([0.02, -0.01, 0.0, 0.0]), distortion_model='equidistant'
    ),
}
POSITIONS = [(80, 60), (25, 25), (150, 20), (10, 110), (157, 118)]


@pytest.fixture(scope='module')
def cube(tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    return load_mesh(scenes.write_textured_cube(tmp_path_factory.mktemp('cube')))


@pytest.fixture(scope='module')
def ball(tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    return scenes.sphere(tmp_path_factory.mktemp('ball'))


def renderer() -> Renderer:
    return get_renderer(BACKEND)


def draw(camera: Camera, mesh: Mesh, pose: NDArray[np.float64], **kwargs: object) -> Layer:
    light = kwargs.pop('light', Light())
    layer = Lens(camera).draw(renderer(), Instance(mesh, pose, **kwargs), light)
    assert layer is not None
    return layer


def pose_at(
    camera: Camera, pixel: tuple[float, float], distance: float, rotation: object = None
) -> NDArray[np.float64]:
    ray = unproject(camera, [pixel])[0]
    ray /= np.linalg.norm(ray)
    matrix = scenes.pose(tuple(distance * ray))
    matrix[:3, :3] = ray_rotation(ray) @ (np.eye(3) if rotation is None else rotation)
    return matrix


def pixels_of(layer: Layer) -> NDArray[np.float64]:
    """Return the pixel coordinates (h, w, 2) of a layer in the image."""
    h, w = layer.depth.shape
    return np.stack(np.meshgrid(np.arange(w) + layer.x, np.arange(h) + layer.y), axis=2) * 1.0


def grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0


@pytest.mark.parametrize('name', CAMERAS)
@pytest.mark.parametrize('position', POSITIONS)
def test_a_sphere_has_its_analytic_outline(
    ball: Mesh, name: str, position: tuple[int, int]
) -> None:
    camera = CAMERAS[name]
    pose = pose_at(camera, position, 0.25)
    layer = draw(camera, ball, pose, material=PLAIN)
    rays = unproject(camera, pixels_of(layer).reshape(-1, 2))
    centre = pose[:3, 3] / np.linalg.norm(pose[:3, 3])
    cosine = (rays @ centre / np.linalg.norm(rays, axis=1)).reshape(layer.depth.shape)
    wanted = cosine >= np.cos(np.arcsin(0.05 / 0.25))
    assert not (layer.mask & ~grown(wanted)).any()
    assert not (wanted & ~grown(layer.mask)).any()
    assert layer.area == pytest.approx(wanted.sum(), rel=0.02)


def test_a_sphere_has_its_analytic_depth(ball: Mesh) -> None:
    camera = CAMERAS['plumb_bob barrel']
    layer = draw(camera, ball, pose_at(camera, (70, 50), 0.3))
    x, y = (int(v) for v in np.rint((70 - layer.x, 50 - layer.y)))
    ray = unproject(camera, [(70, 50)])[0]
    assert layer.depth[y, x] == pytest.approx(0.25 / np.linalg.norm(ray), rel=1e-3)
    assert np.isinf(layer.depth[0, 0]) and np.isfinite(layer.depth[layer.mask]).all()


@pytest.mark.parametrize('name', CAMERAS)
@pytest.mark.parametrize('position', POSITIONS)
@pytest.mark.parametrize('view', [(1, 1, 1), (-0.2, 0.9, 0.3), (0.1, -0.2, -1)])
def test_a_cube_fills_the_box_of_its_corners(
    cube: Mesh, name: str, position: tuple[int, int], view: tuple[float, ...]
) -> None:
    camera = CAMERAS[name]
    rotation = view_rotation(np.array(view) / np.linalg.norm(view), 0.4)
    pose = pose_at(camera, position, 0.45, rotation)
    layer = draw(camera, cube, pose)
    edges = np.linspace(-0.05, 0.05, 21)
    frame = np.array([(a, b, c) for a in edges for b in (-0.05, 0.05) for c in (-0.05, 0.05)])
    frame = np.concatenate([frame, frame[:, [1, 0, 2]], frame[:, [1, 2, 0]]])
    outline = project(camera, frame @ pose[:3, :3].T + pose[:3, 3])
    edges = edges_from_pixels([outline.min(axis=0), outline.max(axis=0)])
    np.testing.assert_allclose(layer.box, edges.reshape(-1), atol=1.0)


@pytest.mark.parametrize('name', CAMERAS)
def test_each_face_of_a_textured_cube_is_where_the_camera_says(cube: Mesh, name: str) -> None:
    camera, seen = CAMERAS[name], 0
    for view in ((1, 1, 1), (-1, -1, -1)):
        rotation = view_rotation(np.array(view) / np.sqrt(3), 0.9)
        pose = pose_at(camera, (60, 45), 0.3, rotation)
        layer = draw(camera, cube, pose, material=PLAIN)
        for (axis, sign), colour in scenes.FACE_COLOURS.items():
            if sign != view[0]:
                continue
            other = np.array([(a, b) for a in (-0.035, 0, 0.035) for b in (-0.035, 0, 0.035)])
            points = np.insert(other, axis, sign * 0.05, axis=1)
            pixels = project(camera, points @ pose[:3, :3].T + pose[:3, 3])
            x, y = np.rint(pixels - (layer.x, layer.y)).astype(int).T
            np.testing.assert_allclose(layer.colour[y, x, :3], np.tile(colour, (9, 1)), atol=3)
            seen += 1
    assert seen == 6


def test_a_silhouette_is_whole_beyond_the_border(ball: Mesh) -> None:
    camera = CAMERAS['ideal']
    inside, outside = (draw(camera, ball, scenes.pose((x, 0, 0.5))) for x in (0.0, 0.0))
    beyond = draw(camera.cropped(90, 0, 160, 120), ball, scenes.pose((0, 0, 0.5)))
    assert beyond.area == inside.area == outside.area
    np.testing.assert_array_equal(beyond.box, inside.box - [90, 0, 90, 0])
    canvas = Canvas(*camera.size)
    canvas.add(beyond)
    assert canvas.visible_fractions()[0] == canvas.ids.sum() / beyond.area < 0.5


def test_an_object_far_outside_a_bent_image_is_not_drawn(ball: Mesh) -> None:
    lens = Lens(CAMERAS['plumb_bob barrel'])
    for x in (0.75, 4.0):
        instance = Instance(ball, scenes.pose((x, 0, 0.5)))
        assert lens.draw(renderer(), instance, Light()) is None


def test_pixels_without_a_ray_are_not_seen() -> None:
    fisheye = Lens(CAMERAS['equidistant'])
    assert fisheye.sees(np.array([80.0, 60.0]))
    assert not fisheye.sees(np.array([500.0, 60.0]))


def test_colour_is_multiplied_by_coverage(ball: Mesh) -> None:
    layer = draw(CAMERAS['ideal'], ball, scenes.pose((0, 0, 0.5)), material=PLAIN)
    assert (layer.colour[..., :3] <= layer.colour[..., 3:] + 1.0).all()
    inside = layer.colour[..., 3] == 255
    np.testing.assert_allclose(layer.colour[inside][:, :3] - np.array(scenes.BLUE), 0, atol=2)
    edge = (layer.colour[..., 3] > 0) & ~inside
    assert edge.any()
    wanted = layer.colour[edge][:, 3:] / 255 * np.array(scenes.BLUE)
    error = np.abs(layer.colour[edge][:, :3] - wanted)
    assert np.quantile(error, 0.95) <= 2 and error.max() <= 6  # faces seen edge on


def test_phong_terms_add_up_as_the_equation_has_it(ball: Mesh) -> None:
    """I = k_a i + k_d i (n.l) + k_s (r.v)^a at the point of the ball that faces the camera."""
    camera, n_l = Camera.from_fov(161, 121, 15.0), 0.8
    direction = (0.6, 0.0, -n_l)
    colour = np.array([1.0, 0.9, 0.8])
    layer = draw(
        camera,
        ball,
        scenes.pose((0, 0, 0.5)),
        material=Material(ambient=0.3, diffuse=0.5, specular=0.4, shininess=3.0),
        light=Light(direction, tuple(colour)),
    )
    x, y = np.rint(camera.K[:2, 2] - (layer.x, layer.y)).astype(int)
    wanted = (np.array(scenes.BLUE) / 255 * (0.3 + 0.5 * n_l) + 0.4 * n_l**3) * colour
    np.testing.assert_allclose(layer.colour[y, x, :3], wanted * 255, atol=3)


def test_the_side_towards_the_light_is_brighter(ball: Mesh) -> None:
    material = Material(ambient=0.1, diffuse=0.8, specular=0.0)
    light = Light((1.0, 0.0, 0.0))
    pose = scenes.pose((0, 0, 0.5))
    right = draw(CAMERAS['ideal'], ball, pose, material=material, light=light)
    grey = right.colour[..., :3].sum(axis=2)
    half = grey.shape[1] // 2
    assert grey[:, half:].sum() > 1.5 * grey[:, :half].sum()


def test_open_meshes_are_seen_from_inside(tmp_path: Path, cube: Mesh) -> None:
    opened = replace(cube, closed=False)
    (part,) = opened.parts
    front = part.normals[part.faces[:, 0]] @ [0, 0, 1] < 0.5
    bowl = Mesh((replace(part, faces=part.faces[front]),))
    layer = draw(CAMERAS['ideal'], bowl, scenes.pose((0, 0, 0.5), np.diag([1.0, -1, -1])))
    x, y = np.rint(CAMERAS['ideal'].K[:2, 2] - (layer.x, layer.y)).astype(int)
    assert layer.depth[y, x] == pytest.approx(0.55, rel=1e-3)


def test_culling_a_closed_mesh_changes_nothing(cube: Mesh) -> None:
    pose = scenes.pose((0.02, 0, 0.4), view_rotation([0.6, 0.0, 0.8], 0.3))
    culled = draw(CAMERAS['ideal'], cube, pose)
    whole = draw(CAMERAS['ideal'], Mesh(cube.parts, closed=False), pose)
    assert cube.closed
    np.testing.assert_array_equal(culled.mask, whole.mask)
    assert (culled.colour != whole.colour).mean() < 1e-3  # single samples of the outline


def test_the_same_drawing_gives_the_same_bytes(cube: Mesh, ball: Mesh) -> None:
    pose = scenes.pose((0.02, 0, 0.4), view_rotation([0.6, 0.0, 0.8], 0.3))
    first = draw(CAMERAS['ideal'], cube, pose)
    draw(CAMERAS['ideal'], ball, scenes.pose((0, 0, 0.12)))  # another size, another mesh
    again = draw(CAMERAS['ideal'], cube, pose)
    np.testing.assert_array_equal(first.colour, again.colour)
    np.testing.assert_array_equal(first.depth, again.depth)


def test_nearer_layers_hide_farther_ones_in_any_order(ball: Mesh, cube: Mesh) -> None:
    camera = CAMERAS['ideal']
    far = draw(camera, cube, scenes.pose((0, 0, 0.8)))
    near = draw(camera, ball, scenes.pose((0.03, 0, 0.5)))
    there, back = Canvas(*camera.size), Canvas(*camera.size)
    for canvas, layers in ((there, (far, near)), (back, (near, far))):
        for layer in layers:
            canvas.add(layer)
    np.testing.assert_array_equal(there.ids == 2, back.ids == 1)
    np.testing.assert_array_equal(there.ids == 1, back.ids == 2)
    np.testing.assert_array_equal(there.depth, back.depth)
    np.testing.assert_allclose(there.colour.astype(int), back.colour, atol=1)
    np.testing.assert_allclose(there.visible_fractions(), back.visible_fractions()[::-1])
    assert there.visible_fractions()[1] == 1 > there.visible_fractions()[0]


def test_pixels_of_the_ids_are_the_visible_ones(ball: Mesh, cube: Mesh) -> None:
    canvas = Canvas(160, 120)
    for x, z in ((0.0, 0.4), (0.05, 0.5), (-0.2, 0.5), (0.02, 0.3)):
        mesh = ball if z == 0.5 else cube
        layer = draw(CAMERAS['ideal'], mesh, scenes.pose((x, 0, z)))
        foreseen = canvas.preview(layer)
        canvas.add(layer)
        np.testing.assert_array_equal(canvas.visible, foreseen)
    counts = np.bincount(canvas.ids.ravel(), minlength=5)
    np.testing.assert_array_equal(counts[1:], canvas.visible)
    assert counts.sum() == canvas.ids.size


def test_half_hidden_means_half_visible(tmp_path: Path, cube: Mesh) -> None:
    """An occluder whose edge runs through the object's middle, seen head on, hides half of it."""
    canvas = Canvas(160, 120)
    canvas.add(draw(CAMERAS['ideal'], cube, scenes.pose((0, 0, 0.5))))
    front = 0.5 - 0.05 - 0.01
    # A cube in front whose back face starts at the plane x = 0 through the line of sight.
    canvas.add(draw(CAMERAS['ideal'], cube, scenes.pose((0.05, 0, front - 0.05))))
    half = canvas.visible_fractions()[0]
    pixel = 1 / np.sqrt(canvas.layers[0].area)
    assert half == pytest.approx(0.5, abs=pixel)


def test_a_layer_outside_the_image_adds_nothing(ball: Mesh) -> None:
    canvas = Canvas(160, 120)
    layer = draw(CAMERAS['ideal'], ball, scenes.pose((2.0, 0, 0.5)))
    canvas.add(layer)
    assert layer.area > 0 and not canvas.ids.any() and canvas.visible_fractions()[0] == 0


def test_an_object_behind_the_camera_is_refused(ball: Mesh) -> None:
    with pytest.raises(GeometryError, match='in front of the camera'):
        renderer().draw(CAMERAS['ideal'], Instance(ball, scenes.pose((0, 0, 0.03))), Light())


def test_an_object_that_fills_a_giant_picture_is_refused(ball: Mesh) -> None:
    camera = scenes.camera(focal=1e6)
    with pytest.raises(GeometryError, match='too near'):
        renderer().draw(camera, Instance(ball, scenes.pose((0, 0, 0.5))), Light())


def test_an_unknown_renderer_is_refused() -> None:
    with pytest.raises(ConfigError, match='Choose one of moderngl, pyrender'):
        get_renderer('raytracer')


def test_a_second_backend_in_a_process_is_refused() -> None:
    assert renderer() is renderer()
    (other,) = {'moderngl', 'pyrender'} - {BACKEND}
    with pytest.raises(RenderingError, match=f'{other} cannot be used, {BACKEND} is'):
        get_renderer(other)


def test_a_failure_of_opengl_is_named(ball: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    if BACKEND == 'pyrender':
        from OpenGL.error import GLError  # noqa: PLC0415  after the platform is chosen

        target, name = renderer()._renderer, 'render'
        error = GLError(1285, baseOperation='glDrawElementsInstanced')
    else:
        import moderngl  # noqa: PLC0415  only one backend a process

        target, name, error = renderer(), '_upload', moderngl.Error('cannot create buffer')

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(target, name, fail)
    with pytest.raises(RenderingError, match='OpenGL failed: '):
        draw(CAMERAS['ideal'], ball, scenes.pose((0, 0, 0.5)))


@pytest.mark.skipif(BACKEND == 'pyrender', reason='PyOpenGL raises its errors')
def test_an_error_that_opengl_only_notes_is_found(
    ball: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    with renderer()._context as context:
        context.texture((4, 4), 4).use(10**6)  # no such texture unit
    with pytest.raises(RenderingError, match='OpenGL failed: GL_INVALID_ENUM'):
        draw(CAMERAS['ideal'], ball, scenes.pose((0, 0, 0.5)))
    draw(CAMERAS['ideal'], ball, scenes.pose((0, 0, 0.5)))


@pytest.mark.skipif(BACKEND == 'pyrender', reason='has no such name')
def test_the_processor_is_told_from_graphics_hardware() -> None:
    from synth_detect_ros.rendering.egl import is_software  # noqa: PLC0415

    assert is_software('llvmpipe (LLVM 15.0.6, 256 bits)')
    assert not is_software('NVIDIA H200/PCIe/SSE2')
    assert renderer().device


@pytest.mark.skipif(BACKEND == 'pyrender', reason='its context stays with the first thread')
def test_threads_draw_one_after_the_other(ball: Mesh) -> None:
    pose = scenes.pose((0, 0, 0.5))
    here = draw(CAMERAS['ideal'], ball, pose)
    with ThreadPoolExecutor(1) as thread:
        there = thread.submit(draw, CAMERAS['ideal'], ball, pose).result()
    np.testing.assert_array_equal(here.colour, there.colour)


NO_OPENGL = {
    'moderngl': [
        ({'EGL_DEVICE_ID': '99'}, 'libegl1 libgl1 libgl1-mesa-dri'),
        ({'EGL_DEVICE_ID': 'gpu'}, "is 'gpu'; wanted the number"),
        ({'HIDE': 'moderngl'}, 'pip install moderngl'),
    ],
    'pyrender': [
        ({'EGL_DEVICE_ID': '99'}, 'libegl1 libgl1 libgl1-mesa-dri'),
        ({'HIDE': 'pyrender'}, 'pyrender cannot be loaded'),
        ({'PYOPENGL_PLATFORM': 'osmesa'}, "is 'osmesa'; wanted egl"),
    ],
}


@pytest.mark.parametrize(('environment', 'message'), NO_OPENGL[BACKEND])
def test_no_opengl_says_what_to_install(environment: dict[str, str], message: str) -> None:
    script = (
        'import os, sys\n'
        "if 'HIDE' in os.environ: sys.modules[os.environ['HIDE']] = None\n"
        'from synth_detect_ros.rendering.backends import get_renderer\n'
        'from synth_detect_ros.errors import RenderingError\n'
        'try: get_renderer(sys.argv[1])\n'
        'except RenderingError as error: print(error)\n'
    )
    run = subprocess.run(
        [sys.executable, '-c', script, BACKEND],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert message in run.stdout


@pytest.mark.skipif(BACKEND == 'pyrender', reason='this is the run with pyrender')
def test_the_laws_hold_for_pyrender() -> None:
    if importlib.util.find_spec('pyrender') is None:
        pytest.skip('pyrender is not installed')
    run = subprocess.run(
        [sys.executable, '-m', 'pytest', '-p', 'no:cacheprovider', __file__],
        env={**os.environ, 'RENDERER': 'pyrender'},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout
