"""Make synthetic images with Blender as BlenderProc uses it: the peer that traces paths.

    python bench/blender_peer.py --data DATA [--out OUT] [--count 4] [--seconds 120] [--threads 2]

Needs bpy and NumPy, nothing of this package. Meshes, backgrounds, objects an image and distances
are those of the plain pyrender script. Cycles on the CPU as BlenderProc sets it: 50 samples (its
BOP pipeline, examples/datasets/bop_challenge), noise threshold 0.01, Intel's denoiser, three
diffuse bounces (DefaultConfig.py); scene data kept between images, colour and object indices in
one rendering. Prints images per second; loading and the first image are left out.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import bpy
import numpy as np

TARGETS = ('004_sugar_box', '005_tomato_soup_can', '035_power_drill')
DISTRACTORS = (
    '002_master_chef_can',
    '010_potted_meat_can',
    '011_banana',
    '021_bleach_cleanser',
    '024_bowl',
    '025_mug',
)
SAMPLES, NOISE_THRESHOLD, DIFFUSE_BOUNCES = 50, 0.01, 3
# Focal length over image width of the plain pyrender script.
FOCAL = 525 / 640


def read_dae(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return vertices (V, 3), faces (F, 3) and texture coordinates of the corners (3F, 2)."""
    space = {'c': 'http://www.collada.org/2005/11/COLLADASchema'}
    root = ElementTree.parse(path)
    arrays = {}
    for source in root.iterfind('.//c:source', space):
        numbers = source.find('c:float_array', space)
        if numbers is not None and numbers.text:
            stride = int(source.find('.//c:accessor', space).get('stride'))
            arrays['#' + source.get('id')] = np.fromstring(numbers.text, sep=' ').reshape(
                -1, stride
            )
    position = root.find('.//c:vertices/c:input[@semantic="POSITION"]', space).get('source')
    triangles = root.find('.//c:triangles', space)
    inputs = {i.get('semantic'): i for i in triangles.iterfind('c:input', space)}
    width = 1 + max(int(i.get('offset')) for i in inputs.values())
    corners = np.fromstring(triangles.find('c:p', space).text, sep=' ', dtype=np.int64)
    corners = corners.reshape(-1, width)
    uv = arrays[inputs['TEXCOORD'].get('source')]
    chosen = corners[:, int(inputs['TEXCOORD'].get('offset'))]
    faces = corners[:, int(inputs['VERTEX'].get('offset'))].reshape(-1, 3)
    return arrays[position], faces, uv[chosen, :2]


def load(folder: Path, index: int) -> Any:
    """Return a Blender object of a mesh, centred, with its texture."""
    vertices, faces, uv = read_dae(folder / 'textured.dae')
    vertices = vertices - (vertices.min(axis=0) + vertices.max(axis=0)) / 2
    mesh = bpy.data.meshes.new(folder.name)
    mesh.from_pydata(vertices.tolist(), [], faces.tolist())
    mesh.uv_layers.new().data.foreach_set('uv', uv.astype(np.float32).reshape(-1))
    mesh.shade_smooth()
    material = bpy.data.materials.new(folder.name)
    material.use_nodes = True
    texture = material.node_tree.nodes.new('ShaderNodeTexImage')
    texture.image = bpy.data.images.load(str(folder.resolve() / 'texture_map.png'))
    shader = material.node_tree.nodes['Principled BSDF']
    material.node_tree.links.new(texture.outputs['Color'], shader.inputs['Base Color'])
    mesh.materials.append(material)
    item = bpy.data.objects.new(folder.name, mesh)
    item.pass_index = index
    item.rotation_mode = 'QUATERNION'
    bpy.context.collection.objects.link(item)
    return item


def set_up(width: int, height: int, threads: int) -> Any:
    """Return the scene: renderer, passes, camera and one light."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.engine = 'CYCLES'
    scene.cycles.device = 'CPU'
    scene.cycles.samples = SAMPLES
    scene.cycles.use_adaptive_sampling = True
    scene.cycles.adaptive_threshold = NOISE_THRESHOLD
    scene.cycles.use_denoising = True
    scene.cycles.denoiser = 'OPENIMAGEDENOISE'
    scene.cycles.max_bounces = scene.cycles.diffuse_bounces = DIFFUSE_BOUNCES
    scene.cycles.glossy_bounces = scene.cycles.transmission_bounces = 0
    scene.render.use_persistent_data = True
    scene.render.film_transparent = True
    scene.render.threads_mode, scene.render.threads = 'FIXED', threads
    scene.render.resolution_x, scene.render.resolution_y = width, height
    bpy.context.view_layer.use_pass_object_index = True
    camera = bpy.data.cameras.new('camera')
    camera.lens, camera.sensor_width, camera.clip_start = FOCAL * 36, 36, 0.05
    scene.camera = bpy.data.objects.new('camera', camera)  # looks along -z
    light = bpy.data.objects.new('light', bpy.data.lights.new('light', 'SUN'))
    for item in (scene.camera, light):
        scene.collection.objects.link(item)
    scene.world = bpy.data.worlds.new('world')
    return scene


def place(items: dict[str, Any], size: tuple[int, int], rng: np.random.Generator) -> None:
    """Show some of the objects at random poses, light them anew."""
    names = [*rng.choice(TARGETS, rng.integers(1, 4), replace=False)]
    names += [*rng.choice(DISTRACTORS, rng.integers(0, 4), replace=False)]
    width, height = size
    for name, item in items.items():
        item.hide_render = name not in names
        z = np.exp(rng.uniform(np.log(0.3), np.log(1.5)))
        across = (rng.uniform(0, [width, height]) - [width / 2, height / 2]) / (FOCAL * width)
        item.location = (across[0] * z, -across[1] * z, -z)
        rotation = rng.normal(size=4)
        item.rotation_quaternion = rotation / np.linalg.norm(rotation)
    light = bpy.data.objects['light']
    light.data.energy = rng.uniform(1, 5)
    light.data.color = rng.uniform(0.8, 1, 3)
    light.rotation_euler = rng.uniform(-1, 1, 3)
    bpy.context.scene.world.color = rng.uniform(0.15, 0.6) * np.ones(3)


def render(scene: Any, background: Path, out: Path, rng: np.random.Generator) -> None:
    """Render colour and object indices; write the picture over the background, and the indices."""
    bpy.ops.render.render()
    result = bpy.data.images['Render Result']
    settings = scene.render.image_settings
    for kind, form, suffix in (
        ('MULTI_LAYER_IMAGE', 'OPEN_EXR_MULTILAYER', '.exr'),
        ('IMAGE', 'PNG', '.png'),
    ):
        if hasattr(settings, 'media_type'):  # since Blender 5
            settings.media_type = kind
        settings.file_format, settings.color_mode = form, 'RGBA'
        result.save_render(str(out.with_suffix(suffix)))
    front = pixels(out.with_suffix('.png'))
    back = pixels(background, (front.shape[1], front.shape[0]))
    alpha = front[..., 3:]
    noise = rng.normal(0, rng.uniform(0, 8) / 255, front.shape)
    image = np.clip(front + noise, 0, 1) * alpha + back * (1 - alpha)
    image[..., 3] = 1
    save(image, out)


def pixels(path: Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """Return an image file as (H, W, 4) float, bottom row first."""
    image = bpy.data.images.load(str(path.resolve()))
    if size:
        image.scale(*size)
    values = np.empty(4 * image.size[0] * image.size[1], np.float32)
    image.pixels.foreach_get(values)
    values = values.reshape(image.size[1], image.size[0], 4)
    bpy.data.images.remove(image)
    return values


def save(values: np.ndarray, path: Path) -> None:
    """Write (H, W, 4) float, bottom row first, as a JPEG."""
    image = bpy.data.images.new('composed', values.shape[1], values.shape[0])
    image.pixels.foreach_set(values.astype(np.float32).reshape(-1))
    image.file_format = 'JPEG'
    image.save(filepath=str(path.with_suffix('.jpg').resolve()), quality=95)
    bpy.data.images.remove(image)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--data', type=Path, required=True, help='folder of models, backgrounds')
    parser.add_argument('--out', type=Path, help='folder of the images; default: thrown away')
    parser.add_argument('--count', type=int, default=4, help='images')
    parser.add_argument('--seconds', type=float, default=120, help='end earlier after so long')
    parser.add_argument('--threads', type=int, default=2, help='of Cycles')
    parser.add_argument('--width', type=int, default=640)
    parser.add_argument('--height', type=int, default=480)
    return parser.parse_args()


def main() -> None:
    args = parse()
    scene = set_up(args.width, args.height, args.threads)
    meshes = args.data / 'models' / 'ycb'
    items = {name: load(meshes / name, i + 1) for i, name in enumerate(TARGETS + DISTRACTORS)}
    backgrounds = sorted((args.data / 'backgrounds/xtion_tabletop/frames').glob('*.jpg'))
    start, done = time.perf_counter(), -1  # the first image does not count
    with tempfile.TemporaryDirectory() as scratch:
        out = args.out or Path(scratch)
        out.mkdir(parents=True, exist_ok=True)
        while done < args.count and (done < 1 or time.perf_counter() - start < args.seconds):
            rng = np.random.default_rng(done + 1)
            place(items, (args.width, args.height), rng)
            background = backgrounds[rng.integers(len(backgrounds))]
            render(scene, background, out.resolve() / f'{done + 1:06d}', rng)
            done += 1
            start = time.perf_counter() if done == 0 else start
    print(f'{done / (time.perf_counter() - start):.3f} images/s')


if __name__ == '__main__':
    main()
