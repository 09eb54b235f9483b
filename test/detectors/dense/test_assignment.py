"""Which cells learn which object: as in plain loops, and no object is left out."""

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from synth_detect_ros.detectors.dense.assignment import NONE, assign
from synth_detect_ros.detectors.dense.cells import cell_centres

OPTIONS = {'cells': 4, 'powers': (1.0, 6.0), 'least_side': 8.0}


def slow(scores, predicted, centres, boxes, labels, cells, powers, least_side):
    """Return objects and qualities by the definition, cell after cell, object after object."""
    overlaps = box_iou(boxes, predicted).tolist()
    takers = {}
    for n, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
        w, h = max(x2 - x1, least_side) / 2, max(y2 - y1, least_side) / 2
        inside = [
            c for c, (x, y) in enumerate(centres.tolist())
            if -w <= x - cx < w and -h <= y - cy < h
        ]  # fmt: skip
        fit = {c: scores[c, labels[n]].item() ** powers[0] * overlaps[n][c] ** powers[1]
               for c in inside}  # fmt: skip
        for c in sorted(inside, key=lambda c, fit=fit: -fit[c])[:cells]:
            takers.setdefault(c, []).append((overlaps[n][c], n, fit[c]))
    objects, quality = [NONE] * len(centres), [0.0] * len(centres)
    for c, found in takers.items():
        _, objects[c], quality[c] = max(found)
    for n in range(len(boxes)):
        own = [c for c in range(len(centres)) if objects[c] == n]
        best = max((quality[c] for c in own), default=0)
        most = max((overlaps[n][c] for c in own), default=0)
        for c in own:
            quality[c] = quality[c] / best * most if best else 0.0
    return objects, quality


def scene(seed, count):
    rng = np.random.default_rng(seed)
    centres, strides = cell_centres(((8, 10), (4, 5)), (8, 16), torch.device('cpu'))
    sides = torch.tensor(rng.uniform(0.2, 4, (len(centres), 4)), dtype=torch.float32) * strides
    predicted = torch.cat([centres - sides[:, :2], centres + sides[:, 2:]], 1)
    start = rng.uniform(0, 50, (count, 2))
    boxes = np.concatenate([start, start + rng.uniform(3, 40, (count, 2))], 1)
    scores = torch.tensor(rng.uniform(0.01, 1, (len(centres), 3)), dtype=torch.float32)
    labels = torch.tensor(rng.integers(0, 3, count))
    return scores, predicted, centres, torch.tensor(boxes, dtype=torch.float32), labels


@pytest.mark.parametrize('seed', range(8))
@pytest.mark.parametrize('count', [1, 2, 6])
def test_cells_are_those_of_plain_loops(seed, count):
    inputs = scene(seed, count)
    found = assign(*inputs, **OPTIONS)
    objects, quality = slow(*inputs, **OPTIONS)
    assert found.objects.tolist() == objects
    np.testing.assert_allclose(found.quality, quality, rtol=1e-4, atol=1e-7)


def test_an_image_without_objects_is_background():
    scores, predicted, centres, _, _ = scene(0, 1)
    nothing = (torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    found = assign(scores, predicted, centres, *nothing, **OPTIONS)
    assert (found.objects == NONE).all() and not found.quality.any()


@pytest.mark.parametrize('side', [0.5, 2.0, 8.0])
def test_the_smallest_object_has_a_cell_wherever_it_lies(side):
    scores, predicted, centres, _, _ = scene(1, 1)
    for x, y in np.random.default_rng(0).uniform(0, 56, (50, 2)):
        box = torch.tensor([[x, y, x + side, y + side]], dtype=torch.float32)
        found = assign(scores, predicted, centres, box, torch.tensor([0]), **OPTIONS)
        assert (found.objects == 0).any()


def test_the_highest_quality_of_an_object_is_its_highest_overlap():
    inputs = scene(3, 2)
    found = assign(*inputs, **OPTIONS)
    for n in range(2):
        cells = found.objects == n
        overlaps = box_iou(inputs[3][n : n + 1], inputs[1])[0][cells]
        assert found.quality[cells].max().item() == pytest.approx(overlaps.max().item())
