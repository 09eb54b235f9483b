"""What glTF paints on a mesh: textures, factors in linear light, colours of vertices."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.rendering.meshes.formats.gltf_buffers import Buffers
from synth_detect_ros.rendering.meshes.formats.pieces import (
    GREY,
    Colours,
    one_colour,
    to_bytes,
    to_srgb,
)
from synth_detect_ros.rendering.meshes.formats.sources import SourceFiles
from synth_detect_ros.rendering.meshes.formats.textures import Chart, Texture, laid_out

logger = logging.getLogger(__name__)

# Modes of a sampler; what it does not say is repeated.
WRAP = {33071: 'clamp', 33648: 'mirror', 10497: 'repeat'}
_GLOSSY = 'KHR_materials_pbrSpecularGlossiness'

Look = tuple[Colours, Chart | None, Texture | None]


class Materials:
    """The materials of a file.

    Attributes:
        converted: whether a colour was converted from linear light.

    Args:
        document: the JSON of the file.
        buffers: its binary data.
        files: of the model; all images that lie in files count as of the model.
    """

    def __init__(self, document: dict[str, Any], buffers: Buffers, files: SourceFiles) -> None:
        self._document = document
        self._buffers = buffers
        self._files = files
        self._textures: dict[int, Texture | None] = {}
        self.converted = False
        for image in document.get('images', ()):
            if 'uri' in image and not image['uri'].startswith('data:'):
                files.record(image['uri'])

    def look(
        self, primitive: dict[str, Any], corner: NDArray[np.int64], count: int, where: str
    ) -> Look:
        """Return colours (3F, 3), texture coordinates (3F, 2) and texture of a primitive.

        Args:
            primitive: of a mesh.
            corner: (3F,) vertices of its corners.
            count: of its vertices.
            where: begins the messages of errors.

        Raises:
            MeshError: a texture is missing, and plain colour is not accepted.
        """
        attributes = primitive['attributes']
        material = {}
        if 'material' in primitive:
            material = self._document['materials'][primitive['material']]
        factor, info = self._base(material)
        uv = texture = None
        if info is not None:
            uv, texture = self._texture(info, attributes, corner, where)
        light = np.ones((1, 3)) if factor is None else np.array(factor, np.float64)[None, :3]
        if 'COLOR_0' in attributes:
            colours = self._buffers.array(attributes['COLOR_0'], f'{where}: COLOR_0')
            light = light * _shares(colours[corner, :3])
        elif factor is None and texture is None:
            plain = (255, 255, 255) if info is not None else GREY
            return one_colour(plain if material or info else GREY, len(corner)), None, None
        shade = to_bytes(to_srgb(light))
        self.converted |= bool((shade != to_bytes(light)).any())
        return np.broadcast_to(shade, (len(corner), 3)).copy(), uv, texture

    def _base(self, material: dict[str, Any]) -> tuple[Any, dict[str, Any] | None]:
        """Return the factor, linear, and the texture of a material's colour; None: not given."""
        glossy = material.get('extensions', {}).get(_GLOSSY)
        if glossy is not None:
            return glossy.get('diffuseFactor'), glossy.get('diffuseTexture')
        rough = material.get('pbrMetallicRoughness', {})
        return rough.get('baseColorFactor'), rough.get('baseColorTexture')

    def _texture(
        self, info: dict[str, Any], attributes: dict[str, Any], corner: Any, where: str
    ) -> tuple[Chart | None, Texture | None]:
        """Return texture coordinates and texture; nothing where plain colour is accepted."""
        texture = self._document['textures'][info['index']]
        image = self._image(info['index'], texture)
        move = info.get('extensions', {}).get('KHR_texture_transform', {})
        name = f'TEXCOORD_{move.get("texCoord", info.get("texCoord", 0))}'
        if image is None:
            return None, None
        if name not in attributes:
            self._files.lacking(f'{where}: has a texture and no {name}')
            return None, None
        chart = self._buffers.array(attributes[name], where, columns=2).astype(np.float32)
        if move:
            chart = _transformed(chart, move)
        chart = chart[corner]
        chart[:, 1] = 1.0 - chart[:, 1]  # v is downward in glTF
        sampler = {}
        if 'sampler' in texture:
            sampler = self._document['samplers'][texture['sampler']]
        wrap = WRAP[sampler.get('wrapS', 10497)], WRAP[sampler.get('wrapT', 10497)]
        return laid_out(chart, image, wrap)

    def _image(self, number: int, texture: dict[str, Any]) -> Texture | None:
        """Return the image of a texture; WebP before the fallback, others only as it."""
        if number not in self._textures:
            extensions = texture.get('extensions', {})
            source = extensions.get('EXT_texture_webp', {}).get('source', texture.get('source'))
            self._textures[number] = None
            if source is None:
                names = ', '.join(extensions) or 'an image'
                self._files.lacking(f'{self._files.path}: textures[{number}] needs {names}, '
                                    'which is not read here')  # fmt: skip
            else:
                self._textures[number] = self._decoded(source)
        return self._textures[number]

    def _decoded(self, source: int) -> Texture | None:
        image = self._document['images'][source]
        where = f'{self._files.path}: images[{source}]'
        if 'bufferView' in image:
            return self._files.decoded(self._buffers.view(image['bufferView']), where)
        if not image['uri'].startswith('data:'):
            return self._files.texture(image['uri'], where)
        return self._files.decoded(self._buffers.uri(image['uri']), where)


def _shares(colours: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return colours as 0..1; some programs do not mark integers as normalized."""
    most = colours.max(initial=0)
    return colours / (1 if most <= 1 else 255 if most <= 255 else 65535)


def _transformed(chart: Chart, move: dict[str, Any]) -> Chart:
    """Return coordinates, v downward, moved as the extension KHR_texture_transform says."""
    angle = float(move.get('rotation', 0))
    cosine, sine = np.cos(angle), np.sin(angle)
    scaled = chart * np.array(move.get('scale', (1, 1)), np.float64)
    turned = scaled @ np.array([[cosine, -sine], [sine, cosine]])
    return np.asarray(turned + np.array(move.get('offset', (0, 0)), np.float64), np.float32)
