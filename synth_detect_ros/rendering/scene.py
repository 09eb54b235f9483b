"""Fill one image: poses from the schedule, light and material, visibility limits kept."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.config import ShadingConfig, SynthesizeConfig
from synth_detect_ros.geometry.camera import Camera, unproject
from synth_detect_ros.geometry.poses import (
    Placement,
    PoseSequence,
    Schedule,
    distance_range,
    log_interpolate,
    ray_rotation,
)
from synth_detect_ros.rendering.lens import Lens
from synth_detect_ros.rendering.objects import ObjectModel
from synth_detect_ros.rendering.renderer import Canvas, Instance, Layer, Light, Material, Renderer

logger = logging.getLogger(__name__)

# Positions that are tried for an object until the visibility limits hold; then it is left out.
ATTEMPTS = 25
# The bounding sphere of an object stays this share of its radius in front of the image plane.
CLEARANCE = 0.1
_DISTRACTOR_STREAM = 21


@dataclass(frozen=True, eq=False)
class PlacedScene:
    """What stands in one image.

    Attributes:
        canvas: all layers, targets first.
        labels: (T,) int64 class index of each target.
        poses: (T, 4, 4) float64 T_camera_object of each target [m].
    """

    canvas: Canvas
    labels: NDArray[np.int64]
    poses: NDArray[np.float64]


class SceneFactory:
    """Makes scene i of a run, a pure function of (config, objects, camera, i).

    Args:
        config: of the run; pose, scene, shading and seed are used.
        camera: of the images.
        targets: objects that are labelled.
        distractors: objects that are not.
        renderer: draws them.
    """

    def __init__(
        self,
        config: SynthesizeConfig,
        camera: Camera,
        targets: Sequence[ObjectModel],
        distractors: Sequence[ObjectModel],
        renderer: Renderer,
    ) -> None:
        self._scene, self._shading, self._camera = config.scene, config.shading, camera
        self._renderer, self._lens = renderer, Lens(camera)
        self._schedule = Schedule(len(targets), config.scene.targets, config.seed)
        self._targets = [
            _Placer(model, config, camera, (config.seed, number))
            for number, model in enumerate(targets)
        ]
        self._distractors = [
            _Placer(model, config, camera, (config.seed, number, _DISTRACTOR_STREAM))
            for number, model in enumerate(distractors)
        ]

    def make(self, index: int, rng: np.random.Generator) -> PlacedScene:
        """Return scene `index`; random numbers beyond the enumerated poses come from `rng`."""
        canvas = Canvas(*self._camera.size)
        light = _draw_light(self._shading, rng)
        labels: list[int] = []
        poses: list[NDArray[np.float64]] = []
        for label, ordinal in self._schedule.slots(index):
            placer = self._targets[label]
            placement = placer.sequence[ordinal]
            pose = self._place(canvas, placer, placement, light, len(labels) + 1, rng)
            if pose is None:
                logger.info('image %d: no room for %s', index, placer.model.name)
                continue
            labels.append(label)
            poses.append(placer.model.mesh.file_pose(pose))
        if self._distractors:
            low, high = self._scene.distractors
            for _ in range(int(rng.integers(low, high + 1))):
                placer = self._distractors[int(rng.integers(len(self._distractors)))]
                placement = placer.sequence[int(rng.integers(len(placer.sequence)))]
                self._place(canvas, placer, placement, light, len(labels), rng)
        return PlacedScene(
            canvas, np.array(labels, np.int64), np.array(poses, np.float64).reshape(-1, 4, 4)
        )

    def _place(
        self,
        canvas: Canvas,
        placer: _Placer,
        placement: Placement,
        light: Light,
        guarded: int,
        rng: np.random.Generator,
    ) -> NDArray[np.float64] | None:
        """Add one object where the limits allow it; return its pose, or None without room.

        Its rotation and distance stay as enumerated: only the position is drawn again. The first
        `guarded` layers, this one counted, are targets and keep their visibility.
        """
        material = _draw_material(self._shading, rng)
        position = placement.position
        refused: tuple[Layer, NDArray[np.float64]] | None = None
        for _ in range(ATTEMPTS):
            pixel = np.array(position) * self._camera.size - 0.5
            position = float(rng.random()), float(rng.random())
            if not self._lens.sees(pixel):
                continue
            # Elsewhere the object looks nearly the same: where even that picture has no room,
            # a true one is not worth drawing.
            if refused and not self._allowed(canvas, _moved(*refused, pixel), guarded):
                continue
            pose = placer.pose(placement, pixel)
            instance = Instance(placer.model.mesh, pose, material)
            layer = self._lens.draw(self._renderer, instance, light)
            if layer is None:
                continue
            if self._allowed(canvas, layer, guarded):
                canvas.add(layer)
                return pose
            refused = layer, pixel
        return None

    def _allowed(self, canvas: Canvas, layer: Layer, guarded: int) -> bool:
        """Whether the first `guarded` layers keep their limits when `layer` is added."""
        config, visible = self._scene, canvas.preview(layer)
        areas = np.array([*(other.area for other in canvas.layers), layer.area])
        if not layer.area or (visible[:guarded] < config.min_visib_fract * areas[:guarded]).any():
            return False
        inside = _pixels_inside(layer, self._camera)
        is_target = guarded > len(canvas.layers)
        if is_target and inside < (1 - config.max_truncation) * layer.area:
            return False
        hidden = visible.sum() != canvas.visible.sum() + inside
        return bool(config.occlusion or not hidden)


class _Placer:
    """One object's poses in front of the camera."""

    def __init__(
        self, model: ObjectModel, config: SynthesizeConfig, camera: Camera, seed: tuple[int, ...]
    ) -> None:
        pose = model.limits.apply(config.pose)
        self.model = model
        self.sequence = PoseSequence(pose, seed)
        self._camera = camera
        self._distances = distance_range(
            pose, model.mesh.diameter, float(camera.K[0, 0]), min(camera.size)
        )

    def pose(self, placement: Placement, pixel: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return T_camera_object (4, 4) of a placement with the object's centre at `pixel`."""
        ray = unproject(self._camera, pixel[None])[0]
        ray /= np.linalg.norm(ray)
        nearest = (1 + CLEARANCE) * self.model.mesh.radius / ray[2]
        distance = max(log_interpolate(*self._distances, placement.distance), nearest)
        pose = np.eye(4)
        pose[:3, :3] = ray_rotation(ray) @ placement.rotation
        pose[:3, 3] = distance * ray - pose[:3, :3] @ self.model.mesh.centre
        return pose


def _moved(layer: Layer, origin: NDArray[np.float64], pixel: NDArray[np.float64]) -> Layer:
    """Return the picture of an object at pixel `origin` (2,), shifted to `pixel`."""
    x, y = np.rint(pixel - origin).astype(int).tolist()
    return replace(layer, x=layer.x + x, y=layer.y + y)


def _pixels_inside(layer: Layer, camera: Camera) -> int:
    _, part = layer.window(*camera.size)
    return int(np.count_nonzero(layer.mask[part]))


def _draw_light(config: ShadingConfig, rng: np.random.Generator) -> Light:
    """Return a light in the cone around the line of sight, uniform over the solid angle."""
    cosine = 1 - rng.random() * (1 - np.cos(np.deg2rad(config.light_cone_deg)))
    azimuth, colour = 2 * np.pi * rng.random(), rng.normal(1, config.light_colour, 3)
    if not config.perturb:
        return Light()
    sine = np.sqrt(1 - cosine**2)
    direction = sine * np.cos(azimuth), sine * np.sin(azimuth), -cosine
    return Light(direction, tuple(np.clip(colour, 0, 2)))


def _draw_material(config: ShadingConfig, rng: np.random.Generator) -> Material:
    ranges = (config.ambient, config.diffuse, config.specular, config.shininess)
    shares = rng.random(4) if config.perturb else np.full(4, 0.5)
    terms = [low + s * (high - low) for (low, high), s in zip(ranges, shares, strict=True)]
    return Material(*map(float, terms))
