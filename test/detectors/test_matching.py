"""Matching and the choice of negatives against loops over boxes."""

import pytest
import torch
from torchvision.models.detection._utils import SSDMatcher
from torchvision.ops import box_iou

from synth_detect_ros.detectors.matching import NONE, hard_negatives, match


def iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    inter = max(width, 0) * max(height, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    return inter / union if union else 0.0


def slow_match(objects, boxes, threshold):
    """Return the object of each box: two loops over all pairs, the best of what is left first."""
    matches = []
    for box in boxes:
        best = NONE
        for n, candidate in enumerate(objects):
            if best == NONE or iou(candidate, box) > iou(objects[best], box):
                best = n
        matches.append(best if best != NONE and iou(objects[best], box) >= threshold else NONE)
    objects_left, boxes_left = set(range(len(objects))), set(range(len(boxes)))
    while objects_left and boxes_left:
        best = None
        for n in sorted(objects_left):
            for d in sorted(boxes_left):
                value = iou(objects[n], boxes[d])
                if value > 0 and (best is None or value > best[0]):
                    best = (value, n, d)
        if best is None:
            break
        _, n, d = best
        matches[d] = n
        objects_left.remove(n)
        boxes_left.remove(d)
    return matches


def random_boxes(generator, count, step):
    """Return boxes with corners on a grid: the coarser it is, the more of them tie."""
    corner = torch.randint(0, 60 // step, (count, 2), generator=generator) * step
    size = (1 + torch.randint(0, 40 // step, (count, 2), generator=generator)) * step
    return torch.cat([corner, corner + size], dim=1).float()


@pytest.mark.parametrize('step', [1, 20])
@pytest.mark.parametrize('objects', [0, 1, 3, 8])
@pytest.mark.parametrize('boxes', [1, 5, 40])
def test_matches_are_those_of_plain_loops(objects, boxes, step):
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        a, b = (random_boxes(generator, n, step) for n in (objects, boxes))
        # In double, that both sides round alike and ties are ties.
        found = match(a.double(), b.double(), 0.5)
        assert found.tolist() == slow_match(a.tolist(), b.tolist(), 0.5)


def test_objects_with_boxes_of_their_own_match_as_in_torchvision():
    compared = 0
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        objects, boxes = random_boxes(generator, 3, 1), random_boxes(generator, 60, 1)
        overlap = box_iou(objects, boxes)
        if len(set(overlap.argmax(dim=1).tolist())) == 3:
            compared += 1
            assert torch.equal(match(objects, boxes, 0.5), SSDMatcher(0.5)(overlap))
    assert compared > 10


def test_twins_get_a_box_each():
    twins = torch.tensor([[0.0, 0, 10, 10]]).repeat(2, 1)
    boxes = torch.tensor([[50.0, 50, 60, 60], [0, 0, 30, 30], [0, 0, 20, 20]])
    assert match(twins, boxes, 0.5).tolist() == [NONE, 1, 0]


def test_overlap_of_just_the_threshold_is_enough():
    objects = torch.tensor([[0.0, 0, 10, 10]])
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 20], [0, 0, 10, 21]])
    assert match(objects, boxes, 0.5).tolist() == [0, 0, NONE]


def test_object_without_area_gets_no_box():
    objects = torch.tensor([[5.0, 5, 5, 9], [0, 0, 10, 10]])
    boxes = torch.tensor([[0.0, 0, 12, 12], [1, 1, 9, 9]])
    assert match(objects, boxes, 0.5).tolist() == [1, 1]


def slow_negatives(losses, positive, ratio, least):
    """Return which boxes are chosen: the largest loss again and again, image by image."""
    chosen = [[False] * len(row) for row in losses]
    for b, row in enumerate(losses):
        count = max(ratio * sum(positive[b]), least)
        taken = 0
        while taken < count:
            best = None
            for d, loss in enumerate(row):
                free = not positive[b][d] and not chosen[b][d]
                if free and (best is None or loss > row[best]):
                    best = d
            if best is None:
                break
            chosen[b][best] = True
            taken += 1
    return chosen


@pytest.mark.parametrize('share', [0.0, 0.05, 0.3, 1.0])
@pytest.mark.parametrize(('ratio', 'least'), [(3, 0), (3, 3), (0, 2), (1.5, 1)])
def test_negatives_are_those_of_plain_loops(share, ratio, least):
    generator = torch.Generator().manual_seed(0)
    # Few different values: many ties.
    losses = torch.randint(0, 12, (4, 50), generator=generator).float()
    positive = torch.rand(4, 50, generator=generator) < share
    found = hard_negatives(losses, positive, ratio, least)
    wanted = slow_negatives(losses.tolist(), positive.tolist(), ratio, least)
    assert found.tolist() == wanted


def test_there_are_three_negatives_for_each_positive():
    losses = torch.arange(20.0).repeat(2, 1)
    positive = torch.zeros(2, 20, dtype=torch.bool)
    positive[0, [0, 19]] = True
    found = hard_negatives(losses, positive, 3, 0)
    assert found[0].nonzero().flatten().tolist() == list(range(13, 19))
    assert not found[1].any()
