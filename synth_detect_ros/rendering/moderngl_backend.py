"""moderngl behind the renderer protocol: Phong shading, headless through EGL, GPU or Mesa.

Meshes and textures are uploaded once; a drawing sets a few uniforms. Colour and depth come out of
one pass with four samples a pixel, which a second shader turns into pixels: mean colour and metric
depth, rows top first, so that only the pixels of the layer are read and nothing is computed after.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import moderngl
import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.errors import RenderingError
from synth_detect_ros.geometry.camera import Camera
from synth_detect_ros.rendering.egl import open_egl
from synth_detect_ros.rendering.meshes.mesh import Mesh, MeshPart
from synth_detect_ros.rendering.renderer import Instance, Layer, Light, Material
from synth_detect_ros.rendering.viewport import T_OPTICAL_OPENGL, Viewport

SHADERS = Path(__file__).parent / 'shaders'
# The names that pyrender gives to the attributes of mesh.vert, and the layout of a vertex.
LOCATIONS = '#define NORMAL_LOC 1\n#define TEXCOORD_0_LOC 2\n#define COLOR_0_LOC 3\n'
TEXTURED = '#define HAS_BASE_COLOR_TEX\n'
VERTEX = np.dtype(
    [('position', 'f4', 3), ('normal', 'f4', 3), ('uv', 'f4', 2), ('colour', 'u1', 4)]
)
# The layout in moderngl's terms: shaders without a texture have no texture coordinates.
WITH_UV = '3f 3f 2f 4f1', 'position', 'normal', 'texcoord_0', 'color_0'
WITHOUT_UV = '3f 3f 2x4 4f1', 'position', 'normal', 'color_0'
# Samples a pixel, for soft outlines.
SAMPLES = 4
# Levels of detail that shift nothing by more than this cannot be told from the mesh [px].
LARGEST_ERROR_PX = 0.5
# Frame buffers grow in steps, so that they are seldom made.
BUFFER_STEP = 128


@dataclass(frozen=True, eq=False)
class _Buffers:
    """Frame buffers for pictures of at most `width` x `height`."""

    width: int
    height: int
    colour: Any
    depth: Any
    samples: Any
    pixels: Any

    @classmethod
    def make(cls, context: Any, width: int, height: int) -> _Buffers:
        size = width, height
        colour = context.texture(size, 4, samples=SAMPLES)
        depth = context.depth_texture(size, samples=SAMPLES)
        pixels = [context.renderbuffer(size, 4), context.renderbuffer(size, 1, dtype='f4')]
        samples = context.framebuffer([colour], depth)
        return cls(width, height, colour, depth, samples, context.framebuffer(pixels))

    def release(self) -> None:
        """Free them."""
        attachments = self.pixels.color_attachments
        for thing in (self.samples, self.pixels, self.colour, self.depth, *attachments):
            thing.release()


@dataclass(frozen=True, eq=False)
class _Part:
    """A mesh part on the graphics device."""

    program: Any
    array: Any
    texture: Any | None


@dataclass(frozen=True, eq=False)
class _Mesh:
    """A mesh on the graphics device; the mesh is kept, so that its id is not given again.

    Attributes:
        mesh: what was uploaded.
        levels: error [m] and parts, the mesh itself first, then coarser and coarser.
    """

    mesh: Mesh
    levels: list[tuple[float, list[_Part]]]

    def parts(self, scale: float) -> list[_Part]:
        """Return the coarsest parts whose error stays in the limit at `scale` px/m."""
        return [p for error, p in self.levels if error * scale <= LARGEST_ERROR_PX][-1]


class ModernglRenderer:
    """The moderngl backend, see `renderer.Renderer`; get it from `backends.get_renderer`.

    The context is current only while something is drawn, so that any thread can draw.

    Attributes:
        device: what OpenGL calls the device.

    Raises:
        RenderingError: no EGL device gives an OpenGL 3.3 context.
    """

    def __init__(self) -> None:
        self._context, self.device = open_egl()
        self._meshes: dict[int, _Mesh] = {}
        with self._context as context:
            limits = context.info
            self._largest = min(limits['GL_MAX_RENDERBUFFER_SIZE'], limits['GL_MAX_TEXTURE_SIZE'])
            self._buffers = _Buffers.make(context, BUFFER_STEP, BUFFER_STEP)
            self._resolve = context.program(
                _source('resolve.vert'), _source('resolve.frag', f'#define SAMPLES {SAMPLES}\n')
            )
            self._picture = context.vertex_array(self._resolve, [])
            self._resolve['colour'], self._resolve['depth'] = 0, 1
        # One program for meshes with a texture, one for those without.
        self._program: Callable[[str], Any] = cache(self._make_program)

    def draw(self, camera: Camera, instance: Instance, light: Light) -> Layer:
        """Draw one instance alone, see `renderer.Renderer.draw`."""
        viewport = Viewport.around(camera, instance, self._largest)
        try:
            with self._context:
                parts = self._upload(instance.mesh).parts(viewport.scale)
                self._fit_buffers(viewport)
                for program in {part.program for part in parts}:
                    _set_uniforms(program, viewport, instance.pose, instance.material, light)
                self._draw_samples(viewport, parts, instance.mesh.closed)
                self._draw_pixels(viewport)
                layer = self._read(viewport)
                problem = self._context.error
        except moderngl.Error as error:
            raise RenderingError(f'OpenGL failed: {error}') from error
        if problem != 'GL_NO_ERROR':
            raise RenderingError(f'OpenGL failed: {problem}')
        return layer

    def _upload(self, mesh: Mesh) -> _Mesh:
        """Return a mesh on the device, all its levels."""
        if id(mesh) not in self._meshes:
            textures = [
                None if part.texture is None else _texture(self._context, part.texture)
                for part in mesh.parts
            ]
            levels = [
                (level.error, list(map(self._upload_part, level.parts, textures)))
                for level in mesh.details
            ]
            self._meshes[id(mesh)] = _Mesh(mesh, levels)
        return self._meshes[id(mesh)]

    def _upload_part(self, part: MeshPart, texture: Any | None) -> _Part:
        context = self._context
        program = self._program('' if texture is None else TEXTURED)
        vertices = context.buffer(_vertex_table(part))
        faces = context.buffer(part.faces.astype(np.uint32))
        layout = WITHOUT_UV if texture is None else WITH_UV
        array = context.vertex_array(program, [(vertices, *layout)], faces)
        return _Part(program, array, texture)

    def _make_program(self, defines: str) -> Any:
        names = ('mesh.vert', 'mesh.frag')
        program = self._context.program(*(_source(name, LOCATIONS + defines) for name in names))
        program['V'].write(_matrix(T_OPTICAL_OPENGL))
        return program

    def _fit_buffers(self, viewport: Viewport) -> None:
        """Make the frame buffers at least as large as the viewport."""
        old = self._buffers
        if viewport.width <= old.width and viewport.height <= old.height:
            return
        width = max(old.width, -(-viewport.width // BUFFER_STEP) * BUFFER_STEP)
        height = max(old.height, -(-viewport.height // BUFFER_STEP) * BUFFER_STEP)
        self._buffers = _Buffers.make(self._context, width, height)
        old.release()

    def _draw_samples(self, viewport: Viewport, parts: list[_Part], closed: bool) -> None:
        context, target = self._context, self._buffers.samples
        target.use()
        target.viewport = target.scissor = 0, 0, viewport.width, viewport.height
        context.enable_only(moderngl.DEPTH_TEST | (moderngl.CULL_FACE if closed else 0))
        target.clear()
        for part in parts:
            if part.texture is not None:
                part.texture.use()
            part.array.render()

    def _draw_pixels(self, viewport: Viewport) -> None:
        """Turn samples into pixels."""
        target = self._buffers.pixels
        target.use()
        target.viewport = target.scissor = 0, 0, viewport.width, viewport.height
        self._context.enable_only(moderngl.NOTHING)
        self._buffers.colour.use(0)
        self._buffers.depth.use(1)
        self._resolve['range'] = viewport.near, viewport.far
        self._resolve['rows'] = viewport.height
        self._picture.render(vertices=3)

    def _read(self, viewport: Viewport) -> Layer:
        width, height = viewport.width, viewport.height
        colour = np.empty((height, width, 4), np.uint8)
        depth = np.empty((height, width), np.float32)
        pixels, window = self._buffers.pixels, (0, 0, width, height)
        pixels.read_into(colour, window, 4)
        pixels.read_into(depth, window, 1, attachment=1, dtype='f4')
        return Layer(viewport.x, viewport.y, colour, depth)


def _source(name: str, defines: str = '') -> str:
    """Return a shader with definitions behind its first line, the version."""
    version, rest = (SHADERS / name).read_text().split('\n', 1)
    return f'{version}\n{defines}{rest}'


def _matrix(matrix: NDArray[np.float64]) -> bytes:
    """Return a matrix as OpenGL takes it: float32, column by column."""
    return matrix.T.astype(np.float32).tobytes()


def _set_uniforms(
    program: Any, viewport: Viewport, pose: NDArray[np.float64], material: Material, light: Light
) -> None:
    program['M'].write(_matrix(pose))
    program['P'].write(_matrix(viewport.projection))
    terms = material.ambient, material.diffuse, material.specular, material.shininess
    program['phong'] = terms
    program['light_direction'] = light.direction
    program['light_colour'] = light.colour


def _vertex_table(part: MeshPart) -> NDArray[np.void]:
    table = np.zeros(len(part.vertices), VERTEX)
    table['position'], table['normal'] = part.vertices, part.normals
    if part.uv is not None:
        table['uv'] = part.uv
    table['colour'] = np.insert(part.colours, 3, 255, axis=1)
    return table


def _texture(context: Any, pixels: NDArray[np.uint8]) -> Any:
    """Upload (H, W, 3) uint8 with mipmaps; OpenGL wants the bottom row first."""
    height, width = pixels.shape[:2]
    bottom_first = np.ascontiguousarray(pixels[::-1])
    texture = context.texture((width, height), 3, bottom_first, alignment=1)
    texture.build_mipmaps()
    texture.filter = moderngl.LINEAR_MIPMAP_LINEAR, moderngl.LINEAR
    return texture
