"""Small CAD models, backgrounds and configurations for the tests of the generator."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import trimesh
import yaml
from numpy.typing import NDArray

from synth_detect_ros.config import PoseConfig, SceneConfig, SynthesizeConfig
from synth_detect_ros.dataset.inputs import read_inputs
from synth_detect_ros.dataset.synthesize import Generator
from synth_detect_ros.geometry.camera import Camera
from synth_detect_ros.rendering.meshes.cad_file import load_mesh
from synth_detect_ros.rendering.meshes.mesh import Mesh

BLUE = (40, 90, 200)
# Colours of a cube's faces by the axis and side they look at.
FACE_COLOURS = {
    (0, 1): (230, 30, 30),
    (0, -1): (30, 230, 230),
    (1, 1): (30, 230, 30),
    (1, -1): (230, 30, 230),
    (2, 1): (30, 30, 230),
    (2, -1): (230, 230, 30),
}


def camera(width: int = 160, height: int = 120, focal: float = 140.0, **changes: object) -> Camera:
    K = [[focal, 0, width / 2 - 3.3], [0, focal * 1.05, height / 2 + 2.2], [0, 0, 1]]
    return replace(Camera(width, height, np.array(K)), **changes)


def pose(
    translation: tuple[float, float, float], rotation: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    matrix = np.eye(4)
    matrix[:3, 3] = translation
    if rotation is not None:
        matrix[:3, :3] = rotation
    return matrix


def write_textured_cube(folder: Path, side: float = 0.1) -> Path:
    """Write an OBJ cube around the origin whose texture has one colour a face."""
    folder.mkdir(parents=True, exist_ok=True)
    texture = np.zeros((8, 6 * 8, 3), np.uint8)
    lines = ['mtllib cube.mtl', 'usemtl faces']
    for number, ((axis, sign), colour) in enumerate(FACE_COLOURS.items()):
        texture[:, 8 * number : 8 * number + 8] = colour
        normal = np.eye(3)[axis] * sign
        right = np.eye(3)[(axis + 1) % 3]
        up = np.cross(normal, right)
        u = (number + 0.5) / 6  # all corners in the middle of the face's colour
        for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
            x, y, z = (normal + a * right + b * up) * side / 2
            lines += [f'v {x} {y} {z}', f'vt {u} 0.5']
        f = 4 * number + 1
        lines += [f'f {f}/{f} {f + 1}/{f + 1} {f + 2}/{f + 2}']
        lines += [f'f {f}/{f} {f + 2}/{f + 2} {f + 3}/{f + 3}']
    (folder / 'cube.obj').write_text('\n'.join(lines) + '\n')
    (folder / 'cube.mtl').write_text('newmtl faces\nmap_Kd faces.png\n')
    cv2.imwrite(str(folder / 'faces.png'), texture[..., ::-1])
    return folder / 'cube.obj'


def write_sphere(folder: Path, radius: float = 0.05, colour: tuple[int, ...] = BLUE) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    ball = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    ball.visual.vertex_colors = (*colour, 255)
    ball.export(folder / 'ball.ply')
    return folder / 'ball.ply'


def sphere(folder: Path, radius: float = 0.05) -> Mesh:
    return load_mesh(write_sphere(folder, radius))


def write_backgrounds(folder: Path, count: int = 3, size: tuple[int, int] = (160, 120)) -> Path:
    """Write noise images with a camera.yaml."""
    (folder / 'frames').mkdir(parents=True)
    rng = np.random.default_rng(5)
    for i in range(count):
        coarse = rng.integers(0, 255, (6, 8, 3)).astype(np.uint8)
        frame = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / 'frames' / f'{i}.png'), frame)
    calibration = camera(*size, focal=size[0] * 0.9).to_calibration()
    (folder / 'camera.yaml').write_text(yaml.safe_dump(calibration))
    return folder


def write_objects(folder: Path, **meshes: Path) -> Path:
    entries = [{'name': name, 'mesh': str(path), 'unit': 'm'} for name, path in meshes.items()]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ('_'.join(meshes) + '.yaml')
    path.write_text(yaml.safe_dump({'objects': entries}))
    return path


def generator(config: SynthesizeConfig) -> Generator:
    return Generator(config, read_inputs(config))


def config(folder: Path, **changes: object) -> SynthesizeConfig:
    """Return a configuration of two targets and a distractor over small backgrounds."""
    cube, ball = folder / 'cube' / 'cube.obj', folder / 'ball' / 'ball.ply'
    if not cube.exists():
        write_textured_cube(cube.parent)
        write_sphere(ball.parent)
        write_backgrounds(folder / 'backgrounds')
    base = SynthesizeConfig(
        objects=str(write_objects(folder, cube=cube, ball=ball)),
        distractors=str(write_objects(folder, other=cube)),
        backgrounds=str(folder / 'backgrounds'),
        out=str(folder / 'out'),
        count=6,
        seed=3,
        workers=1,
        pose=PoseConfig(view_level=1, inplane_turns=4),
        scene=SceneConfig(targets=(1, 2), distractors=(0, 2)),
    )
    return base.replace(**changes)
