import json

import cv2
import numpy as np
import pytest

from synth_detect_ros.config import EvaluateConfig
from synth_detect_ros.errors import ConfigError, DatasetError, StorageError
from synth_detect_ros.evaluation import evaluate as module
from synth_detect_ros.evaluation.evaluate import evaluate, frame_error
from synth_detect_ros.structures import Detections

COUNT = 4
BOX = (20, 30, 80, 90)


class Reader:
    """A predictor that finds BOX with the grey level of the image as its score."""

    classes = ('box', 'cube')
    has_masks = False

    def __init__(self, bundle, device, runtime, trust_code):
        assert device == runtime == 'auto'

    def detect(self, image, score_threshold=0.0):
        score = np.array([image[0, 0].mean() / 255])
        found = Detections(np.zeros(1, np.int64), score, np.array([BOX], np.float64))
        return found.above(score_threshold)


@pytest.fixture
def labelled(tmp_path, monkeypatch):
    """Images of grey 60, 120, 180, 240; each holds BOX but the last, which is empty."""
    monkeypatch.setattr(module, 'open_model', Reader)
    (tmp_path / 'images').mkdir()
    for i in range(COUNT):
        grey = np.full((120, 160, 3), 60 * (i + 1), np.uint8)
        cv2.imwrite(str(tmp_path / f'images/{i}.png'), grey)
    x1, y1, x2, y2 = BOX
    content = {
        'images': [
            {'id': i, 'file_name': f'{i}.png', 'width': 160, 'height': 120} for i in range(COUNT)
        ],
        'categories': [{'id': 3, 'name': 'box'}],
        'annotations': [
            {'id': i, 'image_id': i, 'category_id': 3, 'bbox': [x1, y1, x2 - x1, y2 - y1]}
            for i in range(COUNT - 1)
        ],
    }
    (tmp_path / 'coco.json').write_text(json.dumps(content))
    return EvaluateConfig(
        model='any',
        images=str(tmp_path / 'images'),
        annotations=str(tmp_path / 'coco.json'),
        json=str(tmp_path / 'results/metrics.json'),
        overlays=str(tmp_path / 'worst'),
        worst=2,
    )


def change(config, **options):
    return EvaluateConfig(**(vars(config) | options))


def test_metrics_are_returned_and_written(labelled, tmp_path):
    result = evaluate(labelled)
    assert result['images'] == COUNT
    assert result['ms_per_image'] > 0
    assert result['bbox']['AR100'] == pytest.approx(1)
    # The best score is the false alarm on the empty image: precision 1/2, 2/3, 3/4.
    assert result['bbox']['AP50'] == pytest.approx(0.75)
    assert json.loads((tmp_path / 'results/metrics.json').read_text()) == result


def test_worst_frames_come_first_and_no_more_than_asked_for(labelled, tmp_path):
    evaluate(labelled)
    # The false alarm scores .94; image 0 is missed at a threshold of .5, as is image 1.
    assert sorted(p.name for p in (tmp_path / 'worst').iterdir()) == ['000_0.jpg', '001_1.jpg']
    picture = cv2.imread(str(tmp_path / 'worst/000_0.jpg'))
    blue, green, red = picture[89, 50].astype(int)
    assert green > red + 30 and green > blue + 30  # chroma of JPEG


def test_progress_counts_every_image(labelled):
    calls = []
    evaluate(labelled, lambda done, total: calls.append((done, total)))
    assert calls == [(i, COUNT) for i in range(1, COUNT + 1)]


def test_nothing_is_written_unless_asked_for(labelled, tmp_path):
    before = sorted(tmp_path.iterdir())
    evaluate(change(labelled, json='', overlays=''))
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize('key', ['model', 'images', 'annotations'])
def test_what_is_needed_is_named(labelled, key):
    with pytest.raises(ConfigError, match=f'needs {key}'):
        evaluate(change(labelled, **{key: ''}))


def test_missing_images_are_counted_and_the_first_is_named(labelled, tmp_path):
    (tmp_path / 'images/1.png').unlink()
    (tmp_path / 'images/2.png').unlink()
    with pytest.raises(DatasetError, match=r'2 of 4 images .* first is 1\.png'):
        evaluate(labelled)


def test_an_image_of_another_size_or_place_is_named(labelled, tmp_path):
    path = tmp_path / 'images/1.png'
    image = cv2.imread(str(path))
    cv2.imwrite(str(path), image[1:])
    with pytest.raises(DatasetError, match=r'1\.png: wanted .* pixels, as its annotations say'):
        evaluate(labelled)
    path.unlink()
    path.symlink_to('/dev/zero')
    with pytest.raises(DatasetError, match=r'1\.png: leads to /dev/zero, outside of'):
        evaluate(labelled)


def test_a_truncated_image_is_named(labelled, tmp_path):
    path = tmp_path / 'images/1.png'
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DatasetError, match=r'1\.png: no complete image'):
        evaluate(labelled)


def test_no_common_class_ends_before_the_work(labelled, monkeypatch):
    monkeypatch.setattr(Reader, 'classes', ('mug',))
    with pytest.raises(DatasetError, match='mug'):
        evaluate(labelled, progress=lambda done, total: pytest.fail('worked'))


def test_a_full_disk_is_said(labelled, monkeypatch):
    def full(path, data):
        raise StorageError(28, f'{path} cannot be written')

    monkeypatch.setattr(module, 'write_atomic', full)
    with pytest.raises(StorageError, match=r'cannot be written'):
        evaluate(labelled)


def row(box, label=0, score=None):
    x1, y1, x2, y2 = box
    row = {'category_id': label, 'bbox': [x1, y1, x2 - x1, y2 - y1]}
    return row if score is None else row | {'score': score}


HALF = (20, 30, 80, 60)  # IoU with BOX is exactly one half


@pytest.mark.parametrize(
    ('truth', 'found', 'error'),
    [
        ([], [], 0),
        ([row(BOX)], [], 1),
        ([], [row(BOX, score=0.8)], 0.8),
        ([], [row(BOX, score=0.4)], 0),
        ([row(BOX)], [row(BOX, score=0.6)], 0),
        ([row(BOX)], [row(HALF, score=0.9)], 0.5),
        ([row(BOX)], [row(BOX, 1, score=0.9)], 1.9),
        ([row(BOX)], [row(BOX, score=0.6), row(BOX, score=0.7)], 0.6),
        ([row(BOX)], [row(BOX, score=0.6), row(HALF, score=0.7)], 1.1),
        ([row(BOX), row(BOX, 1)], [row(BOX, 1, 0.6), row(BOX, 0, 0.7)], 0),
    ],
)
def test_error_of_a_frame(truth, found, error):
    assert frame_error(truth, found) == pytest.approx(error)
