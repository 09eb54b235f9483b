import json

import cv2
import numpy as np
import pytest
import tiny
import yaml

from synth_detect_ros.commands import main as cli
from synth_detect_ros.config import ExportConfig
from synth_detect_ros.dataset import export as module
from synth_detect_ros.dataset.coco import quiet_coco
from synth_detect_ros.dataset.export import export
from synth_detect_ros.errors import ConfigError, DatasetError, GeometryError, StorageError
from synth_detect_ros.geometry.camera import Camera, project

CAMERA = Camera.from_fov(tiny.WIDTH, tiny.HEIGHT, 60)


def write_set(folder, count=5, camera=CAMERA):
    """A tiny data set whose objects are given a pose straight ahead of their box's centre."""
    tiny.write_dataset(folder, count)
    path = folder / 'annotations.json'
    coco = json.loads(path.read_text())
    for row in coco['annotations']:
        x, y, w, h = row['bbox']
        ray = [(x + w / 2 - 0.5 - CAMERA.K[0, 2]) / CAMERA.K[0, 0]]
        ray += [(y + h / 2 - 0.5 - CAMERA.K[1, 2]) / CAMERA.K[1, 1], 1]
        pose = np.eye(4)
        pose[:3, 3] = 0.5 * np.array(ray)
        row |= {'pose': pose.tolist(), 'visib_fract': 0.5, 'amodal_bbox': row['bbox']}
    path.write_text(json.dumps(coco))
    (folder / 'dataset.yaml').write_text(yaml.safe_dump({'camera': camera.to_calibration()}))
    return coco


def run(tmp_path, **options):
    return export(
        ExportConfig(dataset=str(tmp_path / 'set'), out=str(tmp_path / 'out'), **options)
    )


def test_yolo_boxes_are_those_of_the_set(tmp_path):
    coco = write_set(tmp_path / 'set')
    out = run(tmp_path)
    data = yaml.safe_load((out / 'data.yaml').read_text())
    assert data['names'] == {0: 'red', 1: 'green'}
    for row in coco['annotations']:
        label, x, y, w, h = np.loadtxt(out / f'labels/{row["image_id"]:06d}.txt')
        scale = np.array([tiny.WIDTH, tiny.HEIGHT] * 2)
        box = np.array([x - w / 2, y - h / 2, w, h]) * scale
        assert box == pytest.approx(row['bbox'], abs=1e-3)
        assert label == row['category_id'] - 1


def test_every_image_is_in_one_part_of_yolo_and_copied_as_it_is(tmp_path):
    write_set(tmp_path / 'set')
    out = run(tmp_path, val_share=0.4)
    parts = [(out / f'{part}.txt').read_text().splitlines() for part in ('train', 'val')]
    assert [len(part) for part in parts] == [3, 2]
    assert sorted(parts[0] + parts[1]) == [f'./images/{i:06d}.png' for i in range(5)]
    for path in (tmp_path / 'set/images').iterdir():
        assert (out / 'images' / path.name).read_bytes() == path.read_bytes()


def test_an_image_without_objects_has_an_empty_yolo_file(tmp_path):
    coco = write_set(tmp_path / 'set')
    coco['annotations'] = []
    (tmp_path / 'set/annotations.json').write_text(json.dumps(coco))
    out = run(tmp_path)
    assert [p.read_text() for p in (out / 'labels').iterdir()] == [''] * 5


def test_yolo_refuses_images_of_the_same_name(tmp_path):
    coco = write_set(tmp_path / 'set')
    coco['images'][1]['file_name'] = 'sub/000000.jpg'
    (tmp_path / 'set/annotations.json').write_text(json.dumps(coco))
    with pytest.raises(DatasetError, match='share a name'):
        run(tmp_path)


def read(path):
    return json.loads(path.read_text())


def test_bop_scenes_continue_across_their_size(tmp_path, monkeypatch):
    monkeypatch.setattr(module, 'BOP_SCENE', 2)
    coco = write_set(tmp_path / 'set')
    out = run(tmp_path, format='bop')
    scenes = sorted((out / 'train_synth').iterdir())
    assert [s.name for s in scenes] == ['000000', '000001', '000002']
    names = [p.name for s in scenes for p in sorted((s / 'rgb').iterdir())]
    assert names == ['000000.png', '000001.png'] * 2 + ['000000.png']
    objects = [pose['obj_id'] for s in scenes for p in read(s / 'scene_gt.json').values()
               for pose in p]  # fmt: skip
    assert objects == [row['category_id'] for row in coco['annotations']]


def test_bop_poses_project_to_the_boxes_and_masks_are_those_of_the_set(tmp_path):
    coco = write_set(tmp_path / 'set')
    out = run(tmp_path, format='bop')
    scene = out / 'train_synth/000000'
    cameras, poses = read(scene / 'scene_camera.json'), read(scene / 'scene_gt.json')
    infos, index = read(scene / 'scene_gt_info.json'), quiet_coco(coco)
    for row in coco['annotations']:
        key = str(row['image_id'])
        (pose,), (info,) = poses[key], infos[key]
        K = np.array(cameras[key]['cam_K']).reshape(3, 3)
        camera = Camera(tiny.WIDTH, tiny.HEIGHT, K)
        (centre,) = project(camera, [np.array(pose['cam_t_m2c']) / 1000])
        x, y, w, h = info['bbox_visib']
        assert centre == pytest.approx([x + w / 2 - 0.5, y + h / 2 - 0.5])
        assert np.array(pose['cam_t_m2c'])[2] == pytest.approx(500)
        assert info['px_count_visib'] / info['px_count_all'] == pytest.approx(info['visib_fract'])
        mask = cv2.imread(
            str(scene / f'mask_visib/{int(key):06d}_000000.png'), cv2.IMREAD_UNCHANGED
        )
        assert np.array_equal(mask > 0, index.annToMask(row) > 0)
    assert read(out / 'object_names.json') == {'1': 'red', '2': 'green'}


def test_bop_needs_poses(tmp_path):
    tiny.write_dataset(tmp_path / 'set')
    with pytest.raises(DatasetError, match='without a pose'):
        run(tmp_path, format='bop')


def test_bop_cannot_hold_lens_distortion(tmp_path):
    bent = Camera(*CAMERA.size, CAMERA.K, np.array([0.1, 0, 0, 0, 0]))
    write_set(tmp_path / 'set', camera=bent)
    with pytest.raises(DatasetError, match='lens distortion'):
        run(tmp_path, format='bop')
    assert [p.name for p in tmp_path.iterdir()] == ['set']


@pytest.mark.parametrize('format', ['yolo', 'bop'])
def test_a_missing_image_is_named_and_nothing_is_left(tmp_path, format):
    write_set(tmp_path / 'set')
    (tmp_path / 'set/images/000003.png').unlink()
    with pytest.raises(DatasetError, match=r'1 of 5 images .* is 000003\.png'):
        run(tmp_path, format=format)
    assert [p.name for p in tmp_path.iterdir()] == ['set']


def test_a_folder_that_is_there_is_not_touched(tmp_path):
    write_set(tmp_path / 'set')
    (tmp_path / 'out').mkdir()
    with pytest.raises(DatasetError, match='exists already'):
        run(tmp_path)


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    write_set(tmp_path / 'set')

    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(module.shutil, 'copyfile', full)
    with pytest.raises(StorageError, match='No space left'):
        run(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ['set']


def test_what_is_needed_is_named():
    with pytest.raises(ConfigError, match='needs dataset, out'):
        export(ExportConfig())


def test_the_command_says_where_it_is(tmp_path, capsys):
    write_set(tmp_path / 'set')
    argv = ['export', '--dataset', f'{tmp_path}/set', '--out', f'{tmp_path}/out']
    assert cli.main(argv) == 0
    assert capsys.readouterr().out == f'exported: {tmp_path}/out\n'


BAD_POSES = {
    'pose': ([], None, 'x', [[1, 0, 0, 0]] * 3, [[1, 0, 0]] * 4, [[float('nan')] * 4] * 4, 7),
    'amodal_bbox': ([], None, [0, 0, 1], [0, 0, 1, float('inf')], {}),
    'visib_fract': (0, -1, 1.5, 1e-310, '0.5', None, float('nan'), []),
    'segmentation': ([], None),
}


@pytest.mark.parametrize(('key', 'value'), [(k, v) for k, vs in BAD_POSES.items() for v in vs])
def test_bop_refuses_what_is_no_pose_of_a_rendered_object(tmp_path, key, value):
    coco = write_set(tmp_path / 'set')
    coco['annotations'][2][key] = value
    (tmp_path / 'set/annotations.json').write_text(json.dumps(coco))
    with pytest.raises(DatasetError, match=rf'annotation 3.*{key}|ns\[2\].*{key}|a mask'):
        run(tmp_path, format='bop')
    del coco['annotations'][2][key]
    (tmp_path / 'set/annotations.json').write_text(json.dumps(coco))
    with pytest.raises(DatasetError, match=r'annotation 3'):
        run(tmp_path, format='bop')


def test_bop_counts_the_pixels_of_masks_whatever_the_area_says(tmp_path):
    coco = write_set(tmp_path / 'set')
    for row in coco['annotations']:
        x, y, w, h = row['bbox']
        row |= {'area': 1, 'segmentation': [[x, y, x + w, y, x + w, y + h, x, y + h]]}
    (tmp_path / 'set/annotations.json').write_text(json.dumps(coco))
    infos = read(run(tmp_path, format='bop') / 'train_synth/000000/scene_gt_info.json')
    for row in coco['annotations']:
        count = infos[str(row['image_id'])][0]['px_count_visib']
        assert count == row['bbox'][2] * row['bbox'][3]


def test_bop_needs_the_camera_of_all_images(tmp_path):
    write_set(tmp_path / 'set', camera=Camera.from_fov(640, 480, 60))
    with pytest.raises(DatasetError, match='another size than the camera, 640x480 px'):
        run(tmp_path, format='bop')
    (tmp_path / 'set/dataset.yaml').write_text('format: 1')
    with pytest.raises(GeometryError, match='set: wanted a ROS camera calibration'):
        run(tmp_path, format='bop')


def test_crowds_are_in_no_export(tmp_path):
    coco = write_set(tmp_path / 'set')
    coco['annotations'][2] |= {'iscrowd': 1}
    del coco['annotations'][2]['pose']
    (tmp_path / 'set/annotations.json').write_text(json.dumps(coco))
    run(tmp_path)
    assert (tmp_path / 'out/labels/000002.txt').read_text() == ''
    (tmp_path / 'out').rename(tmp_path / 'yolo')
    out = run(tmp_path, format='bop')
    assert read(out / 'train_synth/000000/scene_gt.json')['2'] == []


def test_yolo_names_of_any_script_are_listed(tmp_path):
    coco = write_set(tmp_path / 'set', 1)
    coco['images'][0]['file_name'] = '图 1.png'
    coco['categories'][0]['name'] = 'a: "ü" # 图'
    (tmp_path / 'set/annotations.json').write_text(json.dumps(coco))
    (tmp_path / 'set/images/000000.png').rename(tmp_path / 'set/images/图 1.png')
    out = run(tmp_path, val_share=0.0)
    assert (out / 'train.txt').read_text(encoding='utf-8') == './images/图 1.png\n'
    assert yaml.safe_load((out / 'data.yaml').read_text())['names'][0] == 'a: "ü" # 图'
    assert (out / 'labels/图 1.txt').is_file()
