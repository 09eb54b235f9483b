"""Structures: shapes are checked once, and nothing is a legal number of things."""

import numpy as np
import pytest

from synth_detect_ros.errors import GeometryError, SelectionError
from synth_detect_ros.structures import Detections, Instances, Sample


def instances(count):
    box = np.zeros((count, 4))
    poses = np.tile(np.eye(4), (count, 1, 1))
    return Instances(np.zeros(count, np.int64), box, box, np.ones(count), poses)


def detections(count, masks=None):
    return Detections(
        np.zeros(count, np.int64), np.linspace(1, 0, count), np.zeros((count, 4)), masks
    )


@pytest.mark.parametrize('count', [0, 3])
def test_lengths_agree(count):
    assert len(instances(count)) == count
    assert len(detections(count, np.zeros((count, 5, 6), bool))) == count


def test_wrong_shape_is_named_with_what_was_wanted():
    with pytest.raises(
        GeometryError, match=r'Detections.boxes: wanted shape \(2, 4\), got \(1, 4\)'
    ):
        Detections(np.zeros(2, np.int64), np.zeros(2), np.zeros((1, 4)))
    with pytest.raises(GeometryError, match=r'Instances.poses'):
        Instances(np.zeros(1, np.int64), *[np.zeros((1, 4))] * 2, np.ones(1), np.eye(4))
    with pytest.raises(GeometryError, match=r'Sample.ids'):
        Sample(np.zeros((4, 5, 3), np.uint8), np.zeros((5, 4), np.uint8), instances(0))


def distinct(count):
    """Return instances and detections in which every row is another."""
    rows = np.arange(count, dtype=np.float64)
    boxes = rows[:, None] + np.arange(4)
    poses = rows[:, None, None] + np.zeros((4, 4))
    masks = np.arange(count)[:, None, None] == np.arange(6).reshape(2, 3)
    return (
        Instances(np.arange(count), boxes, boxes + 1, rows / 10, poses),
        Detections(np.arange(count), 1 - rows / 10, boxes, masks),
    )


@pytest.mark.parametrize('table', distinct(4), ids=['instances', 'detections'])
@pytest.mark.parametrize(
    ('chosen', 'rows'),
    [
        (2, [2]),
        (-1, [3]),
        (np.int64(0), [0]),
        (slice(1, None), [1, 2, 3]),
        (slice(None, None, -1), [3, 2, 1, 0]),
        ([3, 0, 3], [3, 0, 3]),
        ([], []),
        (np.array([], int), []),
        ([True, False, False, True], [0, 3]),
        (np.zeros(4, bool), []),
    ],
)
def test_every_array_is_indexed_alike_and_the_type_stays(table, chosen, rows):
    taken = table[chosen]
    assert type(taken) is type(table) and len(taken) == len(rows)
    for name, array in vars(table).items():
        np.testing.assert_array_equal(getattr(taken, name), array[rows])


def test_tables_are_iterated_one_object_at_a_time():
    assert [one.labels.tolist() for one in distinct(3)[1]] == [[0], [1], [2]]
    assert list(distinct(0)[0]) == []


def test_nothing_can_be_chosen_from_nothing():
    assert len(detections(0)[[]]) == len(detections(0)[np.zeros(0, bool)]) == 0
    assert detections(2)[[1]].masks is None


@pytest.mark.parametrize('chosen', [3, -4, [0, 7], [True, False], np.ones(4, bool), [0.5], 'a'])
def test_what_cannot_be_chosen_is_refused_with_the_number_there_is(chosen):
    with pytest.raises(SelectionError, match=r'Detections of 3: wanted .* or 3 booleans'):
        detections(3)[chosen]


def test_threshold_keeps_equal_scores_and_their_masks():
    kept = detections(3, np.zeros((3, 2, 2), bool)).above(0.5)
    np.testing.assert_array_equal(kept.scores, [1.0, 0.5])
    assert kept.masks.shape == (2, 2, 2)
    assert len(detections(3).above(2.0)) == 0
