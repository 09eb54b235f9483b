"""Default boxes, matching and hard negatives of SSD against formulas and loops over boxes."""

import math

import pytest
import torch

from synth_detect_ros.config import SSDConfig
from synth_detect_ros.detectors.default_boxes import (
    NONE,
    box_shapes,
    default_boxes,
    hard_negatives,
    match,
)

GRIDS = ((19, 19), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1))


def slow_boxes(config, grids, height, width):
    """Return the boxes one by one, see Liu et al. 2016, sec. 2.2, and the toolchain's numbers."""
    side = min(height, width)
    low, high = config.scales
    boxes = []
    for k, (rows, columns) in enumerate(grids):
        scale = low + (high - low) * k / (len(grids) - 1)
        after = low + (high - low) * (k + 1) / (len(grids) - 1) if k + 1 < len(grids) else 1.0
        for i in range(rows):
            for j in range(columns):
                x, y = (j + 0.5) / columns * width, (i + 0.5) / rows * height
                if k == 0 and config.reduce_lowest:
                    sizes = [(0.1, 1), (0.2, 2), (0.2, 0.5)]
                else:
                    sizes = [(scale, r) for r in config.ratios]
                    sizes.append((math.sqrt(scale * after), 1))
                for s, ratio in sizes:
                    w, h = s * math.sqrt(ratio) * side, s / math.sqrt(ratio) * side
                    boxes.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
    return torch.tensor(boxes)


@pytest.mark.parametrize('reduce_lowest', [True, False])
@pytest.mark.parametrize(
    ('height', 'width', 'grids'),
    [(300, 300, GRIDS), (96, 140, ((6, 9), (3, 5), (2, 3), (1, 2), (1, 1), (1, 1)))],
)
def test_boxes_are_those_of_the_formulas(height, width, grids, reduce_lowest):
    config = SSDConfig(reduce_lowest=reduce_lowest)
    boxes = default_boxes(box_shapes(config), grids, (height, width))
    wanted = slow_boxes(config, grids, height, width)
    torch.testing.assert_close(boxes, wanted, atol=1e-3, rtol=0)


def test_image_of_300_px_has_the_1917_boxes_of_the_toolchain():
    assert len(default_boxes(box_shapes(SSDConfig()), GRIDS, (300, 300))) == 1917


def test_box_of_one_cell_is_the_cell_in_edge_coordinates():
    # A map of stride 16 and a square as large as its cells: pixels 16 to 31 are [16, 32).
    boxes = default_boxes((((16 / 64, 1.0),),), ((4, 6),), (64, 96))
    assert boxes[7].tolist() == [16, 16, 32, 32]
    assert boxes[1].tolist() == [16, 0, 32, 16]


def test_scales_and_ratios_follow_the_options():
    shapes = box_shapes(SSDConfig(maps=3, scales=(0.1, 0.5), ratios=(1, 4), reduce_lowest=False))
    wanted = [
        [(0.1, 1), (0.1, 4), (math.sqrt(0.03), 1)],
        [(0.3, 1), (0.3, 4), (math.sqrt(0.15), 1)],
        [(0.5, 1), (0.5, 4), (math.sqrt(0.5), 1)],
    ]
    for found, of_map in zip(shapes, wanted, strict=True):
        torch.testing.assert_close(torch.tensor(found), torch.tensor(of_map))


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
