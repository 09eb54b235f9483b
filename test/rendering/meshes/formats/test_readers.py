"""What a CAD file says is honoured, or refused in one sentence with file and line."""

import io
import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image

from synth_detect_ros.errors import ConfigError, MeshError
from synth_detect_ros.rendering.meshes.cad_file import UNITS, load_mesh
from synth_detect_ros.rendering.meshes.formats.textures import decode_texture, laid_out
from synth_detect_ros.rendering.meshes.mesh import Mesh
from synth_detect_ros.rendering.objects import read_objects

RED, PAINT = (230, 26, 26), (200, 10, 10)
QUAD = 'v 0 0 0\nv .1 0 0\nv .1 .1 0\nv 0 .1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n'
FACE = 'usemtl m\nf 1/1 2/2 3/3 4/4\n'
POINTS = np.array([(0, 0, 0), (0.1, 0, 0), (0, 0.1, 0)], np.float32)
UV = np.array([(0, 0), (1, 0), (0, 1)], np.float32)


def png(colour: Any = PAINT, mode: str = 'RGB', kind: str = 'PNG') -> bytes:
    data = io.BytesIO()
    Image.new(mode, (8, 8), colour).save(
        data, kind, **({'lossless': True} if kind == 'WEBP' else {})
    )
    return data.getvalue()


def write_obj(folder: Path, material: str | bytes | None, text: str = QUAD + FACE) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'a.obj').write_text(f'mtllib a.mtl\n{text}')
    if material is not None:
        data = material if isinstance(material, bytes) else material.encode()
        (folder / 'a.mtl').write_bytes(b'newmtl m\nKd 1 1 1\n' + data)
    return folder / 'a.obj'


def write_glb(path: Path, change: Callable[[dict], None] = lambda _: None, **arrays: Any) -> Path:
    """Write a triangle; `arrays` are float32 attributes, `change` edits the JSON."""
    blob, views, accessors, attributes = b'', [], [], {}
    for name, array in {'POSITION': POINTS, **arrays}.items():
        rows = np.asarray(array, np.float32)
        views.append({'buffer': 0, 'byteOffset': len(blob), 'byteLength': rows.nbytes})
        accessors.append({'bufferView': len(views) - 1, 'componentType': 5126,
                          'count': len(rows), 'type': f'VEC{rows.shape[1]}'})  # fmt: skip
        attributes[name] = len(accessors) - 1
        blob += rows.tobytes()
    views.append({'buffer': 0, 'byteOffset': len(blob), 'byteLength': len(png())})
    blob += png()
    document: dict[str, Any] = {
        'asset': {'version': '2.0'},
        'scene': 0,
        'scenes': [{'nodes': [0]}],
        'nodes': [{'mesh': 0}],
        'meshes': [{'primitives': [{'attributes': attributes, 'material': 0}]}],
        'materials': [{'pbrMetallicRoughness': {}}],
        'textures': [{'source': 0}],
        'images': [{'bufferView': len(views) - 1, 'mimeType': 'image/png'}],
        'bufferViews': views,
        'accessors': accessors,
    }
    change(document)
    blob += b'\0' * (-len(blob) % 4)
    document['buffers'] = [{'byteLength': len(blob)}]
    text = json.dumps(document).encode()
    text += b' ' * (-len(text) % 4)
    head = struct.pack('<III', 0x46546C67, 2, 28 + len(text) + len(blob))
    chunks = struct.pack('<II', len(text), 0x4E4F534A) + text
    path.write_bytes(head + chunks + struct.pack('<II', len(blob), 0x004E4942) + blob)
    return path


def colour(mesh: Mesh) -> list[int]:
    return mesh.parts[0].colours[0].tolist()


def painted(mesh: Mesh) -> bool:
    return all(p.texture is not None and (p.texture == PAINT).all() for p in mesh.parts)


@pytest.mark.parametrize(
    ('written', 'place'),
    [
        ('../materials/textures/t.png', 'materials/textures/t.png'),
        ('t.png', 'materials/textures/t.png'),
        ('tex\\t.png', 'meshes/tex/t.png'),
        ('C:\\Users\\me\\t.png', 'meshes/t.png'),
        ('t.png', 'meshes/T.PNG'),
        ('my tex/a b.png', 'meshes/my tex/a b.png'),
        ('"t.png"', 'meshes/t.png'),
        ('-s 1 1 1 -o 0 0 -bm 1.0 -clamp on t.png', 'meshes/t.png'),
        ('-blendu off -imfchan l -mm 0 1 a b.png', 'meshes/a b.png'),
    ],
)
def test_a_texture_is_found_as_people_write_it(tmp_path: Path, written: str, place: str) -> None:
    path = write_obj(tmp_path / 'meshes', f'map_Kd {written}\n')
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_bytes(png())
    assert painted(load_mesh(path, 'm'))


@pytest.mark.parametrize('encoding', ['latin-1', 'gbk', 'utf-8', 'utf-16'])
def test_text_is_read_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    name = '贴图' if encoding == 'gbk' else 'Gehäuse'
    (tmp_path / f'{name}.png').write_bytes(png())
    (tmp_path / 'a.mtl').write_bytes(f'newmtl {name}\nmap_Kd {name}.png\n'.encode(encoding))
    text = f'# {name}\nmtllib a.mtl\n{QUAD}usemtl {name}\nf 1/1 2/2 3/3\n'
    (tmp_path / 'a.obj').write_bytes(text.encode(encoding))
    assert painted(load_mesh(tmp_path / 'a.obj', 'm'))


@pytest.mark.parametrize(
    ('material', 'text', 'message'),
    [
        ('map_Kd gone.png\n', QUAD + FACE, r"a\.mtl:3: texture 'gone\.png' is not there"),
        ('map_Kd bad.png\n', QUAD + FACE, r"a\.mtl:3: texture 'bad\.png': no complete image"),
        (None, QUAD + FACE, r"a\.obj:1: material library 'a\.mtl' is not there"),
        ('', QUAD + 'usemtl other\nf 1/1 2/2 3/3\n', r"a\.obj:10: material 'other' is in none"),
        ('map_Kd t.png\n', f'{QUAD}{FACE}f 1 2 3\n', r'a\.obj:12: this face has no texture coord'),
    ],
)
def test_what_is_named_and_missing_is_refused_by_line_or_drawn_plain(
    tmp_path: Path, material: str | None, text: str, message: str
) -> None:
    path = write_obj(tmp_path, material, text)
    (tmp_path / 't.png').write_bytes(png())
    (tmp_path / 'bad.png').write_bytes(png()[:40])
    with pytest.raises(MeshError, match=message):
        load_mesh(path, 'm')
    assert len(load_mesh(path, 'm', plain=True).parts) >= 1
    (tmp_path / 'o.yaml').write_text('objects: [{name: a, mesh: a.obj, plain: true, unit: m}]')
    assert read_objects(tmp_path / 'o.yaml')[0].mesh.parts


def test_nothing_is_read_outside_of_the_model(tmp_path: Path) -> None:
    secret = tmp_path / 'secret.png'
    secret.write_bytes(png())
    folder = tmp_path / 'a' / 'b'
    path = write_obj(folder, 'map_Kd ../../secret.png\n')
    with pytest.raises(MeshError, match='is not there'):
        load_mesh(path, 'm')
    assert painted(load_mesh(path, 'm', folders=[tmp_path]))
    (folder / 'link.png').symlink_to(secret)
    with pytest.raises(MeshError, match='is not there'):
        load_mesh(write_obj(folder, 'map_Kd link.png\n'), 'm')
    os.mkfifo(folder / 'pipe.png')
    with pytest.raises(MeshError, match='is not there'):
        load_mesh(write_obj(folder, 'map_Kd pipe.png\n'), 'm')
    os.mkfifo(folder / 'pipe.obj')
    with pytest.raises(MeshError, match='not a regular'):
        load_mesh(folder / 'pipe.obj')


def test_options_of_a_texture_scale_and_move_it(tmp_path: Path) -> None:
    (tmp_path / 't.png').write_bytes(png())
    path = write_obj(tmp_path, 'map_Kd -s 2 3 -o .25 .5 t.png\n')
    (part,) = load_mesh(path, 'm').parts
    assert part.uv is not None
    np.testing.assert_allclose(part.uv.min(axis=0), (0.25, 0.5))
    np.testing.assert_allclose(part.uv.max(axis=0), (2.25, 3.5))


@pytest.mark.parametrize('mode', ['clamp', 'mirror'])
def test_a_texture_that_does_not_repeat_is_laid_out(mode: str) -> None:
    texture = np.random.default_rng(1).integers(0, 255, (4, 4, 3)).astype(np.uint8)
    place = np.arange(-6, 10)
    pixel = place.clip(0, 3) if mode == 'clamp' else np.pad(np.arange(4), 6, 'symmetric')
    uv = np.stack(np.meshgrid(place, place), axis=-1).reshape(-1, 2)
    chart, laid = laid_out(np.float32((uv + 0.5) / 4), texture, (mode, mode))
    rows, columns, _ = laid.shape
    found = laid[((1 - chart[:, 1]) * rows).astype(int), (chart[:, 0] * columns).astype(int)]
    wanted = texture[::-1][pixel[:, None], pixel[None, :]].reshape(-1, 3)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ('data', 'wanted'),
    [
        (png(40000, 'I;16'), (156, 156, 156)),
        (png(90, 'L'), (90, 90, 90)),
        (png((*PAINT, 0), 'RGBA'), PAINT),
        (png((90, 7), 'LA'), (90, 90, 90)),
        (png(1, '1'), (255, 255, 255)),
        (png(kind='WEBP'), PAINT),
        (png((0, 255, 255, 0), 'CMYK', 'TIFF'), (255, 0, 0)),
    ],
)
def test_images_of_every_kind_keep_their_colour(data: bytes, wanted: tuple[int, ...]) -> None:
    assert (decode_texture(data, 't') == wanted).all()


def test_sizes_are_checked_before_anything_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytearray(png())
    data[16:24] = struct.pack('>II', 60000, 60000)
    data[29:33] = struct.pack('>I', zlib.crc32(data[12:29]))
    (tmp_path / 't.png').write_bytes(data)
    path = write_obj(tmp_path, 'map_Kd t.png\n')
    with pytest.raises(MeshError, match=r'3600 megapixels.*set SYNTH_DETECT_MAX_MEGAPIXELS'):
        load_mesh(path, 'm')
    monkeypatch.setenv('SYNTH_DETECT_MAX_FILE_MB', '0.0001')
    with pytest.raises(MeshError, match='set SYNTH_DETECT_MAX_FILE_MB'):
        load_mesh(path, 'm')
    monkeypatch.setenv('SYNTH_DETECT_MAX_FILE_MB', 'many')
    with pytest.raises(ConfigError, match='SYNTH_DETECT_MAX_FILE_MB: wanted a positive number'):
        load_mesh(path, 'm')


def test_vertex_colours_count_beside_a_material(tmp_path: Path) -> None:
    lines = QUAD.splitlines()
    text = '\n'.join(line + (' .9 .1 .1' if line[:2] == 'v ' else '') for line in lines)
    assert colour(load_mesh(write_obj(tmp_path, '', f'{text}\n{FACE}'), 'm')) == list(RED)
    head = 'ply\nformat ascii 1.0\nelement vertex 3\n'
    head += ''.join(f'property float {name}\n' for name in 'xyzst')
    head += ''.join(f'property uchar {name}\n' for name in ('red', 'green', 'blue'))
    head += 'element face 1\nproperty list uchar int vertex_indices\nend_header\n'
    rows = ''.join(f'{p[0]} {p[1]} {p[2]} 0 0 230 26 26\n' for p in POINTS)
    (tmp_path / 'a.ply').write_text(f'{head}{rows}3 0 1 2\n')
    assert colour(load_mesh(tmp_path / 'a.ply', 'm')) == list(RED)


def test_gltf_colours_are_linear_and_multiplied(tmp_path: Path) -> None:
    def factor(document: dict) -> None:
        rough = document['materials'][0]['pbrMetallicRoughness']
        rough['baseColorFactor'] = [0.2158605, 1, 0.5, 1]

    assert colour(load_mesh(write_glb(tmp_path / 'a.glb', factor), 'm')) == [128, 255, 188]
    assert (
        load_mesh(tmp_path / 'a.glb').remarks
        and not load_mesh(write_glb(tmp_path / 'c.glb')).remarks
    )
    shares = np.tile(np.float32([1, 0.2158605, 0]), (3, 1))
    path = write_glb(tmp_path / 'b.glb', factor, COLOR_0=shares)
    assert colour(load_mesh(path, 'm')) == [128, 128, 0]


def test_gltf_texture_sets_and_transforms_are_honoured(tmp_path: Path) -> None:
    def change(document: dict) -> None:
        document['materials'][0]['pbrMetallicRoughness']['baseColorTexture'] = {
            'index': 0,
            'texCoord': 0,
            'extensions': {
                'KHR_texture_transform': {
                    'texCoord': 1, 'scale': [0.5, 0.25], 'offset': [0.1, 0.2],
                    'rotation': np.pi / 2,
                },
            },
        }  # fmt: skip
        document['extensionsRequired'] = ['KHR_texture_transform']

    path = write_glb(tmp_path / 'a.glb', change, TEXCOORD_0=UV * 0, TEXCOORD_1=UV)
    mesh = load_mesh(path, 'm')
    (part,) = mesh.parts
    assert painted(mesh) and part.uv is not None
    # u' = cos u + sin v, v' = -sin u + cos v, v downward: as glTF viewers do.
    order = [np.flatnonzero((part.vertices == p).all(axis=1))[0] for p in POINTS]
    u, v = 0.5 * UV[:, 0], 0.25 * UV[:, 1]
    np.testing.assert_allclose(part.uv[order, 0], v + 0.1, atol=1e-6)
    np.testing.assert_allclose(1 - part.uv[order, 1], -u + 0.2, atol=1e-6)


@pytest.mark.parametrize(
    'name', ['KHR_draco_mesh_compression', 'KHR_texture_basisu', 'EXT_meshopt_compression']
)
def test_gltf_extensions_that_are_not_read_are_refused_by_name(tmp_path: Path, name: str) -> None:
    path = write_glb(tmp_path / 'a.glb', lambda d: d.update(extensionsRequired=[name]))
    with pytest.raises(MeshError, match=name):
        load_mesh(path)


def test_gltf_nodes_are_nested_and_instances_drawn(tmp_path: Path) -> None:
    def change(document: dict) -> None:
        count = len(document['accessors'])
        del document['meshes'][0]['primitives'][0]['attributes']['TRANSLATION']
        document['nodes'] = [
            {'children': [1], 'scale': [2, 2, 2]},
            {'mesh': 0, 'translation': [0.1, 0, 0], 'extensions': {
                'EXT_mesh_gpu_instancing': {'attributes': {'TRANSLATION': count - 1}}}},
        ]  # fmt: skip
        document['extensionsRequired'] = ['EXT_mesh_gpu_instancing']

    moves = np.float32([(0, 0, 0), (0.3, 0, 0)])
    mesh = load_mesh(write_glb(tmp_path / 'a.glb', change, TRANSLATION=moves))
    assert sum(len(part.faces) for part in mesh.parts) == 2
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    np.testing.assert_allclose((low[0], high[0], high[1]), (0.2, 1.0, 0.2), atol=1e-6)


@pytest.mark.parametrize('suffix', ['obj', 'ply', 'stl'])
@pytest.mark.parametrize('unit', UNITS)
def test_a_box_is_the_same_in_every_format_and_unit(
    tmp_path: Path, suffix: str, unit: str
) -> None:
    box = trimesh.creation.box(np.array((0.3, 0.2, 0.1)) / UNITS[unit])
    box.export(tmp_path / f'box.{suffix}')
    mesh = load_mesh(tmp_path / f'box.{suffix}', unit)
    assert mesh.diameter == pytest.approx(np.sqrt(0.14), rel=1e-5) and mesh.closed


@pytest.mark.parametrize(('metre', 'up'), [(0.01, 'Z_UP'), (0.0254, 'Y_UP'), (1, 'X_UP')])
def test_dae_unit_and_up_axis_count(tmp_path: Path, metre: float, up: str) -> None:
    size = {'Z_UP': (0.1, 0.2, 0.3), 'Y_UP': (0.1, 0.3, 0.2), 'X_UP': (0.3, 0.1, 0.2)}[up]
    path = tmp_path / 'box.dae'
    trimesh.creation.box(np.array(size) / metre).export(path)
    asset = f'<unit name="u" meter="{metre}"/><up_axis>{up}</up_axis>'
    text = path.read_text().replace('<up_axis>Y_UP</up_axis>', asset)
    path.write_text(text)
    mesh = load_mesh(path)
    np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0), (0.1, 0.2, 0.3), atol=1e-6)
    assert mesh.closed and bool(mesh.remarks) == (up != 'Z_UP')
    if metre != 1:
        with pytest.raises(MeshError, match='the file says that its unit'):
            load_mesh(path, 'm')
    path.write_text(text.replace('<geometry id="', '<geometry id="lost'))
    with pytest.raises(MeshError, match='not found'):
        load_mesh(path, plain=True)
    path.write_text(text.replace('<COLLADA', '<!DOCTYPE x [<!ENTITY a "b">]><COLLADA'))
    with pytest.raises(MeshError, match='entities'):
        load_mesh(path)


def test_geometry_far_from_the_origin_keeps_its_precision(tmp_path: Path) -> None:
    box = trimesh.creation.box((0.3, 0.2, 0.1))
    box.export(tmp_path / 'near.obj')
    box.apply_translation((4e6, -5e6, 1e5))
    box.export(tmp_path / 'far.obj', digits=9)
    near, far = load_mesh(tmp_path / 'near.obj', 'm'), load_mesh(tmp_path / 'far.obj', 'm')
    assert far.closed and far.radius == pytest.approx(near.radius, rel=1e-6)
    np.testing.assert_allclose(far.origin, (4e6, -5e6, 1e5))
    pose = np.eye(4)
    pose[:3, :3] = [(0, -1, 0), (1, 0, 0), (0, 0, 1)]
    pose[:3, 3] = 1, 2, 3
    point = far.vertices[0].astype(np.float64)
    seen = far.file_pose(pose) @ [*(point + far.origin), 1]
    np.testing.assert_allclose(seen[:3], pose[:3, :3] @ point + pose[:3, 3], atol=1e-8)
    assert not near.origin.any() and near.file_pose(pose).tolist() == pose.tolist()


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 4\n', r'a\.obj:4: vertex of .4. is not there'),
        ('v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 -9\n', r'a\.obj:4: vertex'),
        ('v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n', 'of no area'),
        ('v 0 0 0\nv 1 0 0\nv inf 0 0\nf 1 2 3\n', 'infinity'),
        ('v 0,5 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n', r'a\.obj:1: .*not a comma'),
        ('v 0 0 0\nv 1 0 0\nv 0 1 0\nf a b c\n', r'a\.obj:4: wanted a face'),
        ('v 0 0 0\n', 'wanted triangles'),
    ],
)
def test_degenerate_meshes_get_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / 'a.obj').write_text(text)
    with pytest.raises(MeshError, match=message):
        load_mesh(tmp_path / 'a.obj', 'm')


def test_binary_stl_is_read_whatever_its_first_word_is(tmp_path: Path) -> None:
    path = tmp_path / 'a.stl'
    trimesh.creation.box((0.1, 0.1, 0.1)).export(path)
    data = path.read_bytes()
    path.write_bytes(b'solid box'.ljust(80, b'\0') + data[80:])
    assert load_mesh(path).closed
    path.write_bytes(data + b'\0' * 7)
    assert load_mesh(path).closed
    path.write_bytes(data[:-60])
    with pytest.raises(MeshError, match='ends early'):
        load_mesh(path)
    text = trimesh.creation.box((0.1, 0.1, 0.1)).export(file_type='stl_ascii')
    path.write_bytes(text.replace('solid ', 'SOLID ').replace('\n', '\r\n').encode())
    assert load_mesh(path).closed


@pytest.mark.parametrize('suffix', ['obj', 'ply', 'stl', 'glb', 'dae'])
def test_mutated_files_are_read_or_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f'box.{suffix}'
    trimesh.creation.box((0.1, 0.1, 0.1)).export(path)
    data, rng = path.read_bytes(), np.random.default_rng(4)
    for _ in range(60):
        mutant = bytearray(data[: rng.integers(len(data) // 2, len(data) + 1)])
        for place in rng.integers(0, len(mutant), int(rng.integers(0, 6))):
            mutant[place] = rng.integers(256)
        path.write_bytes(mutant)
        try:
            load_mesh(path)
        except MeshError as error:
            assert len(str(error)) < 700
