"""The data set on disk: what is written is read, whole or not at all, and loads as COCO."""

import errno
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

from synth_detect_ros.compute.timing import Stopwatch, Timing
from synth_detect_ros.config import OutputConfig
from synth_detect_ros.dataset.coco import quiet_coco, read_coco
from synth_detect_ros.dataset.storage import COCO_FILE, SHARD, DatasetWriter, read_info
from synth_detect_ros.errors import DatasetError, StorageError
from synth_detect_ros.files import read_image
from synth_detect_ros.geometry.boxes import boxes_of_ids, xyxy_from_xywh
from synth_detect_ros.structures import Instances, Sample

INFO = {'fingerprint': 'abc', 'count': 20}
CLASSES = ('mug', 'drill', 'box')
PNG = OutputConfig(format='png')
TIMING = Timing(20, 1, 2.0, {'encode': 1.0})


def sample(seed: int, count: int = 3) -> Sample:
    rng = np.random.default_rng(seed)
    ids = np.zeros((48, 64), np.uint8)
    for i in range(count):
        x, y = rng.integers(0, (60, 44))
        ids[y : y + 9, x : x + 11] = i + 1
    present = np.unique(ids[ids > 0])  # an id that was painted over has no pixels
    ids = np.searchsorted(np.append(0, present), ids).astype(np.uint8)
    count = len(present)
    boxes = boxes_of_ids(ids, count)
    instances = Instances(
        labels=rng.integers(0, 3, count),
        boxes=boxes,
        amodal_boxes=boxes + np.array((-2.0, -3.0, 1.0, 4.0)),
        visib_fract=rng.random(count),
        poses=rng.normal(size=(count, 4, 4)),
    )
    return Sample(rng.integers(0, 255, (48, 64, 3)).astype(np.uint8), ids, instances)


def write(folder: Path, count: int = 20, output: OutputConfig = PNG) -> DatasetWriter:
    writer, watch = DatasetWriter(folder, count, output), Stopwatch()
    writer.begin(INFO)
    for shard in writer.missing():
        records = [writer.write_image(i, sample(i, i % 4), watch) for i in shard]
        writer.write_shard(shard, records)
    counts = writer.finish(CLASSES, TIMING)
    labels = [label for i in range(count) for label in sample(i, i % 4).instances.labels]
    np.testing.assert_array_equal(counts, np.bincount(labels, minlength=len(CLASSES)))
    return writer


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write(tmp_path)
    assert read_info(tmp_path) == {**INFO, 'timing': TIMING.to_mapping()}
    coco = quiet_coco(read_coco(tmp_path / COCO_FILE))
    assert [category['name'] for category in coco.dataset['categories']] == list(CLASSES)
    for i in range(20):
        wanted, rows = sample(i, i % 4), coco.imgToAnns[i]
        image = read_image(tmp_path / 'images' / coco.imgs[i]['file_name'])
        np.testing.assert_array_equal(image, wanted.image)
        truth = wanted.instances
        assert [row['category_id'] - 1 for row in rows] == truth.labels.tolist()
        assert [row['visib_fract'] for row in rows] == truth.visib_fract.tolist()
        assert [row['pose'] for row in rows] == truth.poses.tolist()
        for name, boxes in (('bbox', truth.boxes), ('amodal_bbox', truth.amodal_boxes)):
            np.testing.assert_array_equal(xyxy_from_xywh([row[name] for row in rows]), boxes)
        for number, row in enumerate(rows):
            np.testing.assert_array_equal(coco.annToMask(row) > 0, wanted.ids == number + 1)


def test_it_loads_as_coco_and_contradicts_itself_nowhere(tmp_path: Path) -> None:
    write(tmp_path / 'set')
    coco = COCO(tmp_path / 'set' / 'annotations.json')
    assert [c['name'] for c in coco.loadCats(coco.getCatIds())] == list(CLASSES)
    assert coco.getImgIds() == list(range(20))
    for row in coco.loadAnns(coco.getAnnIds()):
        mask = coco.annToMask(row)
        x, y, width, height = row['bbox']
        assert (
            mask.sum()
            == row['area']
            == mask[int(y) :, int(x) :][: int(height), : int(width)].sum()
        )
        assert mask[int(y)].any() and mask[:, int(x + width) - 1].any()
    stacks = [sum(map(coco.annToMask, coco.imgToAnns[i])) for i in range(20) if coco.imgToAnns[i]]
    assert max(stack.max() for stack in stacks) == 1  # no pixel twice


def test_jpeg_keeps_the_picture_and_png_every_bit(tmp_path: Path) -> None:
    write(tmp_path / 'jpg', output=OutputConfig(format='jpg', jpeg_quality=98))
    image = read_image(tmp_path / 'jpg' / 'images' / '000001.jpg')
    assert np.corrcoef(image.ravel(), sample(1, 1).image.ravel())[0, 1] > 0.5
    write(tmp_path / 'low', output=OutputConfig(format='jpg', jpeg_quality=20))
    sizes = [(tmp_path / n / 'images' / '000001.jpg').stat().st_size for n in ('jpg', 'low')]
    assert sizes[0] > 1.5 * sizes[1]


def test_only_missing_shards_are_done_again(tmp_path: Path) -> None:
    writer = DatasetWriter(tmp_path / 'set', 2 * SHARD + 3, PNG)
    writer.begin(INFO)
    shards = writer.missing()
    assert [len(shard) for shard in shards] == [SHARD, SHARD, 3]
    writer.write_shard(
        shards[1], [writer.write_image(i, sample(i), Stopwatch()) for i in shards[1]]
    )
    again = DatasetWriter(tmp_path / 'set', 2 * SHARD + 3, PNG)
    again.begin(INFO)
    assert again.missing() == [shards[0], shards[2]]
    with pytest.raises(DatasetError, match=f'{SHARD + 3} images are not made yet'):
        again.finish(CLASSES, TIMING)
    assert not again.complete


def test_shards_whose_records_are_broken_are_done_again(tmp_path: Path) -> None:
    writer = DatasetWriter(tmp_path / 'set', 2, PNG)
    writer.begin(INFO)
    (shard,) = writer.missing()
    writer.write_shard(shard, [writer.write_image(i, sample(i), Stopwatch()) for i in shard])
    assert writer.missing() == []
    (part,) = (tmp_path / 'set' / 'parts').iterdir()
    whole = part.read_text()
    broken = ('"category_id": "1"', '"category_id": [' + '[' * 9999, '"category_id": "\\ud800"')
    for text in (
        *('', '[]\n[]\n', '[' * 9999, whole.replace('000001.png', '../../x.png')),
        *(whole.replace('"category_id": 1', row) for row in broken),
        whole.replace('annotations', 'x'),
    ):
        assert text != whole
        part.write_text(text)
        assert writer.missing() == [shard]
    part.write_bytes(whole.encode('utf-16'))
    assert writer.missing() == []


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    write(tmp_path / 'set')
    with pytest.raises(DatasetError, match=r'another data set: it is of another version'):
        DatasetWriter(tmp_path / 'set', 20, PNG).begin({'fingerprint': 'other'})
    (tmp_path / 'home').mkdir()
    (tmp_path / 'home' / 'letter.txt').write_text('dear')
    with pytest.raises(DatasetError, match='not empty'):
        DatasetWriter(tmp_path / 'home', 20, PNG).begin(INFO)
    assert (tmp_path / 'home' / 'letter.txt').read_text() == 'dear'


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    with pytest.raises(StorageError, match='cannot be made'):
        DatasetWriter(tmp_path / 'file' / 'set', 20, PNG).begin(INFO)


def test_a_full_disk_loses_nothing(tmp_path: Path, full_disk: Callable[[], None]) -> None:
    writer = DatasetWriter(tmp_path / 'set', 20, PNG)
    writer.begin(INFO)
    first = writer.missing()[0]
    writer.write_shard(first, [writer.write_image(i, sample(i), Stopwatch()) for i in first])

    full_disk()
    with pytest.raises(StorageError, match='No space left') as caught:
        writer.write_image(SHARD, sample(SHARD), Stopwatch())
    assert caught.value.errno == errno.ENOSPC
    assert not (tmp_path / 'set' / 'images' / f'{SHARD:06d}.png').exists()
    assert writer.missing()[0].start == SHARD


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', 'empty or broken'),
        ('a: [', 'cannot be read'),
        ('format: 2', 'format 2, but this version of synth_detect_ros reads 1'),
    ],
)
def test_what_is_no_record_of_a_set_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DatasetError, match=r'is no data set: it has no dataset\.yaml'):
        read_info(tmp_path)
    (tmp_path / 'dataset.yaml').write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_info(tmp_path)


def test_a_set_whose_run_was_interrupted_says_so(tmp_path: Path) -> None:
    DatasetWriter(tmp_path / 'set', 20, PNG).begin(INFO)
    with pytest.raises(DatasetError, match='was interrupted'):
        read_coco(tmp_path / 'set' / COCO_FILE)


def test_no_leftovers_beside_the_data(tmp_path: Path) -> None:
    write(tmp_path / 'set')
    assert sorted(path.name for path in (tmp_path / 'set').iterdir()) == [
        'annotations.json',
        'dataset.yaml',
        'images',
    ]
    assert len(list((tmp_path / 'set' / 'images').iterdir())) == 20
    json.loads((tmp_path / 'set' / 'annotations.json').read_text())
