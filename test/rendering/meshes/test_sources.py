"""The files that a model is made from: all that it names, wherever they lie, and no others."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scenes
import trimesh
from PIL import Image

from synth_detect_ros.dataset.inputs import provenance, read_inputs
from synth_detect_ros.rendering.meshes import cad_file
from synth_detect_ros.rendering.meshes.cad_file import hash_file, load_mesh

RED, BLUE = (200, 10, 10), (10, 10, 200)
TEXTURE = 'maps/paint.png'
CORNERS, UV = [(0, 0, 0), (0.1, 0, 0), (0, 0.1, 0)], [(0.2, 0.2), (0.8, 0.2), (0.2, 0.8)]
DAE = """<COLLADA xmlns="http://www.collada.org/2005/11/COLLADASchema" version="1.4.1">
<asset><unit meter="1"/><up_axis>Z_UP</up_axis></asset>
<library_images><image id="i"><init_from>{texture}</init_from></image></library_images>
<library_effects><effect id="e"><profile_COMMON>
<newparam sid="s"><surface type="2D"><init_from>i</init_from></surface></newparam>
<newparam sid="t"><sampler2D><source>s</source></sampler2D></newparam>
<technique sid="common"><lambert><diffuse><texture texture="t" texcoord="UV"/></diffuse></lambert>
</technique></profile_COMMON></effect></library_effects>
<library_materials><material id="m"><instance_effect url="#e"/></material></library_materials>
<library_geometries><geometry id="g"><mesh>
<source id="p"><float_array id="pa" count="9">{corners}</float_array><technique_common>
<accessor source="#pa" count="3" stride="3"><param name="X" type="float"/>
<param name="Y" type="float"/><param name="Z" type="float"/></accessor></technique_common></source>
<source id="u"><float_array id="ua" count="6">{uv}</float_array><technique_common>
<accessor source="#ua" count="3" stride="2"><param name="S" type="float"/>
<param name="T" type="float"/></accessor></technique_common></source>
<vertices id="v"><input semantic="POSITION" source="#p"/></vertices>
<triangles material="x" count="1"><input semantic="VERTEX" source="#v" offset="0"/>
<input semantic="TEXCOORD" source="#u" offset="1" set="0"/><p>0 0 1 1 2 2</p></triangles>
</mesh></geometry></library_geometries>
<library_visual_scenes><visual_scene id="w"><node><instance_geometry url="#g"><bind_material>
<technique_common><instance_material symbol="x" target="#m">
<bind_vertex_input semantic="UV" input_semantic="TEXCOORD" input_set="0"/></instance_material>
</technique_common></bind_material></instance_geometry></node></visual_scene></library_visual_scenes>
<scene><instance_visual_scene url="#w"/></scene></COLLADA>"""


def paint(path: Path, colour: tuple[int, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', (8, 8), colour).save(path)


def flat(rows: list[tuple[float, ...]]) -> str:
    return ' '.join(str(value) for row in rows for value in row)


def write_obj(folder: Path, texture: str) -> Path:
    rows = [f'v {flat([p])}\nvt {flat([t])}' for p, t in zip(CORNERS, UV, strict=True)]
    text = ['mtllib lib/paint.mtl', 'usemtl paint', *rows, 'f 1/1 2/2 3/3']
    (folder / 'lib').mkdir()
    (folder / 'lib' / 'paint.mtl').write_text(f'newmtl paint\nKd 1 1 1\nmap_Kd {texture}\n')
    (folder / 'sheet.obj').write_text('\n'.join(text) + '\n')
    return folder / 'sheet.obj'


def write_dae(folder: Path, texture: str) -> Path:
    text = DAE.format(texture=texture, corners=flat(CORNERS), uv=flat(UV))
    (folder / 'sheet.dae').write_text(text)
    return folder / 'sheet.dae'


def write_ply(folder: Path, texture: str) -> Path:
    head = f'ply\nformat ascii 1.0\ncomment TextureFile {texture}\nelement vertex 3\n'
    head += ''.join(f'property float {name}\n' for name in 'xyzst')
    head += 'element face 1\nproperty list uchar int vertex_indices\nend_header\n'
    rows = [flat([p, t]) for p, t in zip(CORNERS, UV, strict=True)]
    (folder / 'sheet.ply').write_text(head + '\n'.join([*rows, '3 0 1 2']) + '\n')
    return folder / 'sheet.ply'


def write_gltf(folder: Path, texture: str) -> Path:
    arrays = [np.float32(CORNERS), np.float32(UV) * (1, -1) + np.float32((0, 1))]
    data = b''.join(np.float32(array).tobytes() for array in arrays)
    (folder / 'sheet.bin').write_bytes(data)
    content = {
        'asset': {'version': '2.0'},
        'scene': 0,
        'scenes': [{'nodes': [0]}],
        'nodes': [{'mesh': 0}],
        'meshes': [
            {'primitives': [{'attributes': {'POSITION': 0, 'TEXCOORD_0': 1}, 'material': 0}]}
        ],
        'materials': [{'pbrMetallicRoughness': {'baseColorTexture': {'index': 0}}}],
        'textures': [{'source': 0}],
        'images': [{'uri': texture}],
        'buffers': [{'uri': 'sheet.bin', 'byteLength': len(data)}],
        'bufferViews': [
            {'buffer': 0, 'byteOffset': 0, 'byteLength': 36},
            {'buffer': 0, 'byteOffset': 36, 'byteLength': 24},
        ],
        'accessors': [
            {'bufferView': 0, 'componentType': 5126, 'count': 3, 'type': 'VEC3'},
            {'bufferView': 1, 'componentType': 5126, 'count': 3, 'type': 'VEC2'},
        ],
    }
    (folder / 'sheet.gltf').write_text(json.dumps(content))
    return folder / 'sheet.gltf'


def write_stl(folder: Path, texture: str) -> Path:
    trimesh.Trimesh(CORNERS, [[0, 1, 2]]).export(folder / 'sheet.stl')
    return folder / 'sheet.stl'


def write_glb(folder: Path, texture: str) -> Path:
    trimesh.load(write_gltf(folder, texture)).export(folder / 'whole.glb')
    return folder / 'whole.glb'


WRITERS: dict[str, tuple[Callable[[Path, str], Path], set[str]]] = {
    'obj': (write_obj, {'sheet.obj', 'lib/paint.mtl', TEXTURE}),
    'dae': (write_dae, {'sheet.dae', TEXTURE}),
    'ply': (write_ply, {'sheet.ply', TEXTURE}),
    'gltf': (write_gltf, {'sheet.gltf', 'sheet.bin', TEXTURE}),
    'glb': (write_glb, {'whole.glb'}),
    'stl': (write_stl, {'sheet.stl'}),
}


def fingerprint(path: Path, plain: bool = False) -> str:
    """Return that of a data set of this model."""
    folder = path.parent.with_name('run')
    config = scenes.config(folder).replace(
        objects=str(scenes.write_objects(folder, model=path)),
        distractors='',
    )
    if plain:
        objects = Path(config.objects)
        objects.write_text(objects.read_text().replace('unit: m', 'unit: m\n  plain: true'))
    return provenance(config, read_inputs(config))['fingerprint']


@pytest.fixture(params=WRITERS)
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a CAD file in a folder of its own, with a texture in a folder below."""
    paint(tmp_path / 'model' / TEXTURE, RED)
    return WRITERS[request.param][0](tmp_path / 'model', TEXTURE)


def test_all_files_of_a_model_are_recorded(model: Path) -> None:
    mesh = load_mesh(model, 'm')
    assert set(mesh.sources) == WRITERS[model.suffix[1:]][1]
    for name, digest in mesh.sources.items():
        assert digest == hash_file(model.parent / name) != ''
    if model.suffix != '.stl':
        (part,) = mesh.parts
        assert part.texture is not None and (part.texture == RED).all()


def test_a_change_of_any_file_of_a_model_is_another_data_set(model: Path) -> None:
    before = fingerprint(model)
    assert fingerprint(model) == before
    for name in load_mesh(model, 'm').sources:
        path = model.parent / name
        old = path.read_bytes()
        if path.suffix == '.png':
            paint(path, BLUE)
        elif path.suffix == '.stl':
            path.write_bytes(b'edited' + old[6:])
        elif path.suffix in ('.bin', '.glb'):
            path.write_bytes(old[:-4] + np.float32(0.05).tobytes())
        else:
            path.write_bytes(old + b'\n')
        assert fingerprint(model) != before, name
        path.write_bytes(old)
    assert fingerprint(model) == before


def test_a_file_beside_a_model_is_none_of_it(model: Path) -> None:
    before = fingerprint(model)
    (model.parent / 'README.md').write_text('painted by hand')
    assert fingerprint(model) == before


def test_files_are_hashed_a_piece_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'scan.bin').write_bytes(bytes(range(256)) * 9)
    whole = hash_file(tmp_path / 'scan.bin')
    monkeypatch.setattr(cad_file, 'CHUNK', 100)
    assert hash_file(tmp_path / 'scan.bin') == whole
    assert hash_file(tmp_path / 'none.bin') == ''


def test_a_texture_outside_of_the_folder_is_found(tmp_path: Path) -> None:
    paint(tmp_path / 'materials' / 'paint.png', BLUE)
    (tmp_path / 'meshes').mkdir()
    mesh = load_mesh(write_dae(tmp_path / 'meshes', '../materials/paint.png'), 'm')
    assert mesh.parts[0].texture is not None and (mesh.parts[0].texture == BLUE).all()
    assert mesh.sources['../materials/paint.png']


def test_a_path_of_the_exporting_machine_is_looked_up_beside_the_model(tmp_path: Path) -> None:
    paint(tmp_path / 'paint.png', BLUE)
    mesh = load_mesh(write_obj(tmp_path, '/home/designer/parts/paint.png'), 'm')
    assert mesh.parts[0].texture is not None


def test_a_missing_texture_is_said_and_counts_when_it_comes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / 'model').mkdir()
    model = write_dae(tmp_path / 'model', TEXTURE)
    with caplog.at_level(logging.WARNING):
        before = fingerprint(model, plain=True)
        assert fingerprint(model, plain=True) == before
    assert caplog.text.count(f'{TEXTURE} is missing') == 2
    paint(model.parent / TEXTURE, RED)
    assert fingerprint(model) != before
