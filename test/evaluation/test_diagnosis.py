"""Which errors there are, and what each costs."""

import numpy as np
import pytest

from synth_detect_ros.evaluation import diagnosis
from synth_detect_ros.evaluation.diagnosis import diagnose, diagnosis_table, judge
from synth_detect_ros.evaluation.metrics import score
from synth_detect_ros.evaluation.selection import Selection

BOX = [20.0, 30.0, 40.0, 40.0]


def truth(*rows):
    """Return annotations of (image, class, box)."""
    return [
        {'id': n, 'image_id': i, 'category_id': c, 'bbox': b, 'area': b[2] * b[3], 'iscrowd': 0}
        for n, (i, c, b) in enumerate(rows, start=1)
    ]


def selection(annotations, *found):
    """Return annotations and detections of (image, class, box, score) in three images."""
    rows = [
        {'id': n, 'image_id': i, 'category_id': c, 'bbox': b, 'score': s, 'area': b[2] * b[3]}
        for n, (i, c, b, s) in enumerate(found, start=1)
    ]
    images = [{'id': i, 'width': 640, 'height': 480} for i in range(3)]
    return Selection(images, truth(*annotations), rows, {0: 'box', 1: 'cube'})


def moved(dx, dy=0.0):
    return [BOX[0] + dx, BOX[1] + dy, *BOX[2:]]


@pytest.mark.parametrize(
    ('found', 'kind'),
    [
        ((0, 0, BOX, 0.9), diagnosis.MATCH),
        ((0, 0, moved(20), 0.9), diagnosis.LOOSE),  # 1/3
        ((0, 1, BOX, 0.9), diagnosis.CLASS),
        ((0, 1, moved(20), 0.9), diagnosis.BOTH),
        ((0, 0, moved(200), 0.9), diagnosis.BACKGROUND),
        ((0, 0, moved(36), 0.9), diagnosis.BACKGROUND),  # 1/19
        ((1, 0, BOX, 0.9), diagnosis.BACKGROUND),  # in another image
    ],
)
def test_a_detection_is_what_it_is(found, kind):
    assert [v.kind for v in judge(selection([(0, 0, BOX)], found))] == [kind]


def test_the_better_of_two_matches_and_the_other_is_a_duplicate():
    chosen = selection([(0, 0, BOX)], (0, 0, BOX, 0.3), (0, 0, moved(4), 0.8))
    verdicts = judge(chosen)
    assert [(v.kind, v.found['score']) for v in verdicts] == [
        (diagnosis.MATCH, 0.8), (diagnosis.DUPLICATE, 0.3),
    ]  # fmt: skip
    assert verdicts[0].overlap == pytest.approx(36 / 44)


def test_each_kind_is_mended_alone():
    annotations = [(0, 0, BOX), (0, 1, moved(300)), (1, 0, BOX), (2, 0, BOX)]
    chosen = selection(
        annotations,
        (0, 0, BOX, 0.9),  # right
        (0, 0, moved(300), 0.8),  # a box where a cube is
        (1, 0, moved(20), 0.7),  # loose
        (1, 0, moved(200), 0.95),  # background; the box of image 2 is missed
    )
    found = diagnose(chosen)
    assert found['counts'] == {
        diagnosis.MATCH: 1, diagnosis.LOOSE: 1, diagnosis.CLASS: 1, diagnosis.BOTH: 0,
        diagnosis.DUPLICATE: 0, diagnosis.BACKGROUND: 1, diagnosis.MISSED: 1,
    }  # fmt: skip
    before = score(chosen, masks=False)['bbox']['AP50']
    after = {kind: row['AP50'] for kind, row in found['repaired'].items()}
    # Boxes: right at rank 2 of 3 annotations; the cube is never found.
    assert before == pytest.approx(0.5 * 34 / 101 / 2)
    assert after[diagnosis.CLASS] == pytest.approx((0.5 * 34 / 101 + 1) / 2)
    assert after[diagnosis.BACKGROUND] == pytest.approx(34 / 101 / 2)
    assert after[diagnosis.MISSED] == pytest.approx(0.5 * 51 / 101 / 2)
    assert after[diagnosis.LOOSE] == pytest.approx(0.5 * 67 / 101 / 2)
    assert after[diagnosis.BOTH] == after[diagnosis.DUPLICATE] == before


def test_perfect_boxes_raise_ap_where_all_is_found():
    chosen = selection([(0, 0, BOX)], (0, 0, moved(8), 0.9))  # an IoU of 2/3
    found = diagnose(chosen)
    assert score(chosen, masks=False)['bbox']['AP'] == pytest.approx(0.4)
    assert found['repaired']['perfect boxes']['AP'] == pytest.approx(1)
    assert found['repaired'][diagnosis.LOOSE]['AP'] == pytest.approx(0.4)


def test_two_loose_boxes_of_one_object_become_one():
    found = diagnose(selection([(0, 0, BOX)], (0, 0, moved(20), 0.9), (0, 0, moved(-20), 0.8)))
    assert found['counts'][diagnosis.LOOSE] == 2 and found['counts'][diagnosis.MISSED] == 0
    assert found['repaired'][diagnosis.LOOSE]['AP'] == pytest.approx(1)


def test_sizes_tell_what_is_found():
    small, large = [5.0, 5.0, 20.0, 20.0], [200.0, 100.0, 150.0, 150.0]
    chosen = selection([(0, 0, small), (0, 0, BOX), (0, 1, large)], (0, 1, large, 0.9))
    rows = diagnose(chosen)['sizes']
    assert [r['annotations'] for r in rows] == [1, 1, 1]
    assert [r['recall'] for r in rows] == [0, 0, 1]
    assert [r['mean_iou'] for r in rows] == [None, None, 1]
    assert diagnose(selection([(0, 0, BOX)]))['sizes'][0]['recall'] is None


def test_nothing_found_and_nothing_labelled_are_diagnosed_too():
    nothing = diagnose(selection([(0, 0, BOX)]))
    assert nothing['counts'][diagnosis.MISSED] == 1
    unlabelled = diagnose(selection([], (0, 0, BOX, 0.9)))
    assert unlabelled['counts'][diagnosis.BACKGROUND] == 1
    assert unlabelled['repaired'][diagnosis.BACKGROUND]['AP'] is None


def test_table_has_a_line_for_each_kind():
    chosen = selection([(0, 0, BOX)], (0, 0, moved(8), 0.9))
    result = {'bbox': score(chosen, masks=False)['bbox'], 'diagnosis': diagnose(chosen)}
    lines = diagnosis_table(result).splitlines()
    line = next(line for line in lines if line.startswith('perfect boxes'))
    assert line.split()[-3:] == ['1.000', '1.000', '+0.600']
    assert all(any(line.startswith(kind) for line in lines) for kind in diagnosis.ERRORS)
    assert np.char.str_len(lines).max() < 80
