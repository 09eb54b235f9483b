"""Boxes of detections are means over the cells that see the same object."""

import torch

from synth_detect_ros.detectors.dense.box_voting import vote_boxes

BOXES = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [40, 0, 50, 10], [0, 2, 10, 12]])
SCORES = torch.tensor([0.6, 0.2, 0.9, 0.5])
LABELS = torch.tensor([1, 1, 1, 2])


def test_mean_of_those_that_overlap_weighted_by_score():
    kept = torch.tensor([2, 0])
    voted = vote_boxes(BOXES, SCORES, LABELS, kept, 0.5)
    torch.testing.assert_close(voted, torch.tensor([[40.0, 0, 50, 10], [0.25, 0, 10.25, 10]]))


def test_those_that_overlap_less_and_of_other_classes_have_no_vote():
    voted = vote_boxes(BOXES, SCORES, LABELS, torch.tensor([0]), 0.9)
    torch.testing.assert_close(voted, BOXES[:1])
    other = vote_boxes(BOXES, SCORES, torch.tensor([1, 2, 1, 1]), torch.tensor([0]), 0.5)
    torch.testing.assert_close(other, torch.tensor([[0.0, 10 / 11, 10, 120 / 11]]))


def test_no_detections_and_no_scores_are_legal():
    none = torch.zeros(0, dtype=torch.int64)
    assert vote_boxes(BOXES[:0], SCORES[:0], LABELS[:0], none, 0.5).shape == (0, 4)
    assert vote_boxes(BOXES, SCORES, LABELS, none, 0.5).shape == (0, 4)
    still = vote_boxes(BOXES, 0 * SCORES, LABELS, torch.tensor([0]), 0.5)
    torch.testing.assert_close(still, torch.tensor([[0.5, 0, 10.5, 10]]))
