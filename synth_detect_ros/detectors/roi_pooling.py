"""Crops of feature maps for proposals: RoIAlign, and max pooling behind it."""

from __future__ import annotations

import torch
from torch.nn.functional import max_pool2d
from torchvision.ops import MultiScaleRoIAlign

from synth_detect_ros.detectors.sparse_roi_align import SAMPLES, sparse_roi_align


class RoIPooling(MultiScaleRoIAlign):  # type: ignore[misc]  # torchvision is not typed
    """`MultiScaleRoIAlign` with two samples a bin and axis, the same values up to rounding.

    On a GPU torchvision's own operator runs, which is fast there; `super().forward` makes the same
    crops everywhere.

    Args:
        names: of the maps to pool from.
        size: side of the sampled square, in bins.
        shrink: side of the squares of bins of which only the largest value is kept.

    Attributes:
        side: of the crops, size // shrink.
    """

    def __init__(self, names: list[str], size: int, shrink: int = 1) -> None:
        super().__init__(names, size, sampling_ratio=SAMPLES)
        self.shrink = shrink
        self.side = size // shrink

    def forward(
        self,
        x: dict[str, torch.Tensor],
        boxes: list[torch.Tensor],
        image_shapes: list[tuple[int, int]],
    ) -> torch.Tensor:
        """Return (R, C, side, side) crops of the maps.

        Args:
            x: (B, C, H_i, W_i) by name.
            boxes: (R_b, 4) of each image, xyxy edges [px of the image].
            image_shapes: (height, width) of each image [px].
        """
        maps = [m for name, m in x.items() if name in self.featmap_names]
        if maps[0].device.type != 'cpu':
            crops = super().forward(x, boxes, image_shapes)
        else:
            if self.scales is None or self.map_levels is None:
                super().forward(x, [b[:0] for b in boxes], image_shapes)  # finds the scales
            assert self.scales is not None and self.map_levels is not None
            levels = self.map_levels(boxes) if len(maps) > 1 else torch.zeros(sum(map(len, boxes)))
            bins = self.output_size[0]
            crops = sparse_roi_align(
                maps, boxes, levels.long(), self.scales, bins, training=self.training
            )
        return crops if self.shrink == 1 else max_pool2d(crops, self.shrink)
