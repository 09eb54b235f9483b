import contextlib
import copy
import io
import logging
import sys
import weakref

import numpy as np
import pytest
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from synth_detect_ros.errors import DatasetError
from synth_detect_ros.evaluation.metrics import score
from synth_detect_ros.evaluation.selection import select
from synth_detect_ros.structures import Detections

CLASSES = ('box', 'cube')
FOUR = ('AP', 'AP50', 'AP75', 'AR100')
PERFECT = pytest.approx(dict.fromkeys(FOUR, 1.0))
NOTHING = dict.fromkeys(FOUR)


def coco(annotations, images=3, names=CLASSES):
    """COCO mapping of (image id, category id, xyxy) with category ids 10, 20, ..."""
    return {
        'images': [
            {'id': i, 'file_name': f'{i}.png', 'width': 160, 'height': 120} for i in range(images)
        ],
        'categories': [{'id': 10 * (i + 1), 'name': n} for i, n in enumerate(names)],
        'annotations': [
            {'id': i, 'image_id': image, 'category_id': category, 'iscrowd': 0}
            | {'bbox': [x1, y1, x2 - x1, y2 - y1], 'area': (x2 - x1) * (y2 - y1)}
            for i, (image, category, (x1, y1, x2, y2)) in enumerate(annotations)
        ],
    }


def found(*rows, masks=None):
    """Detections of (label, score, xyxy)."""
    rows = sorted(rows, key=lambda row: -row[1])
    return Detections(
        np.array([r[0] for r in rows], np.int64),
        np.array([r[1] for r in rows], np.float64),
        np.array([r[2] for r in rows], np.float64).reshape(-1, 4),
        masks,
    )


def four(metrics):
    return {k: metrics[k] for k in FOUR}


def score_detections(detections, image_ids, truth, classes, *, exclude='', masks=False):
    return score(select(detections, image_ids, truth, classes, exclude), masks=masks)


A, B = (10, 10, 50, 50), (60, 20, 120, 100)


def test_no_detections_score_zero():
    result = score_detections([found()] * 3, [0, 1, 2], coco([(0, 10, A)]), CLASSES)
    assert four(result['bbox']) == dict.fromkeys(FOUR, 0.0)
    assert result['images'] == 3


def test_no_annotations_score_none():
    result = score_detections([found((0, 0.9, A))], [0], coco([]), CLASSES)
    assert four(result['bbox']) == NOTHING
    assert result['bbox']['per_class'] == {'box': NOTHING, 'cube': NOTHING}


def test_exact_detections_are_perfect_and_an_absent_class_is_none():
    detections = [found((0, 0.9, A)), found((0, 0.8, B)), found()]
    truth = coco([(0, 10, A), (1, 10, B)])
    result = score_detections(detections, [0, 1, 2], truth, CLASSES)['bbox']
    assert four(result) == PERFECT
    assert result['per_class'] == {'box': PERFECT, 'cube': NOTHING}


def test_nothing_is_printed(capsys):
    score_detections([found((0, 0.9, A))], [0], coco([(0, 10, A)]), CLASSES)
    assert capsys.readouterr().out == ''


def test_false_alarm_on_an_empty_image_lowers_the_precision():
    truth = coco([(0, 10, A)])
    alarm = [found((0, 0.5, A)), found((0, 0.9, B))]
    with_empty = score_detections(alarm, [0, 1], truth, CLASSES)['bbox']
    without = score_detections(alarm[:1], [0], truth, CLASSES)['bbox']
    assert without['AP'] == pytest.approx(1)
    assert with_empty['AP'] == pytest.approx(0.5)


def test_images_not_asked_for_do_not_count():
    truth = coco([(0, 10, A), (1, 10, B)])
    result = score_detections([found((0, 0.9, A))], [0], truth, CLASSES)
    assert four(result['bbox']) == PERFECT


def test_classes_match_by_name_and_not_by_order():
    truth = coco([(0, 10, A), (0, 20, B)])
    detections = [found((0, 0.9, B), (1, 0.9, A))]
    assert score_detections(detections, [0], truth, ('cube', 'box'))['bbox'][
        'AP'
    ] == pytest.approx(1)
    assert score_detections(detections, [0], truth, ('box', 'cube'))['bbox']['AP'] == 0.0


def test_classes_of_one_side_only_are_left_out_with_a_line_in_the_log(caplog):
    truth = coco([(0, 10, A), (0, 20, B)])
    detections = [found((0, 0.9, A), (1, 0.95, (0, 0, 5, 5)))]
    with caplog.at_level(logging.INFO):
        result = score_detections(detections, [0], truth, ('box', 'mug'))
    assert four(result['bbox']) == PERFECT
    assert set(result['bbox']['per_class']) == {'box'}
    assert 'annotations only: cube' in caplog.text
    assert 'model only: mug' in caplog.text


def test_no_common_class_names_both_sides():
    with pytest.raises(DatasetError, match=r'mug, fork.*box, cube'):
        score_detections([found()], [0], coco([(0, 10, A)]), ('mug', 'fork'))


@pytest.mark.parametrize(('count', 'got'), [(0, 'got 0'), (1, 'got 1'), (3, 'got 2 and more')])
def test_numbers_of_images_and_detections_must_agree(count, got):
    with pytest.raises(DatasetError, match=f'each of 2 images, {got}$'):
        score_detections([found()] * count, [0, 1], coco([(0, 10, A)]), CLASSES)


def test_images_that_are_not_annotated_are_named():
    with pytest.raises(DatasetError, match='not in the annotations: 7, 8'):
        score_detections([found()] * 3, [0, 7, 8], coco([(0, 10, A)]), CLASSES)


def test_masks_of_no_more_than_the_last_image_are_held():
    alive = []

    def detections():
        for _ in range(3):
            assert sum(ref() is not None for ref in alive) <= 1
            one = found((0, 0.9, A), masks=masks_of(A))
            alive.append(weakref.ref(one.masks))
            yield one
            del one

    truth = with_segmentation(coco([(0, 10, A), (1, 10, A), (2, 10, A)]))
    result = score_detections(detections(), [0, 1, 2], truth, CLASSES, masks=True)
    assert result['segm']['AP'] == pytest.approx(1)


@pytest.mark.parametrize('box', [B, (64, 24, 118, 96), (70, 30, 110, 90)])
def test_detections_on_excluded_annotations_are_neither_right_nor_wrong(box):
    truth = coco([(0, 10, A), (0, 10, B)])
    truth['annotations'][1]['low_accuracy'] = True
    detections = [found((0, 0.5, A), (0, 0.9, box), (0, 0.8, box))]
    result = score_detections(detections, [0], truth, CLASSES, exclude='low_accuracy')
    assert four(result['bbox']) == PERFECT
    missed = score_detections([found((0, 0.5, A))], [0], truth, CLASSES, exclude='low_accuracy')
    assert missed == result


def test_a_kept_annotation_beside_an_excluded_one_still_counts():
    near = (12, 12, 52, 52)
    truth = coco([(0, 10, A), (0, 10, near)])
    truth['annotations'][1]['low_accuracy'] = True
    result = score_detections([found((0, 0.9, A))], [0], truth, CLASSES, exclude='low_accuracy')
    assert four(result['bbox']) == PERFECT


@pytest.mark.parametrize(
    ('label', 'image', 'box'), [(1, 0, B), (0, 1, B), (0, 0, (0, 0, 160, 120))]
)
def test_exclusion_forgives_only_its_own_class_image_and_place(label, image, box):
    truth = coco([(0, 10, A), (1, 20, A), (0, 10, B)])
    truth['annotations'][2]['low_accuracy'] = True
    rows = [[(0, 0.5, A)], [(1, 0.5, A)]]
    rows[image].append((label, 0.9, box))
    detections = [found(*r) for r in rows]
    result = score_detections(detections, [0, 1], truth, CLASSES, exclude='low_accuracy')
    assert result['bbox']['AP'] < 0.9


def lines_run(work, folder):
    """Return how many lines of the files of a folder are run: the same on every machine."""
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        count += event == 'line'
        return trace if folder in frame.f_code.co_filename else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def test_work_of_excluding_grows_as_the_images_do():
    def exclude(images):
        truth = coco([(i, 10, box) for i in range(images) for box in (A, B)], images)
        for row in truth['annotations'][::2]:
            row['low_accuracy'] = True
        found_in_all = [found((0, 0.9, A), (0, 0.8, B))] * images
        select(found_in_all, range(images), truth, CLASSES, exclude='low_accuracy')

    few, many = (lines_run(lambda n=n: exclude(n), 'evaluation') for n in (20, 80))
    assert many < 4.2 * few


def test_ground_truth_is_not_changed():
    truth = coco([(0, 10, A)])
    before = copy.deepcopy(truth)
    score_detections([found((0, 0.9, A))], [0], truth, CLASSES)
    assert truth == before


def masks_of(*boxes):
    masks = np.zeros((len(boxes), 120, 160), bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[y1:y2, x1:x2] = True
    return masks


def with_segmentation(truth):
    for row in truth['annotations']:
        x, y, w, h = row['bbox']
        mask = masks_of((x, y, x + w, y + h))[0]
        row['segmentation'] = rle.encode(np.asfortranarray(mask, np.uint8))
    return truth


def test_masks_are_scored_on_their_own():
    truth = with_segmentation(coco([(0, 10, A)]))
    wrong = found((0, 0.9, A), masks=masks_of(B))
    result = score_detections([wrong], [0], truth, CLASSES, masks=True)
    assert result['bbox']['AP'] == pytest.approx(1)
    assert result['segm']['AP'] == 0.0
    right = found((0, 0.9, A), masks=masks_of(A))
    assert score_detections([right], [0], truth, CLASSES, masks=True)['segm'][
        'AP'
    ] == pytest.approx(1)


def test_masks_need_both_sides_and_the_wish():
    bare, full = coco([(0, 10, A)]), with_segmentation(coco([(0, 10, A)]))
    masked, boxes = found((0, 0.9, A), masks=masks_of(A)), found((0, 0.9, A))
    assert 'segm' not in score_detections([masked], [0], bare, CLASSES, masks=True)
    assert 'segm' not in score_detections([boxes], [0], full, CLASSES, masks=True)
    assert 'segm' not in score_detections([masked], [0], full, CLASSES)


def random_problem(rng):
    def box():
        x, y = rng.uniform(0, 100), rng.uniform(0, 70)
        return x, y, x + rng.uniform(10, 60), y + rng.uniform(10, 50)

    annotations = [(i, 10 * (1 + j % 2), box()) for i in range(6) for j in range(i % 4)]
    detections = []
    for i in range(6):
        near = [
            (c // 10 - 1, rng.random(), np.array(b) + rng.normal(0, 3, 4))
            for image, c, b in annotations
            if image == i
        ]
        alarms = [(int(rng.integers(2)), rng.random(), box()) for _ in range(2)]
        detections.append(found(*near, *alarms))
    return coco(annotations, images=6), detections


@pytest.mark.parametrize('seed', range(5))
def test_metrics_agree_with_the_summary_of_pycocotools(seed):
    truth, detections = random_problem(np.random.default_rng(seed))
    result = score_detections(detections, range(6), truth, CLASSES)['bbox']
    for row in truth['annotations']:
        row['id'] += 1  # the reference takes id 0 for "not found"
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = truth
        reference.createIndex()
        rows = [
            {'image_id': i, 'category_id': 10 * (int(label) + 1), 'score': float(score)}
            | {'bbox': [*box[:2], *(box[2:] - box[:2])]}
            for i, d in enumerate(detections)
            for label, score, box in zip(d.labels, d.scores, d.boxes, strict=True)
        ]
        scorer = COCOeval(reference, reference.loadRes(rows), 'bbox')
        scorer.evaluate()
        scorer.accumulate()
        scorer.summarize()
    wanted = dict(zip(FOUR, scorer.stats[[0, 1, 2, 8]], strict=True))
    assert four(result) == pytest.approx(wanted, abs=1e-12)
    per_class = [m['AP'] for m in result['per_class'].values()]
    assert np.mean(per_class) == pytest.approx(result['AP'])
