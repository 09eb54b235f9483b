"""A box from photographs: faces rectified to the texel, put on the right side, bad input named."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from synth_detect_ros.commands import main as cli
from synth_detect_ros.config import SynthesizeConfig
from synth_detect_ros.dataset.inputs import read_inputs
from synth_detect_ros.errors import ConfigError, GeometryError, StorageError
from synth_detect_ros.files import encode_image
from synth_detect_ros.geometry.camera import Camera, project
from synth_detect_ros.modelling.box_file import read_box
from synth_detect_ros.modelling.cuboid import (
    FACES,
    atlas,
    face_corners,
    face_size,
    mtl_text,
    obj_text,
)
from synth_detect_ros.modelling.model_box import LARGEST_SIDE, model_box, textures_of
from synth_detect_ros.modelling.rectify import check_corners, rectify, sharpness
from synth_detect_ros.modelling.turntable import view_pose
from synth_detect_ros.rendering.backends import get_renderer
from synth_detect_ros.rendering.meshes.cad_file import LARGEST_TEXTURE, load_mesh
from synth_detect_ros.rendering.renderer import Instance, Light, Material
from synth_detect_ros.report.corner_page import write_corner_page

SIZE = (0.3, 0.2, 0.1)
COLOURS = {
    'top': (220, 40, 40), 'bottom': (40, 200, 200), 'front': (40, 200, 40),
    'back': (200, 40, 200), 'left': (40, 40, 220), 'right': (220, 220, 40),
}  # fmt: skip
SLANTED = np.array([[60.3, 41.2], [251.7, 63.9], [233.1, 190.4], [47.8, 148.6]])
LENS = Camera(320, 240, [[300, 0, 161], [0, 302, 118], [0, 0, 1]], [-0.2, 0.05, 0.001, 0, 0])
PLAIN = Camera(320, 240, [[300, 0, 161], [0, 302, 118], [0, 0, 1]])


def print_of(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Return a smooth texture (height, width, 3) uint8 that is different everywhere."""
    noise = np.random.default_rng(seed).uniform(0, 255, (height, width, 3))
    return np.clip(4 * (cv2.GaussianBlur(noise, (0, 0), 3) - 127) + 127, 0, 255).astype(np.uint8)


def photograph(texture: np.ndarray, corners: np.ndarray, camera: Camera) -> np.ndarray:
    """Return the photograph of a flat face whose corners (4, 2) are given without the lens."""
    height, width = texture.shape[:2]
    edges = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32) - 0.5
    big = 4  # sixteen samples a pixel
    to = ((corners + 0.5) * big - 0.5).astype(np.float32)
    shape = (camera.width * big, camera.height * big)
    flat = cv2.warpPerspective(texture, cv2.getPerspectiveTransform(edges, to), shape)
    u, v = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]))
    pixels = np.stack([u, v], axis=2).reshape(-1, 2).astype(np.float64)
    pixels = (pixels + 0.5) / big - 0.5
    rays = cv2.undistortPoints(pixels[:, None], camera.K, camera.D, P=camera.K)[:, 0]
    ideal = ((rays + 0.5) * big - 0.5).astype(np.float32).reshape(shape[1], shape[0], 2)
    bent = cv2.remap(flat, ideal[..., 0], ideal[..., 1], cv2.INTER_LINEAR)
    return cv2.resize(bent, camera.size, interpolation=cv2.INTER_AREA)


def shift_of(a: np.ndarray, b: np.ndarray) -> float:
    """Return how far two images are apart by phase correlation [px]."""
    grey = [cv2.cvtColor(x, cv2.COLOR_RGB2GRAY).astype(np.float64) for x in (a, b)]
    window = cv2.createHanningWindow(grey[0].shape[::-1], cv2.CV_64F)
    return float(np.linalg.norm(cv2.phaseCorrelate(*grey, window)[0]))


@pytest.mark.parametrize('camera', [PLAIN, LENS], ids=['plain', 'lens'])
def test_rectified_face_is_the_print(camera: Camera) -> None:
    texture = print_of(180, 120)
    seen = photograph(texture, SLANTED, camera)
    rays = np.linalg.inv(camera.K) @ np.column_stack([SLANTED, np.ones(4)]).T
    corners = project(camera, rays.T)
    face = rectify(seen, corners, (180, 120), camera)
    assert shift_of(face, texture) < 0.1
    assert np.abs(face.astype(float) - texture)[8:-8, 8:-8].mean() < 4


def test_without_the_camera_a_bent_face_is_off() -> None:
    texture = print_of(180, 120)
    wide = Camera(320, 240, LENS.K, [-0.6, 0.3, 0, 0, 0])
    rays = np.linalg.inv(wide.K) @ np.column_stack([SLANTED, np.ones(4)]).T
    seen, corners = photograph(texture, SLANTED, wide), project(wide, rays.T)
    errors = [
        np.abs(rectify(seen, corners, (180, 120), camera).astype(float) - texture).mean()
        for camera in (wide, None)
    ]
    assert errors[0] < errors[1] / 2


def test_whole_pixels_are_kept_as_they_are() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    corners = np.array([[9.5, 4.5], [49.5, 4.5], [49.5, 34.5], [9.5, 34.5]])
    np.testing.assert_array_equal(rectify(image, corners, (40, 30)), image[5:35, 10:50])


def test_print_finer_than_the_texture_turns_grey() -> None:
    checks = (np.indices((240, 320)).sum(axis=0) % 2 * 255).astype(np.uint8)
    corners = np.array([[10.0, 10], [310, 10], [310, 230], [10, 230]])
    face = rectify(np.dstack(3 * [checks]), corners, (41, 31))
    assert np.abs(face.astype(float) - 127.5).max() < 12


def test_sharper_of_two_pictures_has_more_detail() -> None:
    image = print_of(90, 60)
    assert sharpness(image) > sharpness(cv2.GaussianBlur(image, (0, 0), 3)) > 0
    assert sharpness(np.full((60, 90, 3), 7, np.uint8)) == 0


@pytest.mark.parametrize('name', FACES)
def test_faces_look_outward_and_join_in_a_box(name: str) -> None:
    face, corners = FACES[name], face_corners(name, SIZE)
    normal = np.cross(face.right, face.up)
    assert (corners @ normal > 0).all() and FACES[face.opposite].opposite == name
    np.testing.assert_allclose(np.abs(corners), np.tile(np.array(SIZE) / 2, (4, 1)))
    width, height = face_size(name, SIZE)
    np.testing.assert_allclose(corners[1] - corners[0], width * np.array(face.right), atol=1e-12)
    np.testing.assert_allclose(corners[0] - corners[3], height * np.array(face.up), atol=1e-12)


def box_content(folder: Path, names: tuple[str, ...] = tuple(COLOURS)) -> dict:
    """Write a photograph of each face, plain but for a white upper left corner; describe them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        width, height = (round(1000 * side) for side in face_size(name, SIZE))
        image = np.full((height + 20, width + 20, 3), COLOURS[name], np.uint8)
        image[10 : 10 + height // 3, 10 : 10 + width // 3] = 255
        (folder / f'{name}.png').write_bytes(encode_image(image, 'png'))
    return {
        'name': 'crate',
        'size_m': dict(zip(('width', 'depth', 'height'), SIZE, strict=True)),
        'faces': {
            name: [{'photo': f'{name}.png', 'corners_px': corners_of(name)}] for name in names
        },
    }


def corners_of(name: str) -> list[list[float]]:
    width, height = (round(1000 * side) for side in face_size(name, SIZE))
    right, bottom = 9.5 + width, 9.5 + height
    return [[9.5, 9.5], [right, 9.5], [right, bottom], [9.5, bottom]]


def write_box(folder: Path, content: dict) -> Path:
    path = folder / 'box.yaml'
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture
def crate(tmp_path: Path) -> tuple[Path, dict]:
    content = box_content(tmp_path)
    return write_box(tmp_path, content), content


def test_model_has_its_size_and_is_closed(crate, tmp_path: Path) -> None:
    model_box(crate[0], tmp_path / 'model')
    mesh = load_mesh(tmp_path / 'model/crate.obj', 'm')
    np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0), SIZE, atol=1e-6)
    np.testing.assert_allclose(mesh.centre, 0, atol=1e-6)
    assert mesh.closed
    picture = cv2.imread(str(tmp_path / 'model/turntable.png'))
    assert picture.shape == (640, 1280, 3) and picture.std() > 10


@pytest.mark.parametrize(
    ('name', 'azimuth', 'elevation'),
    [('front', 0, 0), ('right', 90, 0), ('back', 180, 0), ('left', 270, 0), ('top', 0, 89.9),
     ('bottom', 0, -89.9)],
)  # fmt: skip
def test_every_face_is_where_its_name_says(crate, tmp_path, name, azimuth, elevation) -> None:
    """From its side only this face is seen, and its print reads from left to right."""
    model_box(crate[0], tmp_path / 'model')
    mesh = load_mesh(tmp_path / 'model/crate.obj', 'm')
    camera = Camera.from_fov(200, 200, 30)
    pose = view_pose(mesh, azimuth, elevation)
    flat = Material(1, 0, 0, 1)
    layer = get_renderer().draw(camera, Instance(mesh, pose, flat), Light())
    corners = project(camera, face_corners(name, SIZE) @ pose[:3, :3].T + pose[:3, 3])
    face = rectify(layer.colour[..., :3], corners - (layer.x, layer.y), (30, 30))
    np.testing.assert_allclose(face[20, 20], COLOURS[name], atol=6)
    np.testing.assert_allclose(face[4, 4], 255, atol=6)
    np.testing.assert_allclose(face[4, 25], COLOURS[name], atol=6)
    np.testing.assert_allclose(face[25, 4], COLOURS[name], atol=6)


def test_objects_file_beside_the_model_serves_synthesize(crate, tmp_path: Path) -> None:
    model_box(crate[0], tmp_path / 'model')
    (tmp_path / 'frames').mkdir()
    (tmp_path / 'frames/0.png').write_bytes(encode_image(print_of(64, 48), 'png'))
    config = SynthesizeConfig(
        objects=str(tmp_path / 'model/objects.yaml'),
        backgrounds=str(tmp_path / 'frames'),
        camera_hfov_deg=60,
    )
    assert read_inputs(config).classes == ('crate',)


def test_sharpest_photograph_is_taken(tmp_path: Path) -> None:
    content = box_content(tmp_path, ('front',))
    sharp = print_of(320, 120)
    for name, sigma in (('a', 3.0), ('b', 0.0), ('c', 6.0)):
        image = cv2.GaussianBlur(sharp, (0, 0), sigma) if sigma else sharp
        (tmp_path / f'{name}.png').write_bytes(encode_image(image, 'png'))
    content['faces']['front'] = [
        {'photo': f'{name}.png', 'corners_px': corners_of('front')} for name in 'abc'
    ]
    assert textures_of(read_box(write_box(tmp_path, content)))['front'].source == 'b.png'


def test_faces_nobody_photographed_look_like_the_one_behind(tmp_path: Path, caplog) -> None:
    path = write_box(tmp_path, box_content(tmp_path, ('top', 'right')))
    faces = model_box(path, tmp_path / 'model')
    sources = {name: face.source for name, face in faces.items()}
    assert sources == {
        'top': 'top.png', 'bottom': 'as top', 'right': 'right.png', 'left': 'as right',
        'front': 'plain', 'back': 'plain',
    }  # fmt: skip
    np.testing.assert_array_equal(faces['bottom'].image, faces['top'].image)
    assert np.ptp(faces['front'].image, axis=(0, 1)).max() == 0
    assert {r.message.partition(':')[0] for r in caplog.records} == {
        'bottom', 'left', 'front', 'back',
    }  # fmt: skip


def test_one_photograph_may_show_several_faces(tmp_path: Path) -> None:
    content = box_content(tmp_path, ('top', 'front'))
    row = {'photo': 'top.png', 'corners_px': [[20, 20], [120, 20], [120, 60], [20, 60]]}
    content['faces']['front'] = row  # one photograph needs no list
    assert textures_of(read_box(write_box(tmp_path, content)))['front'].source == 'top.png'


def test_texture_keeps_within_its_limit(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr('synth_detect_ros.modelling.model_box.LARGEST_SIDE', 60)
    faces = textures_of(read_box(write_box(tmp_path, box_content(tmp_path))))
    assert faces['top'].image.shape == (40, 60, 3)


def broken(content: dict, change: str) -> None:
    photo = content['faces']['front'][0]
    corners = photo['corners_px']
    changes = {
        'crossed': lambda: photo.update(corners_px=[corners[i] for i in (0, 2, 1, 3)]),
        'mirrored': lambda: photo.update(corners_px=[corners[i] for i in (1, 0, 3, 2)]),
        'bent': lambda: photo.update(corners_px=[*corners[:3], [250, 80]]),
        'outside': lambda: photo.update(corners_px=[[-3, 9], *corners[1:]]),
        'nan': lambda: photo.update(corners_px=[[float('nan'), 9], *corners[1:]]),
        'tiny': lambda: photo.update(corners_px=[[10, 10], [14, 10], [14, 90], [10, 90]]),
        'three': lambda: photo.update(corners_px=corners[:3]),
        'flat': lambda: photo.update(corners_px=[1, 2, 3, 4]),
        'missing': lambda: photo.update(photo='nowhere.jpg'),
        'no photo': lambda: photo.pop('photo'),
        'text': lambda: photo.update(photo='box.yaml'),
        'twice': lambda: content['faces']['front'].append(photo),
        'unknown face': lambda: content['faces'].update(lid=[photo]),
        'unknown key': lambda: photo.update(corner=[1]),
        'empty face': lambda: content['faces'].update(front=[]),
        'no face': lambda: content.update(faces={}),
        'zero': lambda: content['size_m'].update(height=0),
        'negative': lambda: content['size_m'].update(depth=-0.2),
        'millimetres': lambda: content['size_m'].update(width=300),
        'no size': lambda: content.pop('size_m'),
        'name': lambda: content.update(name='my crate'),
        'no camera': lambda: content.update(camera='nowhere.yaml'),
    }
    changes[change]()


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ('crossed', r'faces\.front\[0\]: front.png: the outline of the corners crosses itself'),
        ('mirrored', 'run counter-clockwise: wanted upper left, upper right'),
        ('bent', 'crosses itself or is bent inward'),
        ('outside', r'upper left corner \(-3, 9\) lies outside of the photograph of 320 x 120'),
        ('nan', r'corners_px\[0\]\[0\]: wanted a finite number, got nan'),
        ('tiny', 'a side of the face is 4.0 px long, wanted 8 or more'),
        ('three', r'corners_px: wanted 4 times \[a number, a number\], got'),
        ('flat', 'corners_px'),
        ('missing', r'front\[0\]: photo: .*nowhere.jpg: No such file'),
        ('no photo', r'faces\.front\[0\]\.photo: wanted text, got none'),
        ('text', 'is no complete PNG or JPEG'),
        ('twice', r'front\[1\]: .*front.png is listed twice'),
        ('unknown face', "faces.lid: 'lid' is not known. Choose one of top, bottom, front"),
        ('unknown key', "unknown key 'corner'"),
        ('empty face', 'faces.front: wanted photo and corners_px'),
        ('no face', 'wanted a photograph of one face at least'),
        ('zero', r'size_m\.height: 0 is out of bounds; wanted 0\.001 \.\. 5 m'),
        ('negative', 'depth: -0.2 is out of bounds'),
        ('millimetres', 'size_m.width: 300 is out of bounds'),
        ('no size', r'size_m: wanted a group of options \(width, depth, height\), got none'),
        ('name', "name: wanted letters, .* got 'my crate'"),
        ('no camera', 'nowhere.yaml'),
    ],
)
def test_a_wrong_box_file_is_named(crate, change: str, message: str) -> None:
    path, content = crate
    broken(content, change)
    write_box(path.parent, content)
    with pytest.raises((ConfigError, GeometryError), match=message):
        read_box(path)


def test_a_face_twice_is_no_silent_choice(crate) -> None:
    path, content = crate
    front = yaml.safe_dump({'front': content['faces']['front']}, default_flow_style=True).strip()
    text = yaml.safe_dump(content, sort_keys=False)  # faces are the last of it
    path.write_text(f'{text.rstrip()}\n  {front[1:-1]}\n')
    with pytest.raises(ConfigError, match="the key 'front' is given twice"):
        read_box(path)


def test_calibration_of_another_size_is_refused(crate) -> None:
    path, content = crate
    (path.parent / 'camera.yaml').write_text(yaml.safe_dump(LENS.to_calibration()))
    content['camera'] = 'camera.yaml'
    write_box(path.parent, content)
    with pytest.raises(ConfigError, match=r'is for images of 320 x 240 px, but .*png has 320 x'):
        read_box(path)


def test_photographs_are_never_overwritten(crate) -> None:
    path, content = crate
    before = (path.parent / 'top.png').read_bytes()
    content['name'] = 'top'
    write_box(path.parent, content)
    with pytest.raises(ConfigError, match=r'top\.png is one of the photographs'):
        model_box(path, path.parent)
    assert (path.parent / 'top.png').read_bytes() == before
    content['name'] = 'turntable'
    write_box(path.parent, content)
    with pytest.raises(ConfigError, match='name: turntable is taken'):
        read_box(path)


@pytest.mark.parametrize('width', [60, 700])
def test_faces_drawn_small_keep_their_colours_to_the_edge(width: int, tmp_path: Path) -> None:
    """What lies beside a face in the atlas does not bleed into it, however small it is drawn."""
    shapes = {name: face_size(name, SIZE) for name in FACES}
    textures = {
        name: np.full((round(width * h / 0.3), round(width * w / 0.3), 3), COLOURS[name], np.uint8)
        for name, (w, h) in shapes.items()
    }
    image, coordinates = atlas(textures)
    (tmp_path / 'crate.png').write_bytes(encode_image(image, 'png'))
    (tmp_path / 'crate.mtl').write_text(mtl_text('crate'))
    (tmp_path / 'crate.obj').write_text(obj_text('crate', SIZE, coordinates))
    mesh = load_mesh(tmp_path / 'crate.obj', 'm')
    camera, pose = Camera.from_fov(48, 48, 30), view_pose(mesh, 0, 0)
    layer = get_renderer().draw(camera, Instance(mesh, pose, Material(1, 0, 0, 1)), Light())
    whole = layer.colour[layer.colour[..., 3] == 255]
    assert len(whole) > 100
    np.testing.assert_allclose(whole[:, :3], np.tile(COLOURS['front'], (len(whole), 1)), atol=3)


def test_atlas_of_the_largest_faces_is_kept_whole() -> None:
    cube = {name: np.zeros((LARGEST_SIDE, LARGEST_SIDE, 3), np.uint8) for name in FACES}
    assert max(atlas(cube)[0].shape) <= LARGEST_TEXTURE


def test_strips_join_without_a_seam(monkeypatch) -> None:
    seen = photograph(print_of(180, 120), SLANTED, LENS)
    whole = rectify(seen, SLANTED, (90, 70), LENS)
    monkeypatch.setattr('synth_detect_ros.modelling.rectify.STRIP', 11)
    np.testing.assert_array_equal(rectify(seen, SLANTED, (90, 70), LENS), whole)


def test_empty_outline_is_refused() -> None:
    with pytest.raises(GeometryError, match='crosses itself'):
        check_corners(np.full((4, 2), 5.0), 10, 10)


def test_model_folder_that_cannot_be_made_is_named(crate, tmp_path: Path) -> None:
    (tmp_path / 'file').touch()
    for write in (model_box, lambda path, out: write_corner_page([path.parent / 'top.png'], out)):
        with pytest.raises(StorageError, match='cannot be made'):
            write(crate[0], tmp_path / 'file/model')


def test_page_holds_the_photographs_and_nothing_from_outside(crate, tmp_path: Path) -> None:
    folder = crate[0].parent
    (folder / 'photo.jpg').write_bytes(encode_image(print_of(64, 48), 'jpg'))
    page = write_corner_page([folder / 'top.png', folder / 'photo.jpg'], tmp_path / 'out')
    text = page.read_text()
    facts = json.loads(text.partition('const facts = ')[2].partition(';\n')[0])
    assert [photo['path'] for photo in facts['photos']] == ['../top.png', '../photo.jpg']
    assert facts['photos'][1]['url'].startswith('data:image/jpeg;base64,')
    assert facts['faces'] == list(FACES)
    assert 'http' not in text and 'src="' not in text


@pytest.mark.parametrize(
    ('name', 'message'), [('gone.png', 'No such file'), ('box.yaml', 'no comp')]
)
def test_page_refuses_what_is_no_photograph(
    crate, tmp_path: Path, name: str, message: str
) -> None:
    os.mkfifo(tmp_path / 'pipe.png')
    with pytest.raises(ConfigError, match='not a regular file'):
        write_corner_page([tmp_path / 'pipe.png'], tmp_path / 'out')
    with pytest.raises(ConfigError, match=message):
        write_corner_page([crate[0].parent / name], tmp_path / 'out')


def test_command_makes_a_model_or_a_page(crate, tmp_path: Path, capsys) -> None:
    out = str(tmp_path / 'model')
    assert cli.main(['model-box', str(crate[0]), '--out', out]) == 0
    assert 'top       300 x 200 px  top.png' in capsys.readouterr().out
    photo = str(crate[0].parent / 'top.png')
    assert cli.main(['model-box', '--photos', photo, '--out', out]) == 0
    assert 'corners.html' in capsys.readouterr().out
    for words in ([], [str(crate[0]), '--photos', photo]):
        assert cli.main(['model-box', *words, '--out', out]) == 1
        assert 'either a box file, or --photos' in capsys.readouterr().err
