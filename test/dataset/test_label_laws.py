"""Laws of labels, over generated files: what is written is read, by every reader alike."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tiny
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from synth_detect_ros.config import AugmentConfig, ExportConfig
from synth_detect_ros.dataset.coco import encode_mask, read_coco
from synth_detect_ros.dataset.export import export
from synth_detect_ros.dataset.loader import TrainingSet, read_labelled
from synth_detect_ros.dataset.segmentations import decode_segmentation
from synth_detect_ros.errors import DatasetError, SynthDetectError
from synth_detect_ros.evaluation.metrics import score
from synth_detect_ros.evaluation.selection import select
from synth_detect_ros.geometry.boxes import xyxy_from_xywh
from synth_detect_ros.geometry.camera import Camera
from synth_detect_ros.report.show import describe_dataset
from synth_detect_ros.structures import Detections

WIDTH, HEIGHT, IMAGES = 24, 16, 3
STILL = AugmentConfig(brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0, flip=False)
NAMES = st.text(st.characters(exclude_categories=('C', 'Zl', 'Zp')), min_size=1, max_size=9)
CLASSES = st.lists(NAMES.filter(str.strip), min_size=1, max_size=4, unique=True)
# Places that float64 adds exactly, in the image and across its border.
PLACE = st.integers(-40 * 64, 40 * 64).map(lambda place: place / 64)
BOX = st.tuples(PLACE, PLACE, PLACE, PLACE).map(list)
ALIKE = settings(max_examples=25)


@st.composite
def masks(draw) -> Any:
    """Return a segmentation: polygons, plain or compressed run lengths, or none."""
    kind = draw(st.sampled_from(['none', 'polygons', 'plain', 'compressed']))
    if kind == 'polygons':
        points = st.lists(PLACE, min_size=6, max_size=12).filter(lambda p: len(p) % 2 == 0)
        return draw(st.lists(points, max_size=2))
    if kind == 'none':
        return None
    bits = draw(st.integers(0, 2 ** (WIDTH * HEIGHT) - 1))
    flat = np.array([int(bit) for bit in f'{bits:0{WIDTH * HEIGHT}b}'], bool)
    if kind == 'compressed':
        return encode_mask(flat.reshape(HEIGHT, WIDTH))
    ends = np.flatnonzero(np.diff(flat, prepend=False))
    counts = np.diff(ends, prepend=0, append=flat.size).tolist()
    return {'size': [HEIGHT, WIDTH], 'counts': counts}


@st.composite
def contents(draw) -> dict[str, Any]:
    """Return a COCO mapping of IMAGES images, boxes anywhere, some crowds."""
    names = draw(CLASSES)
    ids = draw(st.lists(st.integers(-(2**63) + 1, 2**63 - 1), min_size=3, max_size=3, unique=True))
    files = [f'{number}.png' for number in range(IMAGES)]
    rows = [
        {
            'id': number,
            'image_id': draw(st.sampled_from(ids)),
            'category_id': draw(st.integers(1, len(names))),
            'bbox': draw(BOX),
            'segmentation': draw(masks()),
            'iscrowd': draw(st.sampled_from([0, 0, 0, 1])),
        }
        for number in range(1, 1 + draw(st.integers(0, 5)))
    ]
    size = {'width': WIDTH, 'height': HEIGHT}
    return {
        'images': [{'id': i, 'file_name': f, **size} for i, f in zip(ids, files, strict=True)],
        'categories': [{'id': i, 'name': name} for i, name in enumerate(names, start=1)],
        'annotations': rows,
    }


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """Return a folder with the images of all contents."""
    path = tmp_path_factory.mktemp('laws')
    (path / 'images').mkdir()
    for number in range(IMAGES):
        cv2.imwrite(str(path / f'images/{number}.png'), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    camera = Camera.from_fov(WIDTH, HEIGHT, 60).to_calibration()
    (path / 'dataset.yaml').write_text(yaml.safe_dump({'camera': camera}))
    return path


def write(folder: Path, content: Any) -> Path:
    (folder / 'annotations.json').write_text(json.dumps(content))
    return folder / 'annotations.json'


def shown(content: dict[str, Any]) -> list[tuple[int, int, list[float]]]:
    """Return image, category and clipped box (x0, y0, x1, y1) of all that is to be learnt."""
    found = []
    for row in content['annotations']:
        x, y, width, height = row['bbox']
        corners = [
            *(min(max(v, 0), most) for v, most in ((x, WIDTH), (y, HEIGHT))),
            *(min(max(v, 0), m) for v, m in ((x + width, WIDTH), (y + height, HEIGHT))),
        ]
        visible = corners[2] - corners[0] >= 0.01 and corners[3] - corners[1] >= 0.01
        if visible and not row['iscrowd']:
            found.append((row['image_id'], row['category_id'], corners))
    order = [image['id'] for image in content['images']]
    return sorted(found, key=lambda row: order.index(row[0]))


@given(content=contents())
def test_what_is_read_is_what_was_written_and_reading_changes_it_no_more(folder, content):
    once = read_coco(write(folder, content))
    assert (once['images'], once['categories']) == (content['images'], content['categories'])
    assert read_coco(write(folder, once)) == once
    before = {row['id']: row for row in content['annotations']}
    for row in once['annotations']:
        kept = ('id', 'image_id', 'category_id', 'iscrowd')
        assert {k: row[k] for k in kept} == {k: before[row['id']][k] for k in kept}
        mask = before[row['id']]['segmentation']
        if isinstance(mask, dict):
            pixels = decode_segmentation(row['segmentation'], (HEIGHT, WIDTH))
            assert row['segmentation'] == mask and row['area'] == pixels.sum()
        elif not mask:
            assert 'segmentation' not in row and row['area'] == math.prod(row['bbox'][2:])
        else:
            assert decode_segmentation(row['segmentation'], (HEIGHT, WIDTH)).max() <= 1
            assert 0 <= row['area'] <= WIDTH * HEIGHT


@ALIKE
@given(content=contents())
def test_training_sees_each_object_once_clipped_and_no_crowd(folder, content):
    images = read_labelled(folder / 'images', write(folder, content))
    data = TrainingSet(images, range(IMAGES), STILL, 0)
    found = [
        (content['images'][key]['id'], 1 + int(label), box.tolist())
        for key in range(IMAGES)
        for target in [data[key][1]]
        for label, box in zip(target['labels'], target['boxes'], strict=True)
    ]
    assert found == shown(content)


@ALIKE
@given(content=contents())
def test_evaluation_scores_the_same_objects_and_passes_over_crowds(folder, content):
    truth = read_coco(write(folder, content))
    names = [row['name'] for row in truth['categories']]
    ids = [row['id'] for row in truth['images']]
    nothing = Detections(np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 4)))
    selection = select([nothing] * IMAGES, ids, truth, names)
    rows = sorted(selection.truth, key=lambda row: ids.index(row['image_id']))
    boxes = xyxy_from_xywh([row['bbox'] for row in rows]).tolist()
    found = [(r['image_id'], 1 + r['category_id'], b) for r, b in zip(rows, boxes, strict=True)]
    assert [f for f, row in zip(found, rows, strict=True) if not row['iscrowd']] == shown(content)
    crowds = [row for row in content['annotations'] if row['iscrowd']]
    assert sum(row['iscrowd'] for row in rows) == len(crowds)
    result = score(selection, masks=True)
    assert (result['bbox']['AR100'] is None) == (not shown(content))


@ALIKE
@given(content=contents())
def test_yolo_gets_the_same_objects(folder, content, tmp_path_factory):
    write(folder, content)
    out = tmp_path_factory.mktemp('yolo') / 'out'
    export(ExportConfig(dataset=str(folder), out=str(out)))
    found = []
    for number, image in enumerate(content['images']):
        for line in (out / f'labels/{number}.txt').read_text().splitlines():
            label, x, y, w, h = map(float, line.split())
            corners = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
            scale = (WIDTH, HEIGHT, WIDTH, HEIGHT)
            found.append((image['id'], 1 + label, np.multiply(corners, scale)))
    wanted = shown(content)
    assert [row[:2] for row in found] == [row[:2] for row in wanted]
    for (_, _, box), (_, _, other) in zip(found, wanted, strict=True):
        np.testing.assert_allclose(box, other, atol=1e-6)
    names = yaml.safe_load((out / 'data.yaml').read_text())['names']
    assert list(names.values()) == [row['name'] for row in content['categories']]


@ALIKE
@given(content=contents())
def test_bop_gets_the_same_objects(folder, content, tmp_path_factory):
    whole = encode_mask(np.ones((HEIGHT, WIDTH), bool))
    for row in content['annotations']:
        if not row['iscrowd']:
            pose = {'pose': np.eye(4).tolist(), 'visib_fract': 0.5, 'amodal_bbox': row['bbox']}
            row.update(pose, segmentation=row['segmentation'] or whole)
    write(folder, content)
    out = tmp_path_factory.mktemp('bop') / 'out'
    export(ExportConfig(dataset=str(folder), out=str(out), format='bop'))
    infos, poses = (
        json.loads((out / f'train_synth/000000/{name}.json').read_text())
        for name in ('scene_gt_info', 'scene_gt')
    )
    found = [
        (image['id'], pose['obj_id'], info['bbox_visib'])
        for number, image in enumerate(content['images'])
        for info, pose in zip(infos[str(number)], poses[str(number)], strict=True)
    ]
    wanted = [
        (image, category, [round(x0), round(y0), round(x1 - x0), round(y1 - y0)])
        for image, category, (x0, y0, x1, y1) in shown(content)
    ]
    assert found == wanted


@given(content=contents())
def test_show_counts_the_same_objects(folder, content):
    text = describe_dataset(read_coco(write(folder, content)))
    counts = [int(line.rsplit(' ', 2)[1]) for line in text.split('\n') if 'instances' in line]
    assert sum(counts) == len(shown(content))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**31, 2**32, 2**63, 2**64, 10**400, -1, 1e15, 1e300, -1e300, 1e-310])
    | st.floats()
    | st.text(max_size=9)
    | st.sampled_from(['\ud800', 'a\nb', '\0', '../x.png', '/dev/zero', 'P' * 99, '']),
    lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


def places(tree: Any) -> list[tuple[Any, Any]]:
    keys = tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    return [place for key in keys for place in ((tree, key), *places(tree[key]))]


@settings(max_examples=150)
@given(content=contents(), data=st.data())
def test_a_changed_value_is_refused_or_read_and_then_used_without_harm(folder, content, data):
    content = copy.deepcopy(content)
    parent, key = data.draw(st.sampled_from(places(content)))
    if data.draw(st.booleans()) or isinstance(parent, list):
        parent[key] = data.draw(JSON)
    else:
        del parent[key]
    try:
        images = read_labelled(folder / 'images', write(folder, content))
        target = TrainingSet(images, range(len(images)), STILL, 0, masks=images.has_masks)
        for number in range(len(images)):
            _, found = target[number]
            size = found['boxes'][:, 2:] - found['boxes'][:, :2]
            assert (size > 0).all() and found['boxes'].isfinite().all()
        truth = read_coco(folder / 'annotations.json')
        describe_dataset(truth)
        json.dumps(truth, ensure_ascii=False).encode()
    except SynthDetectError as error:
        assert isinstance(error, DatasetError) and len(str(error)) < 500 + len(str(folder))


def test_laws_hold_for_the_sets_of_other_tests(tmp_path):
    content = json.loads((tiny.write_dataset(tmp_path / 'set') / 'annotations.json').read_text())
    assert read_coco(tmp_path / 'set/annotations.json') == content
