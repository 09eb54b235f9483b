"""Filling an image: limits of visibility hold, nothing loops for ever, every switch works."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scenes

from synth_detect_ros.config import PoseConfig, SceneConfig, ShadingConfig, SynthesizeConfig
from synth_detect_ros.geometry.camera import Camera, project
from synth_detect_ros.rendering.backends import get_renderer
from synth_detect_ros.rendering.objects import ObjectModel, PoseLimits, read_objects
from synth_detect_ros.rendering.renderer import Instance, Layer, Light, Material
from synth_detect_ros.rendering.scene import ATTEMPTS, PlacedScene, SceneFactory

CROWD = SceneConfig(targets=(3, 3), distractors=(4, 4))


@pytest.fixture(scope='module')
def models(tmp_path_factory: pytest.TempPathFactory) -> list[ObjectModel]:
    config = scenes.config(tmp_path_factory.mktemp('models'))
    return read_objects(Path(config.objects))


def make(
    models: list[ObjectModel],
    index: int = 0,
    camera: Camera | None = None,
    seed: int = 0,
    **changes: object,
) -> PlacedScene:
    options = {'pose': PoseConfig(view_level=1), 'scene': CROWD, 'seed': seed, **changes}
    factory = SceneFactory(
        SynthesizeConfig(**options), camera or scenes.camera(), models, models, get_renderer()
    )
    return factory.make(index, np.random.default_rng((seed, index)))


@pytest.mark.parametrize('index', range(8))
def test_targets_keep_their_limits(models: list[ObjectModel], index: int) -> None:
    limits = CROWD.replace(min_visib_fract=0.6, max_truncation=0.25)
    scene = make(models, index, scene=limits)
    count = len(scene.labels)
    assert count and len(scene.poses) == count
    assert (scene.canvas.visible_fractions()[:count] >= 0.6).all()
    for layer in scene.canvas.layers[:count]:
        _, part = layer.window(160, 120)
        assert np.count_nonzero(layer.mask[part]) >= 0.75 * layer.area


def test_without_occlusion_nothing_is_hidden(models: list[ObjectModel]) -> None:
    for index in range(4):
        canvas = make(models, index, scene=CROWD.replace(occlusion=False)).canvas
        for layer, visible in zip(canvas.layers, canvas.visible, strict=True):
            _, part = layer.window(160, 120)
            assert visible == np.count_nonzero(layer.mask[part])
    with_occlusion = [make(models, index).canvas for index in range(4)]
    assert any((c.visible < [x.area for x in c.layers]).any() for c in with_occlusion)


def test_what_finds_no_room_is_left_out(
    models: list[ObjectModel], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    scene = make(
        models,
        scene=SceneConfig(targets=(6, 6), distractors=(0, 0), occlusion=False, max_truncation=0.0),
        pose=PoseConfig(view_level=0, size_fraction=(0.7, 0.7)),
    )
    assert len(scene.labels) < 6
    assert 'no room for' in caplog.text


def test_truncation_can_be_forbidden_or_allowed(models: list[ObjectModel]) -> None:
    alone = SceneConfig(targets=(1, 1), distractors=(0, 0), min_visib_fract=0.01)

    def cut(limit: float) -> list[bool]:
        scene = alone.replace(max_truncation=limit)
        canvases = [make(models, i, scene=scene).canvas for i in range(12)]
        drawn = [canvas for canvas in canvases if canvas.layers]
        return [canvas.visible[0] < canvas.layers[0].area for canvas in drawn]

    assert not any(cut(0.0))
    assert any(cut(0.99))


@pytest.mark.parametrize('distortion', [(), (-0.25, 0.05, 0.0, 0.0)])
def test_objects_appear_as_large_as_asked(
    models: list[ObjectModel], distortion: tuple[float, ...]
) -> None:
    camera = scenes.camera(D=np.array(distortion))
    ball = [model for model in models if model.name == 'ball']
    scene = SceneConfig(targets=(1, 1), distractors=(0, 0), max_truncation=0.0)
    for index in range(6):
        pose = PoseConfig(view_level=0, size_fraction=(0.3, 0.3))
        layer = make(ball, index, camera, scene=scene, pose=pose).canvas.layers[0]
        size = (layer.box[2:] - layer.box[:2]).max()
        assert size == pytest.approx(0.3 * 120, rel=0.2)


def test_distances_and_limits_of_an_object_are_its_own(models: list[ObjectModel]) -> None:
    limits = PoseLimits(distance_m=(0.5, 0.6), elevation_deg=(30.0, 90.0))
    own = [replace(models[0], limits=limits)]
    for index in range(6):
        scene = make(own, index, scene=SceneConfig(targets=(1, 1), distractors=(0, 0)))
        (pose,) = scene.poses
        centre = pose[:3, :3] @ models[0].mesh.centre + pose[:3, 3]
        distance = np.linalg.norm(centre)
        assert 0.5 - 1e-9 <= distance <= 0.6 + 1e-9
        towards_camera = pose[:3, :3].T @ (-centre / distance)
        assert np.rad2deg(np.arcsin(towards_camera[2])) >= 30 - 1e-6


def test_objects_never_touch_the_camera(models: list[ObjectModel]) -> None:
    scene = make(
        models,
        scene=SceneConfig(targets=(1, 1), distractors=(0, 0), min_visib_fract=0.01,
                          max_truncation=0.99),
        pose=PoseConfig(view_level=0, distance_m=(0.001, 0.001)),
    )  # fmt: skip
    for label, pose in zip(scene.labels, scene.poses, strict=True):
        depth = (models[label].mesh.vertices @ pose[:3, :3].T + pose[:3, 3])[:, 2]
        assert depth.min() > 0


def test_centres_spread_over_the_whole_image(models: list[ObjectModel]) -> None:
    camera, centres = scenes.camera(), []
    scene = SceneConfig(targets=(1, 1), distractors=(0, 0), max_truncation=0.9,
                        min_visib_fract=0.05)  # fmt: skip
    for index in range(32):
        placed = make(models, index, scene=scene)
        mesh = models[placed.labels[0]].mesh
        pose = placed.poses[0]
        centres.append(project(camera, (pose[:3, :3] @ mesh.centre + pose[:3, 3])[None])[0])
    quadrants = (np.array(centres) > (80, 60)).astype(int) @ (1, 2)
    assert np.bincount(quadrants, minlength=4).min() >= 5


class Recorder:
    """A renderer that remembers what it was asked for."""

    def __init__(self) -> None:
        self.materials: list[Material] = []
        self.lights: list[Light] = []

    def draw(self, camera: Camera, instance: Instance, light: Light) -> Layer:
        self.materials.append(instance.material)
        self.lights.append(light)
        return get_renderer().draw(camera, instance, light)

    def clear(self) -> None:
        """Own nothing to free."""


def test_where_a_refused_picture_has_no_room_none_is_drawn(models: list[ObjectModel]) -> None:
    crowd = SceneConfig(targets=(6, 6), distractors=(0, 0), occlusion=False, max_truncation=0.0)
    config = SynthesizeConfig(scene=crowd, pose=PoseConfig(size_fraction=(0.4, 0.4)))
    recorder = Recorder()
    factory = SceneFactory(config, scenes.camera(), models, [], recorder)
    placed = [factory.make(index, np.random.default_rng(index)) for index in range(4)]
    missing = 4 * 6 - sum(len(scene.labels) for scene in placed)
    assert missing > 0
    assert 4 * 6 <= len(recorder.materials) < missing * ATTEMPTS / 2
    for scene in placed:  # what was drawn keeps the limits, whatever was foretold
        assert (scene.canvas.visible == [layer.area for layer in scene.canvas.layers]).all()


@pytest.mark.parametrize('perturb', [True, False])
def test_light_and_material_stay_in_their_ranges(models: list[ObjectModel], perturb: bool) -> None:
    shading, recorder = ShadingConfig(perturb=perturb, light_cone_deg=40.0), Recorder()
    config = SynthesizeConfig(shading=shading, scene=CROWD)
    factory = SceneFactory(config, scenes.camera(), models, models, recorder)
    for index in range(4):
        factory.make(index, np.random.default_rng(index))
    for name in ('ambient', 'diffuse', 'specular', 'shininess'):
        values = [getattr(material, name) for material in recorder.materials]
        low, high = getattr(shading, name)
        assert low <= min(values) <= max(values) <= high
        assert len(set(values)) > 10 if perturb else set(values) == {(low + high) / 2}
    directions = np.array([light.direction for light in recorder.lights])
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1)
    assert (-directions[:, 2] >= np.cos(np.deg2rad(40)) - 1e-9).all()
    assert len(set(recorder.lights)) == (4 if perturb else 1)


def test_without_distractors_only_targets_are_drawn(models: list[ObjectModel]) -> None:
    factory = SceneFactory(
        SynthesizeConfig(scene=CROWD), scenes.camera(), models, [], get_renderer()
    )
    scene = factory.make(0, np.random.default_rng(0))
    assert len(scene.canvas.layers) == len(scene.labels)
    assert len(make(models).canvas.layers) > len(make(models).labels)
