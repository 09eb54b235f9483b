"""Default boxes of SSD against the formulas as they are written."""

import math

import pytest
import torch

from synth_detect_ros.config import SSDConfig
from synth_detect_ros.detectors.default_boxes import box_shapes, default_boxes

GRIDS = [(19, 19), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)]


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
    [(300, 300, GRIDS), (96, 140, [(6, 9), (3, 5), (2, 3), (1, 2), (1, 1), (1, 1)])],
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
    boxes = default_boxes([[(16 / 64, 1.0)]], [(4, 6)], (64, 96))
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
