"""Valid inputs of every kind, small and made on the spot; what is fuzzed are changes of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import scenes
import tiny
import torch
import trimesh
import yaml
from safetensors.torch import load_file

from soak.fuzz.bags import write_bag, write_video
from synth_detect_ros.dataset.backgrounds import BackgroundWriter, FrameRecord
from synth_detect_ros.training.train import train

SIZE = 64, 48
# What the run of the seed says that it was trained on; nothing reads it.
RUN_DATASET = Path('/data/set')


def frame(seed: int) -> np.ndarray:
    """Return a sharp (48, 64, 3) uint8 image."""
    coarse = np.random.default_rng(seed).integers(40, 220, (6, 8, 3), np.uint8)
    return cv2.resize(coarse, SIZE, interpolation=cv2.INTER_NEAREST)


def calibration() -> dict[str, object]:
    return scenes.camera(*SIZE, focal=60.0).to_calibration()


def _yaml(path: Path, content: object) -> None:
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def dataset(folder: Path) -> None:
    """A data set with every kind of segmentation, a crowd, and what BOP needs."""
    tiny.write_dataset(folder, 4)
    path = folder / 'annotations.json'
    content = json.loads(path.read_text())
    for number, row in enumerate(content['annotations']):
        x, y, w, h = row['bbox']
        pose = np.eye(4).tolist()
        row |= {'pose': pose, 'visib_fract': 0.9, 'amodal_bbox': [x, y, w, h], 'iscrowd': 0}
        if number == 1:
            row['segmentation'] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
        if number == 2:
            counts = [x * tiny.HEIGHT + y, h, tiny.HEIGHT * (tiny.WIDTH - x) - y - h]
            row['segmentation'] = {'size': [tiny.HEIGHT, tiny.WIDTH], 'counts': counts}
    crowd = {**content['annotations'][0], 'id': 9, 'iscrowd': 1}
    content['annotations'].append(crowd)
    path.write_text(json.dumps(content))
    camera = scenes.camera(tiny.WIDTH, tiny.HEIGHT).to_calibration()
    _yaml(folder / 'dataset.yaml', {'format': 1, 'classes': ['red', 'green'], 'camera': camera})


def camera(folder: Path) -> None:
    _yaml(folder / 'camera.yaml', calibration())


def objects(folder: Path) -> None:
    scenes.write_textured_cube(folder)
    row = {'name': 'cube', 'mesh': 'cube.obj', 'unit': 'm', 'elevation_deg': [0, 90]}
    _yaml(folder / 'objects.yaml', {'objects': [row, {'name': 'other', 'mesh': 'cube.obj'}]})


def options(folder: Path) -> None:
    """The configuration files of training, synthesis and an experiment."""
    detector = {**tiny.TINY_DETECTOR, 'architecture': 'mask_rcnn', 'extractor': 'mobilenet_v2'}
    _yaml(folder / 'train.yaml', {'dataset': 'set', 'steps': 4, 'detector': detector})
    pose, scene = {'view_level': 1, 'distance_m': [0.3, 0.6]}, {'targets': [1, 2]}
    values = {'objects': 'objects.yaml', 'backgrounds': 'b', 'pose': pose, 'scene': scene}
    _yaml(folder / 'synthesize.yaml', values)
    (folder / 'a.json').write_text('{"images": []}')
    _yaml(folder / 'objects.yaml', {'objects': [{'name': 'red', 'mesh': 'none.obj'}]})
    real = {'name': 'room', 'images': '.', 'annotations': 'a.json'}
    row = {'name': 'cam', 'synthesize': {'objects': 'objects.yaml'}, 'real': [real]}
    _yaml(folder / 'setup.yaml', {'cameras': [row], 'train': {'steps': 2}, 'extractors': {}})
    cells = [{'name': 'naive', 'train': {'freeze': 'none'}}, {'name': 'twin', 'data': 'real'}]
    _yaml(folder / 'grid.yaml', {'title': 't', 'budgets': {'steps': [2, 4]}, 'cells': cells})


def bundle(folder: Path) -> None:
    tiny.write_bundle(folder / 'bundle')


def run(folder: Path) -> None:
    """A training run that has ended, without its bundle."""
    tiny.write_dataset(folder / 'set', 4)
    train(tiny.train_config(folder / 'set', folder / 'run', steps=2))
    shutil.rmtree(folder / 'run' / 'bundle')
    shutil.rmtree(folder / 'run' / 'tensorboard')
    text = (folder / 'run' / 'train.yaml').read_text()
    text = text.replace(str(folder / 'set'), str(RUN_DATASET))
    (folder / 'run' / 'train.yaml').write_text(text)


def backgrounds(folder: Path) -> None:
    writer = BackgroundWriter(folder, 'png')
    writer.save_camera(scenes.camera(*SIZE))
    for seed in range(2):
        writer.add(frame(seed), FrameRecord(float(seed), '/camera/image', 'rgb8', 90.0))
    cv2.imwrite(str(folder / 'frames' / '000002.jpg'), frame(2))


def obj(folder: Path) -> None:
    scenes.write_textured_cube(folder)
    lines = ['newmtl faces', 'Kd 0.8 0.8 0.8', 'map_Kd faces.png', 'newmtl red', 'Kd 1 0 0']
    (folder / 'cube.mtl').write_text('\n'.join(lines) + '\n')
    text = (folder / 'cube.obj').read_text()
    (folder / 'cube.obj').write_text(text + 'usemtl red\nf 1//1 2 3\nf -1 -2 -3\n')


def _ball() -> trimesh.Trimesh:
    mesh = trimesh.creation.icosphere(subdivisions=1, radius=0.05)
    mesh.visual.vertex_colors = np.arange(mesh.vertices.size, dtype=np.uint8).reshape(-1, 3)
    return mesh


def ply(folder: Path) -> None:
    _ball().export(folder / 'binary.ply')
    _ball().export(folder / 'text.ply', encoding='ascii')


def stl(folder: Path) -> None:
    _ball().export(folder / 'binary.stl')
    _ball().export(folder / 'text.stl', file_type='stl_ascii')


def gltf(folder: Path) -> None:
    image = trimesh.load_scene(scenes.write_textured_cube(folder / 'source'), process=False)
    image.export(folder / 'cube.glb')
    for name, data in image.export(file_type='gltf').items():
        (folder / name.replace('model.gltf', 'cube.gltf')).write_bytes(data)
    shutil.rmtree(folder / 'source')


def dae(folder: Path) -> None:
    scene = trimesh.Scene(_ball())
    (folder / 'ball.dae').write_bytes(scene.geometry.popitem()[1].export(file_type='dae'))


def bag_sqlite(folder: Path) -> None:
    write_bag(folder / 'bag', 'sqlite3')


def bag_mcap(folder: Path) -> None:
    write_bag(folder / 'bag', 'mcap')


def bag_ros1(folder: Path) -> None:
    write_bag(folder / 'recording.bag', 'ros1')


def video(folder: Path) -> None:
    write_video(folder / 'video.avi', [frame(seed) for seed in range(3)])


def weights(folder: Path) -> None:
    state = load_file(tiny.write_weights(folder / 'all.safetensors'))
    (folder / 'all.safetensors').unlink()
    small = {key: value for key, value in list(state.items())[:12]}
    torch.save({'state_dict': small}, folder / 'weights.pth')
    tiny.save_file(small, folder / 'weights.safetensors')


def box(folder: Path) -> None:
    cv2.imwrite(str(folder / 'top.jpg'), frame(1))
    camera(folder)
    photo = {'photo': 'top.jpg', 'corners_px': [[5, 5], [50, 6], [52, 40], [6, 41]]}
    size = {'width': 0.2, 'depth': 0.1, 'height': 0.05}
    faces = {'top': [photo], 'front': photo}
    content = {'name': 'box', 'size_m': size, 'camera': 'camera.yaml', 'faces': faces}
    _yaml(folder / 'box.yaml', content)


MAKERS: tuple[Callable[[Path], None], ...] = (
    *(dataset, camera, objects, options, bundle, run, backgrounds, obj, ply, stl, gltf, dae),
    *(bag_sqlite, bag_mcap, bag_ros1, video, weights, box),
)
# Files that make up a seed; others of its folder stay as they are.
FUZZED: dict[str, tuple[str, ...]] = {
    'dataset': ('annotations.json',) * 6 + ('dataset.yaml', 'images/000000.png'),
    'bundle': ('bundle/model.yaml', 'bundle/weights.safetensors'),
    'run': ('run/checkpoint.pt', 'run/train.yaml', 'run/log.csv', 'run/validation.csv'),
}


def fuzzed_files(kind: str, folder: Path) -> list[Path]:
    """Return the files of a seed that are changed; one that is listed twice is taken twice."""
    if kind in FUZZED:
        return [folder / name for name in FUZZED[kind] if (folder / name).is_file()]
    return sorted(path for path in folder.rglob('*') if path.is_file())


def make_seeds(folder: Path) -> None:
    """Write the seed of every kind into a folder of its name, where it is not there yet."""
    for make in MAKERS:
        place, partial = folder / make.__name__, folder / f'.{make.__name__}'
        if not place.exists():
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            make(partial)
            partial.rename(place)
