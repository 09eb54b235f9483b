"""Draw scenes with one backend and store the layers: `drawings.py BACKEND OUT.npz [DATA]`.

Backends do not share a process: `test_backends.py` runs this once for each.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import scenes

from synth_detect_ros.geometry.poses import view_rotation
from synth_detect_ros.rendering.backends import get_renderer
from synth_detect_ros.rendering.meshes.cad_file import load_mesh
from synth_detect_ros.rendering.meshes.levels import with_levels
from synth_detect_ros.rendering.meshes.mesh import Mesh
from synth_detect_ros.rendering.renderer import Instance, Light, Material

ROOT = Path(__file__).parents[1]
CAMERA = scenes.camera(640, 480, 525.0)
SCANS = ('002_master_chef_can',)  # many small charts of texture
DISTANCES = (0.4, 0.8, 1.4)
VIEWS = ((0.6, 0.3, 0.74), (-0.8, 0.5, -0.33))
MATERIAL, LIGHT = Material(0.4, 0.6, 0.2, 20.0), Light((0.5, -0.5, -(0.5**0.5)))


def meshes(folder: Path, data: str) -> dict[str, Mesh]:
    found = {
        'cube': load_mesh(scenes.write_textured_cube(folder)),
        'ball': scenes.sphere(folder),
        'junction_box': load_mesh(ROOT / 'models' / 'junction_box' / 'junction_box.obj'),
    }
    if data:
        scans = Path(data) / 'models' / 'ycb'
        found |= {name: load_mesh(scans / name / 'textured.dae', 'm') for name in SCANS}
    return found


def draw(backend: str, out: str, data: str = '') -> None:
    renderer, arrays = get_renderer(backend), {}
    with tempfile.TemporaryDirectory() as folder:
        loaded = meshes(Path(folder), data)
    if backend == 'moderngl':
        loaded |= {f'{name} in levels': with_levels(mesh) for name, mesh in loaded.items()}
    for name, mesh in loaded.items():
        for number, (distance, view) in enumerate((d, v) for d in DISTANCES for v in VIEWS):
            turn = view_rotation(np.array(view) / np.linalg.norm(view), 0.4 * number)
            pose = scenes.pose((0.02, 0.01, distance), turn)
            pose[:3, 3] -= turn @ mesh.centre
            layer = renderer.draw(CAMERA, Instance(mesh, pose, MATERIAL), LIGHT)
            key = f'{name}/{distance}/{number}'
            arrays |= {f'{key}/colour': layer.colour, f'{key}/depth': layer.depth}
            arrays[f'{key}/place'] = np.array([layer.x, layer.y, *layer.box])
    np.savez(out, **arrays)


if __name__ == '__main__':
    draw(*sys.argv[1:])
