"""COLLADA files, through pycollada: unit, up axis, nodes, materials and their textures."""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.errors import MeshError
from synth_detect_ros.rendering.meshes.formats.limits import MEGATRIANGLES, check
from synth_detect_ros.rendering.meshes.formats.pieces import (
    GREY,
    WHITE,
    Colours,
    Contents,
    Floats,
    Piece,
    check_indices,
    one_colour,
    to_bytes,
)
from synth_detect_ros.rendering.meshes.formats.sources import SourceFiles, spellings
from synth_detect_ros.rendering.meshes.formats.textures import Texture

logger = logging.getLogger(__name__)

# Turns to a frame with z upward, by the axis that a file says is up; COLLADA 1.4.1, sec. 5-89.
UPRIGHT = {
    'X_UP': np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]]),
    'Y_UP': np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]),
}
# Numbers this many times as large as the extent lose what is seen in pycollada's 32 bits.
FAR = 100.0


def read_dae(data: bytes, files: SourceFiles) -> Contents:
    """Read a COLLADA file; one that says which axis is up is turned so that it is z.

    Args:
        data: its content.
        files: of the model.

    Raises:
        MeshError: it is broken, or a texture is missing.
    """
    # Entities could grow without limit; no CAD tool writes them.
    if re.search(rb'<!(DOCTYPE|ENTITY)', data.replace(b'\0', b''), re.IGNORECASE):
        raise MeshError(f'{files.path}: declares document types or entities, which are not read')
    try:
        document = _parse(_unicode(data))
        for error in document.errors:
            _say(error, files)
        turn = _up_axis(document)
        pieces = tuple(_Walk(document, files).pieces())
        if turn in UPRIGHT:
            pieces = tuple(replace(p, corners=p.corners @ UPRIGHT[turn].T) for p in pieces)
        remarks = (f'turned from {turn} to Z_UP',) if turn in UPRIGHT else ()
        return Contents(pieces, _metre(document, files), remarks)
    except MeshError:
        raise
    except Exception as error:  # of lxml and pycollada, which let all kinds through
        raise MeshError(f'{files.path}: cannot be read as COLLADA: {error}'[:300]) from error


def _parse(data: bytes) -> Any:
    import collada  # noqa: PLC0415  slow to import, and needed for this format alone

    with warnings.catch_warnings():
        # Numbers that end early.
        warnings.filterwarnings('error', message='string or file could not be read')
        return collada.Collada(io.BytesIO(data), ignore=[collada.common.DaeError])


def _say(error: Exception, files: SourceFiles) -> None:
    """Refuse what pycollada could not resolve; what it does not support is only said."""
    text = f'{files.path}: {error}'
    if type(error).__name__ == 'DaeUnsupportedError':
        logger.warning('%s: left out', text)
    else:
        raise MeshError(text)


def _unicode(data: bytes) -> bytes:
    """Return XML as UTF-8 where it is in no encoding that it declares."""
    declared = re.match(rb'\s*<\?xml[^>]*encoding\s*=', data) or data[:2] in (
        b'\xff\xfe',
        b'\xfe\xff',
    )
    return data if declared else spellings(data)[0].encode()


def _up_axis(document: Any) -> str:
    """Return the axis that the file says is up; empty where it says none."""
    for node in document.xmlnode.getroot().iter('{*}up_axis'):
        return str(node.text or '').strip().upper()
    return ''


def _metre(document: Any, files: SourceFiles) -> float | None:
    """Return the unit that the file says [m]; None where it says none."""
    unit = document.assetInfo.unitmeter
    if unit is None:
        return None
    if not (np.isfinite(unit) and unit > 0):
        raise MeshError(f'{files.path}: <unit>: wanted a positive length, got {unit}')
    return float(unit)


class _Walk:
    """The nodes of a file's scene."""

    def __init__(self, document: Any, files: SourceFiles) -> None:
        self._document = document
        self._files = files
        self._triangles = 0
        for material in document.materials:
            effect = material.effect
            for channel in (effect.diffuse, effect.emission, effect.bumpmap):
                image = _image(channel)
                if image is not None and image.path:
                    files.record(image.path)

    def pieces(self) -> Iterator[Piece]:
        """Yield what all nodes draw, transforms applied."""
        if self._document.scene is None:
            return
        for node in self._document.scene.nodes:
            yield from self._node(node, np.eye(4))

    def _node(self, node: Any, above: Floats) -> Iterator[Piece]:
        from collada import polylist, scene, triangleset  # noqa: PLC0415  see `_parse`

        if isinstance(node, scene.Node):
            for child in node.children or ():
                yield from self._node(child, np.dot(above, node.matrix))
        elif isinstance(node, scene.ControllerNode):
            raise MeshError(f'{self._files.path}:{node.xmlnode.sourceline}: '
                                'skinned and morphed geometry is not read')  # fmt: skip
        elif isinstance(node, scene.GeometryNode):
            bound = {material.symbol: material for material in node.materials}
            for primitive in node.geometry.primitives:
                polygons = isinstance(primitive, polylist.Polylist)
                faces = primitive.triangleset() if polygons else primitive
                if isinstance(faces, triangleset.TriangleSet) and len(faces.index):
                    yield self._piece(faces, bound.get(faces.material), above)

    def _piece(self, primitive: Any, bound: Any, matrix: Floats) -> Piece:
        line = getattr(primitive.xmlnode, 'sourceline', 0)
        where = f'{self._files.path}:{line}'
        self._triangles += len(primitive.index)
        check(self._triangles / 1e6, MEGATRIANGLES, f'{self._files.path}')
        points = self._points(primitive.sources['VERTEX'][0][4], where)
        index = np.asarray(primitive.vertex_index, np.int64).reshape(-1)
        check_indices(index, len(points), f'{where}: vertex')
        corners = points[index]
        if np.abs(matrix - np.eye(4)).max() >= 1e-8:
            flat = np.column_stack([corners, np.ones(len(corners))])
            corners = np.asarray((matrix @ flat.T).T[:, :3], np.float64)
        colours = self._colours(primitive, where)
        if bound is None:
            if primitive.material and not bound:
                logger.info('%s: material %r is bound to nothing', where, primitive.material)
            return Piece(corners, one_colour(GREY, len(index)) if colours is None else colours)
        texture, name = self._texture(bound.target.effect, where)
        uv = None if texture is None else self._chart(primitive, bound, where)
        if uv is not None:
            return Piece(corners, one_colour(WHITE, len(index)), uv, texture)
        if texture is not None:
            self._files.lacking(f'{where}: texture {name!r} has no coordinates')
        if colours is None:
            colours = one_colour(_plain(bound.target.effect), len(index))
        return Piece(corners, colours)

    def _points(self, source: Any, where: str) -> Floats:
        """Return positions; read again in 64 bits where 32 are too few for them."""
        points = np.asarray(source.data, np.float64)
        node = source.xmlnode.find('{*}float_array')
        text = '' if node is None or node.text is None else node.text
        if 'n' in text.lower():  # pycollada takes NaN for zero
            raise MeshError(f'{where}: wanted finite vertices; the file holds NaN or infinity')
        extent = np.ptp(points, axis=0).max(initial=0)
        if np.abs(points).max(initial=0) > FAR * extent:
            exact = np.array(text.split(), np.float64)
            if exact.size == points.size:
                return exact.reshape(points.shape)
        return points

    def _colours(self, primitive: Any, where: str) -> Colours | None:
        """Return the vertex colours (3F, 3) of a primitive; None without."""
        for offset, _, _, _, source in primitive.sources.get('COLOR', ()):
            index = primitive.index[:, :, offset].reshape(-1)
            check_indices(index, len(source.data), f'{where}: colour')
            return to_bytes(source.data[index][:, :3])
        return None

    def _texture(self, effect: Any, where: str) -> tuple[Texture | None, str]:
        """Return the texture of an effect and its name; None where it has none."""
        channel = _painted(effect)
        if channel is None:
            return None, ''
        image = _image(channel)
        if image is None or not image.path:
            self._files.lacking(f'{where}: effect {effect.id!r} has a texture without an image')
            return None, ''
        line = getattr(image.xmlnode, 'sourceline', 0)
        return self._files.texture(image.path, f'{self._files.path}:{line}'), image.path

    def _chart(self, primitive: Any, bound: Any, where: str) -> NDArray[np.float32] | None:
        """Return texture coordinates (3F, 2) of the set that is bound; None without."""
        inputs = primitive.sources.get('TEXCOORD', ())
        wanted = {
            number
            for semantic, _, number in bound.inputs
            if semantic == _painted(bound.target.effect).texcoord and number is not None
        }
        chosen = [entry for entry in inputs if str(entry[3] or '0') in wanted] or inputs
        if not chosen:
            return None
        offset, *_, source = chosen[0]
        index = primitive.index[:, :, offset].reshape(-1)
        check_indices(index, len(source.data), f'{where}: texture coordinate')
        return np.asarray(source.data[index][:, :2], np.float32)


def _painted(effect: Any) -> Any:
    """Return the texture channel of an effect that is drawn; None without."""
    shines = effect.shadingtype == 'constant' or not _is_map(effect.diffuse)
    for channel in (effect.diffuse, effect.emission if shines else None):
        if _is_map(channel):
            return channel
    return None


def _is_map(channel: Any) -> bool:
    return hasattr(channel, 'sampler')


def _image(channel: Any) -> Any:
    try:
        return channel.sampler.surface.image
    except AttributeError:
        return None


def _plain(effect: Any) -> Any:
    """Return the colour of an effect, 0..255; white without one."""
    colour = effect.diffuse
    if colour is None or _is_map(colour):
        return WHITE
    return to_bytes(tuple(colour)[:3])
