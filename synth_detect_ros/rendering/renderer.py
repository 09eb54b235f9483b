"""The renderer protocol: instances in, layers out; layers merged on a canvas: colour, ids, depth.

A backend draws one instance at a time into a `Layer` that covers only the instance, also where it
is hidden or beyond the image border. So silhouettes, amodal boxes and visible fractions are exact,
cost is in proportion to area, and an instance can be moved without drawing the others again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.geometry.boxes import Boxes, box_of_mask
from synth_detect_ros.geometry.camera import Camera
from synth_detect_ros.rendering.meshes.mesh import Mesh

EGL_ADVICE = (
    'Off-screen rendering needs EGL. On Debian and Ubuntu: '
    'sudo apt-get install libegl1 libgl1 libgl1-mesa-dri. In a container with an NVIDIA GPU, '
    'start it with NVIDIA_DRIVER_CAPABILITIES=all.'
)
# A pixel belongs to an object when at least half of it is covered.
HALF_COVERED = 128

Window = tuple[slice, slice]


@dataclass(frozen=True)
class Material:
    """Phong terms of one instance, see `config.ShadingConfig`."""

    ambient: float = 0.55
    diffuse: float = 0.5
    specular: float = 0.15
    shininess: float = 20.0


@dataclass(frozen=True)
class Light:
    """One distant light.

    Attributes:
        direction: unit vector towards the light, camera frame.
        colour: red, green and blue factors.
    """

    direction: tuple[float, float, float] = (0.0, 0.0, -1.0)
    colour: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True, eq=False)
class Instance:
    """One object in front of the camera.

    Attributes:
        mesh: what is drawn.
        pose: (4, 4) T_camera_object [m].
        material: how it reflects light.
    """

    mesh: Mesh
    pose: NDArray[np.float64]
    material: Material = Material()


@dataclass(frozen=True, eq=False)
class Layer:
    """One instance drawn alone, on the part of the image plane that it covers.

    Attributes:
        x: image column of the first column of the layer; may be negative.
        y: image row of the first row.
        colour: (h, w, 4) uint8 RGBA, colour multiplied by alpha; alpha is the covered share.
        depth: (h, w) float32 z [m], infinite where nothing is.
        mask: (h, w) bool, where the instance covers at least half the pixel.
        area: number of pixels of the mask, those beyond the image included.
        box: (4,) box of these pixels in the image [px, edges].
    """

    x: int
    y: int
    colour: NDArray[np.uint8]
    depth: NDArray[np.float32]
    mask: NDArray[np.bool_] = field(init=False)
    area: int = field(init=False)
    box: Boxes = field(init=False)

    def __post_init__(self) -> None:
        mask = self.colour[..., 3] >= HALF_COVERED
        object.__setattr__(self, 'mask', mask)
        object.__setattr__(self, 'area', int(np.count_nonzero(mask)))
        object.__setattr__(self, 'box', box_of_mask(mask) + np.array([self.x, self.y] * 2))

    def window(self, width: int, height: int) -> tuple[Window, Window]:
        """Return (rows, columns) of the image and of the layer where the two overlap."""
        h, w = self.depth.shape
        left, top = min(max(self.x, 0), width), min(max(self.y, 0), height)
        right, bottom = max(min(self.x + w, width), left), max(min(self.y + h, height), top)
        image = slice(top, bottom), slice(left, right)
        layer = slice(top - self.y, bottom - self.y), slice(left - self.x, right - self.x)
        return image, layer


class Canvas:
    """The image plane: layers merged by depth, pixel by pixel, as they are added.

    Attributes:
        colour: (H, W, 4) uint8 RGBA, colour multiplied by alpha.
        ids: (H, W) uint8, i + 1 = layer i is in front, 0 = none.
        depth: (H, W) float32 z [m], infinite where nothing is.
        layers: the instances alone, in the order of the ids; at most 255.
        visible: pixels of `ids` that each layer has.
    """

    def __init__(self, width: int, height: int) -> None:
        self.colour = np.zeros((height, width, 4), np.uint8)
        self.ids = np.zeros((height, width), np.uint8)
        self.depth = np.full((height, width), np.inf, np.float32)
        # As depth, but of whatever covers any part of a pixel: decides the order at soft outlines.
        self._top_depth = self.depth.copy()
        self.layers: list[Layer] = []
        self.visible = np.zeros(0, np.int64)
        self._previewed: tuple[Layer, NDArray[np.bool_], NDArray[np.int64]] | None = None

    def visible_fractions(self) -> NDArray[np.float64]:
        """Return (N,) visible pixels over pixels of the whole silhouette, in [0, 1]."""
        return self.visible / np.maximum([layer.area for layer in self.layers], 1)

    def preview(self, layer: Layer) -> NDArray[np.int64]:
        """Return `visible` (N + 1,) as it would be with one more layer."""
        return self._preview(layer)[1]

    def add(self, layer: Layer) -> None:
        """Merge one more layer; colours meet by the `over` operator (Porter & Duff 1984)."""
        gained, self.visible = self._preview(layer)
        self._previewed = None
        image, part = self._window(layer)
        on_top = layer.depth[part] < self._top_depth[image]
        self.colour[image] = _over(layer.colour[part], self.colour[image], on_top)
        np.minimum(self._top_depth[image], layer.depth[part], out=self._top_depth[image])
        self.layers.append(layer)
        own = gained.view(np.uint8) * np.uint8(len(self.layers))  # the largest id so far
        np.maximum(self.ids[image], own, out=self.ids[image])
        nearest = np.where(gained, layer.depth[part], np.float32(np.inf))
        np.minimum(self.depth[image], nearest, out=self.depth[image])

    def _preview(self, layer: Layer) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Return where in its window the layer would be in front, and `visible` with it."""
        if self._previewed is None or self._previewed[0] is not layer:
            image, part = self._window(layer)
            gained = layer.mask[part] & (layer.depth[part] < self.depth[image])
            hidden = self.ids[image] * gained.view(np.uint8)
            lost = [np.count_nonzero(hidden == i + 1) for i in range(len(self.layers))]
            visible = np.append(self.visible - lost, np.count_nonzero(gained)).astype(np.int64)
            self._previewed = layer, gained, visible
        return self._previewed[1:]

    def _window(self, layer: Layer) -> tuple[Window, Window]:
        return layer.window(self.ids.shape[1], self.ids.shape[0])


class Renderer(Protocol):
    """What a backend does. One backend, and one object of it, in a process."""

    def draw(self, camera: Camera, instance: Instance, light: Light) -> Layer:
        """Draw one instance alone.

        Args:
            camera: intrinsics; lens distortion is not applied, see `lens.Lens`.
            instance: mesh, pose and material; all of it in front of the camera.
            light: the light of the scene.

        Raises:
            GeometryError: part of the instance is on or behind the image plane.
            RenderingError: OpenGL failed.
        """


def fill_outline(depth: NDArray[np.float32], alpha: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Give pixels of the outline that have alpha, but no depth, the nearest depth beside them.

    Alpha has several samples a pixel, depth has one.

    Args:
        depth: (h, w) z [m], infinite where nothing is; changed in place.
        alpha: (h, w) covered share, 0..255.
    """
    bare = (alpha > 0) & np.isinf(depth)
    depth[bare] = cv2.erode(depth, np.ones((3, 3), np.uint8))[bare]
    return depth


def _over(
    new: NDArray[np.uint8], old: NDArray[np.uint8], in_front: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Return the `over` of two premultiplied images, `new` on top where `in_front`."""
    if not old[..., 3].any():
        return new
    on_top = in_front.view(np.uint8)
    top = cv2.copyTo(new, on_top, old.copy())
    bottom = cv2.copyTo(old, on_top, new.copy())
    through = cv2.multiply(bottom, cv2.merge([255 - top[..., 3]] * 4), scale=1 / 255)
    return np.asarray(cv2.add(top, through), np.uint8)
