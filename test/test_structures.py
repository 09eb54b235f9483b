"""Structures: shapes are checked once, and nothing is a legal number of things."""

import numpy as np
import pytest

from synth_detect_ros.errors import GeometryError
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


def test_mask_of_a_sample_is_where_its_id_is():
    ids = np.array([[0, 1], [2, 1]], np.uint8)
    sample = Sample(np.zeros((2, 2, 3), np.uint8), ids, instances(2))
    np.testing.assert_array_equal(sample.mask(0), [[False, True], [False, True]])
    assert sample.mask(0).sum() + sample.mask(1).sum() == (ids > 0).sum()


def test_threshold_keeps_equal_scores_and_their_masks():
    kept = detections(3, np.zeros((3, 2, 2), bool)).above(0.5)
    np.testing.assert_array_equal(kept.scores, [1.0, 0.5])
    assert kept.masks.shape == (2, 2, 2)
    assert len(detections(3).above(2.0)) == 0
