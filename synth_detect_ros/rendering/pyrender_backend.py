"""pyrender behind the renderer protocol, with Phong shaders of our own, headless through EGL.

pyrender brings the context, uploads and the frame buffers. What differs from its own loop: nothing
is deleted between frames, the frame buffer only grows, and a layer is read back as RGBA with raw
depth. Only one OpenGL context is ever made in a process (pyrender issues 146, 200, 305).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.errors import RenderingError
from synth_detect_ros.geometry.camera import Camera
from synth_detect_ros.rendering.meshes.mesh import Mesh, MeshPart
from synth_detect_ros.rendering.renderer import EGL_ADVICE, Instance, Layer, Light, fill_outline
from synth_detect_ros.rendering.viewport import T_OPTICAL_OPENGL, Viewport


def _import_pyrender() -> Any:
    """Import pyrender on EGL; the platform must be chosen before PyOpenGL is loaded."""
    platform = os.environ.setdefault('PYOPENGL_PLATFORM', 'egl')
    if platform != 'egl':
        raise RenderingError(f'PYOPENGL_PLATFORM is {platform!r}; wanted egl. {EGL_ADVICE}')
    try:
        import pyrender  # noqa: PLC0415
        import pyrender.platforms.egl  # noqa: PLC0415
        import pyrender.renderer  # noqa: PLC0415
    except (ImportError, OSError, AttributeError, RuntimeError) as error:
        raise RenderingError(f'pyrender cannot be loaded: {error}. {EGL_ADVICE}') from error
    return pyrender


pyrender = _import_pyrender()
from OpenGL import GL  # noqa: E402  after pyrender chose the platform

SHADERS = Path(__file__).parent / 'shaders'
# Frame buffers grow in steps, so that their number of sizes stays small.
BUFFER_STEP = 128


class _FixedCamera(pyrender.camera.Camera):  # type: ignore[misc,name-defined]
    """A pyrender camera whose projection matrix is set from outside."""

    matrix: NDArray[np.float64] = np.eye(4)

    def get_projection_matrix(self, width: int = 0, height: int = 0) -> NDArray[np.float64]:
        return self.matrix


class _LayerRenderer(pyrender.renderer.Renderer):  # type: ignore[misc,name-defined]
    """pyrender's renderer with our lights, kept uploads, and frame buffers that only grow."""

    viewport_width: int
    viewport_height: int

    def __init__(self) -> None:
        super().__init__(BUFFER_STEP, BUFFER_STEP)
        self._program_cache = pyrender.shader_program.ShaderProgramCache(str(SHADERS))
        self.phong = np.zeros(4)
        self.light = Light()

    def _update_context(self, scene: Any, flags: int) -> None:
        """Upload what is new; pyrender would delete every mesh that this scene does not hold."""
        for mesh in scene.meshes - self._meshes:
            for primitive in mesh.primitives:
                primitive._add_to_context()
                for texture in primitive.material.textures - self._mesh_textures:
                    texture._add_to_context()
                    texture.source = None  # OpenGL has it now
                    self._mesh_textures.add(texture)
            self._meshes.add(mesh)

    def _bind_lighting(self, scene: Any, program: Any, node: Any, flags: int) -> None:
        program.set_uniform('phong', self.phong)
        program.set_uniform('light_direction', np.array(self.light.direction))
        program.set_uniform('light_colour', np.array(self.light.colour))

    def _configure_forward_pass_viewport(self, flags: int) -> None:
        super()._configure_forward_pass_viewport(flags)
        GL.glEnable(GL.GL_SCISSOR_TEST)
        GL.glScissor(0, 0, self.viewport_width, self.viewport_height)

    def _configure_main_framebuffer(self) -> None:
        """Make a frame buffer at least as large as the viewport."""
        width, height = self.viewport_width, self.viewport_height
        have = [size or 0 for size in self._main_fb_dims]
        if width <= have[0] and height <= have[1]:
            return
        self._delete_main_framebuffer()
        self.viewport_width = max(have[0], -(-width // BUFFER_STEP) * BUFFER_STEP)
        self.viewport_height = max(have[1], -(-height // BUFFER_STEP) * BUFFER_STEP)
        super()._configure_main_framebuffer()
        self.viewport_width, self.viewport_height = width, height

    def _read_main_framebuffer(self, scene: Any, flags: int) -> tuple[Any, Any]:
        """Return (h, w, 4) uint8 colour and (h, w) float32 window depth, bottom row first."""
        w, h = self.viewport_width, self.viewport_height
        GL.glBindFramebuffer(GL.GL_READ_FRAMEBUFFER, self._main_fb_ms)
        GL.glBindFramebuffer(GL.GL_DRAW_FRAMEBUFFER, self._main_fb)
        for what in (GL.GL_COLOR_BUFFER_BIT, GL.GL_DEPTH_BUFFER_BIT):
            GL.glBlitFramebuffer(0, 0, w, h, 0, 0, w, h, what, GL.GL_NEAREST)
        GL.glBindFramebuffer(GL.GL_READ_FRAMEBUFFER, self._main_fb)
        colour = GL.glReadPixels(0, 0, w, h, GL.GL_RGBA, GL.GL_UNSIGNED_BYTE)
        depth = GL.glReadPixels(0, 0, w, h, GL.GL_DEPTH_COMPONENT, GL.GL_FLOAT)
        return (
            np.frombuffer(colour, np.uint8).reshape(h, w, 4),
            np.frombuffer(depth, np.float32).reshape(h, w),
        )


class PyrenderRenderer:
    """The pyrender backend, see `renderer.Renderer`; get it from `backends.get_renderer`.

    Raises:
        RenderingError: no EGL device gives an OpenGL 4.1 context.
    """

    def __init__(self) -> None:
        self._platform = _open_egl()
        self._renderer = _LayerRenderer()
        self._largest = int(GL.glGetIntegerv(GL.GL_MAX_RENDERBUFFER_SIZE))
        self._scenes: dict[int, tuple[Mesh, Any, Any]] = {}

    def draw(self, camera: Camera, instance: Instance, light: Light) -> Layer:
        """Draw one instance alone, see `renderer.Renderer.draw`."""
        viewport = Viewport.around(camera, instance, self._largest)
        colour, window = self._render(viewport, instance, light)
        depth = _metric_depth(window, colour[..., 3], viewport.near, viewport.far)
        return Layer(viewport.x, viewport.y, colour, depth)

    def _render(
        self, viewport: Viewport, instance: Instance, light: Light
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return colour and window depth, top row first."""
        _, scene, node = self._scene(instance.mesh)
        scene.set_pose(node, instance.pose)
        scene.main_camera_node.camera.matrix = viewport.projection
        material = instance.material
        self._renderer.phong = np.array(
            [material.ambient, material.diffuse, material.specular, material.shininess]
        )
        self._renderer.light = light
        self._platform.make_current()
        self._renderer.viewport_width = viewport.width
        self._renderer.viewport_height = viewport.height
        flags = pyrender.RenderFlags
        try:
            cull = flags.NONE if instance.mesh.closed else flags.SKIP_CULL_FACES
            colour, depth = self._renderer.render(scene, flags.OFFSCREEN | flags.RGBA | cull)
        except GL.error.Error as error:
            raise RenderingError(f'OpenGL failed: {error}') from error
        return np.ascontiguousarray(colour[::-1]), np.ascontiguousarray(depth[::-1])

    def _scene(self, mesh: Mesh) -> tuple[Mesh, Any, Any]:
        """Return the pyrender scene that holds only this mesh; the mesh is kept, so its id is."""
        if id(mesh) not in self._scenes:
            scene = pyrender.Scene(bg_color=(0.0, 0.0, 0.0, 0.0))
            scene.add(_FixedCamera(), pose=T_OPTICAL_OPENGL)
            node = scene.add(pyrender.Mesh([_primitive(part) for part in mesh.parts]))
            self._scenes[id(mesh)] = mesh, scene, node
        return self._scenes[id(mesh)]


def _open_egl() -> Any:
    """Return the first EGL device, from EGL_DEVICE_ID on, on which a context can be made."""
    egl = pyrender.platforms.egl
    first, problems = int(os.environ.get('EGL_DEVICE_ID', '0')), []
    for number, device in list(enumerate(egl.query_devices()))[first:]:
        platform = egl.EGLPlatform(BUFFER_STEP, BUFFER_STEP, device=device)
        try:
            platform.init_context()
        except Exception as error:  # assertions and errors of PyOpenGL, by driver
            problems.append(f'device {number}: {type(error).__name__} {error}')
        else:
            return platform
    what = '; '.join(problems) or f'there is no EGL device {first}'
    raise RenderingError(f'no OpenGL 4.1 context: {what}. {EGL_ADVICE}')


def _primitive(part: MeshPart) -> Any:
    texture = None
    if part.texture is not None:
        # RGBA: rows of RGB textures whose width is no multiple of 4 would be read askew.
        source = cv2.cvtColor(part.texture, cv2.COLOR_RGB2RGBA)
        texture = pyrender.Texture(source=source, source_channels='RGBA')
    material = pyrender.MetallicRoughnessMaterial(baseColorTexture=texture, alphaMode='OPAQUE')
    return pyrender.Primitive(
        positions=part.vertices,
        normals=part.normals,
        texcoord_0=part.uv,
        color_0=cv2.cvtColor(part.colours[None], cv2.COLOR_RGB2RGBA)[0],
        indices=part.faces,
        material=material,
        mode=pyrender.GLTF.TRIANGLES,
    )


def _metric_depth(
    window: NDArray[np.float32], alpha: NDArray[np.uint8], near: float, far: float
) -> NDArray[np.float32]:
    """Turn window depth (0..1) into z [m], infinite where nothing was drawn."""
    depth = np.float32(near * far) / (np.float32(far) - window * np.float32(far - near))
    depth[window == 1] = np.inf
    return fill_outline(depth, alpha)
