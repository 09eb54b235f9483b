"""glTF 2.0 files, text and binary: the nodes of the scene with their meshes, in metres.

Source: Khronos Group 2021, glTF 2.0 Specification. An extension that a file requires is one of
those below, or it is refused by its name.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.documents import decode, parse_json
from synth_detect_ros.errors import MeshError
from synth_detect_ros.rendering.meshes.formats.gltf_buffers import Buffers
from synth_detect_ros.rendering.meshes.formats.gltf_materials import Materials
from synth_detect_ros.rendering.meshes.formats.limits import MEGATRIANGLES, check
from synth_detect_ros.rendering.meshes.formats.pieces import (
    Contents,
    Floats,
    Piece,
    check_indices,
)
from synth_detect_ros.rendering.meshes.formats.sources import SourceFiles

# Extensions that are honoured, and those that change nothing of what is drawn here.
HONOURED = {
    'EXT_mesh_gpu_instancing', 'EXT_texture_webp', 'KHR_materials_pbrSpecularGlossiness',
    'KHR_mesh_quantization', 'KHR_texture_transform',
}  # fmt: skip
INDIFFERENT = {
    'KHR_animation_pointer', 'KHR_lights_punctual', 'KHR_materials_anisotropy',
    'KHR_materials_clearcoat', 'KHR_materials_dispersion', 'KHR_materials_emissive_strength',
    'KHR_materials_ior', 'KHR_materials_iridescence', 'KHR_materials_sheen',
    'KHR_materials_specular', 'KHR_materials_unlit', 'KHR_materials_variants', 'KHR_xmp_json_ld',
}  # fmt: skip
TRIANGLES, STRIP, FAN = 4, 5, 6
_JSON, _BIN = 0x4E4F534A, 0x004E4942


def read_gltf(data: bytes, files: SourceFiles) -> Contents:
    """Read a .gltf or .glb file.

    Args:
        data: its content.
        files: of the model.

    Raises:
        MeshError: the file is broken, requires an extension that is not read, or names a file
            that is missing.
    """
    try:
        document, binary = _document(data, str(files.path))
        required = set(document.get('extensionsRequired', ()))
        missing = sorted(required - HONOURED - INDIFFERENT)
        if missing:
            raise MeshError(
                f'{files.path}: requires {", ".join(missing)}, which is not read here. Export it '
                'without (for example without compression)'
            )
        scene = _Scene(document, binary, files)
        pieces = tuple(scene.pieces())
        return Contents(pieces, 1.0, ('colours in linear light',) if scene.converted else ())
    except (
        *(AttributeError, IndexError, KeyError, OverflowError, RecursionError, TypeError),
        *(UnicodeDecodeError, ValueError, struct.error),
    ) as error:
        if isinstance(error, MeshError):
            raise
        raise MeshError(f'{files.path}: no valid glTF: {_reason(error)}') from error


def _reason(error: Exception) -> str:
    kinds: dict[type, str] = {KeyError: 'lacks', IndexError: 'names what is not there:'}
    return f'{kinds.get(type(error), "")} {error}'.strip()[:200]


def _document(data: bytes, source: str) -> tuple[dict[str, Any], bytes | None]:
    """Return the JSON of a file and its binary part, None without one."""
    if data[:4] != b'glTF':
        return _json(data, source), None
    version, length = struct.unpack_from('<II', data, 4)
    if version != 2 or length > len(data):
        raise ValueError(f'wanted a GLB of version 2 with {length} bytes, '
                         f'got version {version} with {len(data)}')  # fmt: skip
    chunks: dict[int, bytes] = {}
    place = 12
    while place + 8 <= length:
        size, kind = struct.unpack_from('<II', data, place)
        if place + 8 + size > len(data):
            raise ValueError('it ends early')
        chunks.setdefault(kind, data[place + 8 : place + 8 + size])
        place += 8 + size
    return _json(chunks[_JSON], source), chunks.get(_BIN)


def _json(data: bytes, source: str) -> dict[str, Any]:
    document = parse_json(decode(data, source, MeshError), source, MeshError)
    if not isinstance(document, dict):
        raise ValueError('wanted a JSON object')
    version = str(document.get('asset', {}).get('version', ''))
    if not version.startswith('2'):
        raise ValueError(f'wanted version 2, got {version!r}')
    return document


class _Scene:
    """The nodes of a file's scene."""

    def __init__(self, document: dict[str, Any], binary: bytes | None, files: SourceFiles) -> None:
        self._document = document
        self._files = files
        self._buffers = Buffers(document, binary, files)
        self._materials = Materials(document, self._buffers, files)
        self._triangles = 0

    @property
    def converted(self) -> bool:
        """Whether a colour was converted from linear light."""
        return self._materials.converted

    def pieces(self) -> Iterator[Piece]:
        """Yield what all nodes draw, transforms applied.

        The order is that of trimesh: the last child first.
        """
        places = self._places()
        for number in places:
            node = self._document['nodes'][number]
            if 'mesh' not in node:
                continue
            mesh = self._document['meshes'][node['mesh']]
            weights = node.get('weights', mesh.get('weights', ()))
            for k, primitive in enumerate(mesh['primitives']):
                where = f'{self._files.path}: meshes[{node["mesh"]}].primitives[{k}]'
                if primitive.get('mode', TRIANGLES) not in (TRIANGLES, STRIP, FAN):
                    continue  # points and lines have no surface
                points = self._points(primitive, weights, where)
                corner = self._corners(primitive, len(points), where)
                if 'skin' in node:
                    moved = [self._skinned(points, primitive, node['skin'], places)]
                else:
                    moved = [_moved(points, places[number] @ m) for m in self._instances(node)]
                self._triangles += len(moved) * len(corner) // 3
                check(self._triangles / 1e6, MEGATRIANGLES, f'{self._files.path}')
                colours, uv, texture = self._materials.look(primitive, corner, len(points), where)
                yield from (Piece(p[corner], colours, uv, texture) for p in moved)

    def _places(self) -> dict[int, Floats]:
        """Return T_scene_node (4, 4) of each node of the scene.

        Raises:
            MeshError: a node has two parents.
        """
        nodes = self._document.get('nodes', [])
        scenes = self._document.get('scenes')
        if scenes:
            roots = scenes[self._document.get('scene', 0)].get('nodes', [])
        else:
            children = {child for node in nodes for child in node.get('children', ())}
            roots = [number for number in range(len(nodes)) if number not in children]
        places: dict[int, Floats] = {}
        waiting: list[tuple[int, Floats]] = [(root, np.eye(4)) for root in roots]
        while waiting:
            number, above = waiting.pop()
            if number in places or number < 0:
                raise MeshError(f'{self._files.path}: nodes[{number}] has two parents')
            places[number] = above @ _transform(nodes[number])
            waiting += [(child, places[number]) for child in nodes[number].get('children', ())]
        return places

    def _points(self, primitive: dict[str, Any], weights: Any, where: str) -> Floats:
        """Return the positions of a primitive, its morph targets added."""
        array = self._buffers.array
        points = array(primitive['attributes']['POSITION'], where, columns=3)
        for weight, target in zip(weights, primitive.get('targets', ()), strict=False):
            if weight and 'POSITION' in target:
                points = points + float(weight) * array(target['POSITION'], where, columns=3)
        return points

    def _corners(self, primitive: dict[str, Any], count: int, where: str) -> NDArray[np.int64]:
        """Return the vertex (3F,) of each corner."""
        if 'indices' in primitive:
            flat = self._buffers.array(primitive['indices'], where, columns=1)[:, 0]
        else:
            flat = np.arange(count, dtype=np.float64)
        index = flat.astype(np.int64)
        check_indices(index, count, f'{where}: vertex')
        mode = primitive.get('mode', TRIANGLES)
        if mode == TRIANGLES:
            return np.asarray(index[: len(index) // 3 * 3])
        a, b, c = index[:-2], index[1:-1], index[2:]
        if mode == FAN:
            a = np.broadcast_to(index[:1], b.shape)
        else:
            odd = np.arange(len(a)) % 2 == 1
            a, b = np.where(odd, b, a), np.where(odd, a, b)
        return np.stack([a, b, c], axis=1).reshape(-1)

    def _instances(self, node: dict[str, Any]) -> list[Floats]:
        """Return T_node_instance (4, 4) of the copies of a node's mesh."""
        extension = node.get('extensions', {}).get('EXT_mesh_gpu_instancing')
        if extension is None:
            return [np.eye(4)]
        where = f'{self._files.path}: EXT_mesh_gpu_instancing'
        arrays = {
            name.lower(): self._buffers.array(number, where)
            for name, number in extension['attributes'].items()
        }
        count = min(map(len, arrays.values()))
        keys = [key for key in ('translation', 'rotation', 'scale') if key in arrays]
        return [_transform({key: arrays[key][k] for key in keys}) for k in range(count)]

    def _skinned(
        self, points: Floats, primitive: dict[str, Any], number: int, places: dict[int, Floats]
    ) -> Floats:
        """Return points moved with the joints of a skin, sec. 3.7.3.3."""
        where, array = f'{self._files.path}: skins[{number}]', self._buffers.array
        skin = self._document['skins'][number]
        joints = np.stack([places[joint] for joint in skin['joints']])
        if 'inverseBindMatrices' in skin:
            inverse = array(skin['inverseBindMatrices'], where, columns=16)
            joints = joints @ inverse.reshape(-1, 4, 4).transpose(0, 2, 1)[: len(joints)]
        attributes = primitive['attributes']
        joint = array(attributes['JOINTS_0'], where, columns=4).astype(np.int64)
        share = array(attributes['WEIGHTS_0'], where, columns=4)
        check_indices(joint, len(joints), f'{where}: joint')
        flat = np.column_stack([points, np.ones(len(points))])
        moved = np.zeros((len(points), 3))
        for k in range(4):
            turned = np.einsum('nij,nj->ni', joints[joint[:, k]], flat)[:, :3]
            moved += share[:, k : k + 1] * turned
        return moved


def _moved(points: Floats, matrix: Floats) -> Floats:
    """Return points (N, 3) moved by a matrix (4, 4); themselves where it moves nothing."""
    if np.abs(matrix - np.eye(4)).max() < 1e-8:
        return points
    flat = np.column_stack([points, np.ones(len(points))])
    return np.asarray((matrix @ flat.T).T[:, :3], np.float64)


def _transform(node: dict[str, Any]) -> Floats:
    """Return the transform (4, 4) of a node: its matrix, or translation, rotation and scale."""
    if 'matrix' in node:
        return np.array(node['matrix'], np.float64).reshape(4, 4).T
    matrix = np.eye(4)
    if 'rotation' in node:
        x, y, z, w = np.array(node['rotation'], np.float64)
        length = x * x + y * y + z * z + w * w
        if length > 0:
            x, y, z, w = np.array([x, y, z, w]) / np.sqrt(length)
            matrix[:3, :3] = [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
    if 'scale' in node:
        matrix[:3, :3] *= np.array(node['scale'], np.float64)
    if 'translation' in node:
        matrix[:3, 3] = node['translation']
    return matrix
