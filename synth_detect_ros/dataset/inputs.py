"""What a data set is made from: objects, backgrounds and camera, and the record of them."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synth_detect_ros.config import BUILTIN, SynthesizeConfig
from synth_detect_ros.config.options import to_mapping
from synth_detect_ros.dataset.backgrounds import BackgroundSet, read_background_set, spread
from synth_detect_ros.dataset.storage import FORMAT
from synth_detect_ros.errors import ConfigError, UncalibratedCameraError
from synth_detect_ros.geometry.calibration import read_camera
from synth_detect_ros.geometry.camera import CALIBRATION_ADVICE, Camera
from synth_detect_ros.rendering.meshes.cad_file import hash_file, load_mesh
from synth_detect_ros.rendering.meshes.mesh import Mesh
from synth_detect_ros.rendering.meshes.mesh_cache import load_with_levels
from synth_detect_ros.rendering.objects import ObjectModel, read_objects
from synth_detect_ros.rendering.primitives import primitives

logger = logging.getLogger(__name__)

# Random numbers of the built-in distractors.
_PRIMITIVES = 41
# Background frames whose parts they may carry.
TEXTURE_FRAMES = 32
# An object that is never as large as this is not seen [px].
SEEN_PX = 3.0
# Nearer than the radius of an object the camera is moved away; so much nearer is a mistake.
DEEP_INSIDE = 0.1


@dataclass(frozen=True, eq=False)
class Inputs:
    """The files of a run, read.

    Attributes:
        targets: objects that are labelled, at least one.
        distractors: objects that are not.
        backgrounds: real frames.
        camera: of the images.
    """

    targets: list[ObjectModel]
    distractors: list[ObjectModel]
    backgrounds: BackgroundSet
    camera: Camera

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the targets; labels index them."""
        return tuple(model.name for model in self.targets)


def read_inputs(config: SynthesizeConfig) -> Inputs:
    """Read objects, distractors, backgrounds and camera of a run.

    Raises:
        ConfigError: a path is not given or a file holds something else.
        MeshError, BackgroundError, GeometryError: a file is missing or broken.
        UncalibratedCameraError: nothing says what the intrinsics are.
    """
    config.require('objects', 'backgrounds')
    given = bool(config.camera or config.camera_hfov_deg)
    backgrounds = read_background_set(Path(config.backgrounds), calibrated=not given)
    targets = _models(config.objects, config)
    camera = _camera(config, backgrounds)
    for model in targets:
        _check_distances(model, config, camera)
    return Inputs(
        targets=targets,
        distractors=_distractors(config, backgrounds, targets),
        backgrounds=backgrounds,
        camera=camera,
    )


def _check_distances(model: ObjectModel, config: SynthesizeConfig, camera: Camera) -> None:
    """Refuse distances at which an object is never seen, or which lie inside of it.

    Raises:
        ConfigError: the distances or the mesh are in another unit than it says, most likely.
    """
    pose, diameter = model.limits.apply(config.pose), model.mesh.diameter
    if pose.distance_m is None:
        return
    near, far = pose.distance_m
    size = float(camera.K[0, 0]) * diameter / near
    if size >= SEEN_PX and far >= DEEP_INSIDE * model.mesh.radius:
        return
    reason = f'is {size:.2g} px large at most' if size < SEEN_PX else 'reaches behind the camera'
    raise ConfigError(
        f'{model.name}: distance_m {near:g} .. {far:g}: with a diameter of {diameter:.3g} m it '
        f'{reason}. Distances are in metres; give `unit` if the mesh is in another one.'
    )


def _models(path: str, config: SynthesizeConfig) -> list[ObjectModel]:
    """Read an objects file; what pyrender draws, the reference, stays in full detail."""
    return read_objects(
        Path(path), load_mesh if config.renderer == 'pyrender' else load_with_levels
    )


def _distractors(
    config: SynthesizeConfig, backgrounds: BackgroundSet, targets: Sequence[ObjectModel]
) -> list[ObjectModel]:
    if config.distractors == BUILTIN:
        numbers = spread(len(backgrounds), TEXTURE_FRAMES)
        photographs = [backgrounds.read(number) for number in numbers]
        diameter = float(np.median([model.mesh.diameter for model in targets]))
        rng = np.random.default_rng((_PRIMITIVES, config.seed))
        return primitives(rng, photographs, diameter)
    return _models(config.distractors, config) if config.distractors else []


def _camera(config: SynthesizeConfig, backgrounds: BackgroundSet) -> Camera:
    """Return the camera of the options, or else of the background set.

    That of the options sets the size of the images, whatever that of the frames: they may be any
    photographs, of which as much is cut as fits.
    """
    height, width = backgrounds.read(0).shape[:2]
    if config.camera:
        camera = read_camera(Path(config.camera))
        if camera.size != (width, height):
            logger.warning(
                'Images are made of %dx%d pixels, as %s says; %s has frames of %dx%d, which are '
                'cut and resized to them',
                *camera.size, config.camera, backgrounds.folder, width, height,
            )  # fmt: skip
        return camera
    if config.camera_hfov_deg:
        return Camera.from_fov(width, height, config.camera_hfov_deg)
    if backgrounds.camera is not None:
        return backgrounds.camera
    raise UncalibratedCameraError(
        f'{backgrounds.folder} has no camera.yaml: give a calibration with the option camera, '
        f'or {CALIBRATION_ADVICE}'
    )


def provenance(config: SynthesizeConfig, inputs: Inputs) -> dict[str, Any]:
    """Return the content of dataset.yaml; `fingerprint` changes with whatever changes a pixel."""
    # Where a data set lies, and who makes it, does not change it.
    options = to_mapping(config.replace(out='', workers=0))
    for key in ('objects', 'distractors', 'backgrounds', 'camera'):
        del options[key]
    camera = inputs.camera.to_calibration()
    models = [_model(model) for model in (*inputs.targets, *inputs.distractors)]
    frames = _hash_files({path.name: hash_file(path) for path in inputs.backgrounds.frames})
    essence = {'config': options, 'camera': camera, 'models': models, 'backgrounds': frames}
    return {
        'format': FORMAT,
        'classes': list(inputs.classes),
        'fingerprint': hashlib.sha256(json.dumps(essence, sort_keys=True).encode()).hexdigest(),
        'seed': config.seed,
        'count': config.count,
        'camera': camera,
        'config': to_mapping(config),
        'inputs': {'models': models, 'backgrounds': frames},
        'versions': _versions(),
    }


def _model(model: ObjectModel) -> dict[str, Any]:
    """Return name, limits and a hash of a model: of the files it was read from, or its arrays."""
    sources, remarks = model.mesh.sources, model.mesh.remarks
    return {
        'name': model.name,
        'diameter_m': model.mesh.diameter,
        'limits': to_mapping(model.limits),
        'sha256': _hash_files(sources) if sources else _hash_mesh(model.mesh),
        **({'remarks': list(remarks)} if remarks else {}),
    }


def _hash_mesh(mesh: Mesh) -> str:
    digest = hashlib.sha256()
    for part in mesh.parts:
        for array in (part.vertices, part.faces, part.colours, part.uv, part.texture):
            digest.update(b'' if array is None else array.tobytes())
    return digest.hexdigest()


def _hash_files(files: Mapping[str, str]) -> str:
    """Return a hash of the names of files and the hashes of their contents."""
    return hashlib.sha256(json.dumps(sorted(files.items())).encode()).hexdigest()


def _versions() -> dict[str, str]:
    versions = {'python': platform.python_version()}
    for name in ('moderngl', 'numpy', 'opencv-python', 'pyrender', 'trimesh'):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # OpenCV has several distributions
            versions[name] = 'unknown'
    return versions
