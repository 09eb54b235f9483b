"""RoIAlign as one product with a sparse matrix: on CPUs several times as fast as torchvision's.

Each pooled value is a fixed linear combination of 16 values of a feature map (He et al. 2017,
sec. 3: four bilinear samples a bin), so pooling all boxes from all maps is S @ F, and its gradient
S^T @ G. torchvision's backward pass on a CPU is a single-threaded scatter, channel by channel.
"""

from __future__ import annotations

import torch
from torch.nn.functional import max_pool2d
from torchvision.ops import MultiScaleRoIAlign

# Samples a bin and axis.
SAMPLES = 2


class RoIPooling(MultiScaleRoIAlign):  # type: ignore[misc]  # torchvision is not typed
    """`MultiScaleRoIAlign` with two samples a bin and axis, the same values up to rounding.

    On a GPU torchvision's own operator runs, which is fast there.

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
        on_cpu = next(iter(x.values())).device.type == 'cpu'
        sample = self._sample if on_cpu else super().forward
        crops = sample(x, boxes, image_shapes)
        return crops if self.shrink == 1 else max_pool2d(crops, self.shrink)

    def _sample(
        self,
        x: dict[str, torch.Tensor],
        boxes: list[torch.Tensor],
        image_shapes: list[tuple[int, int]],
    ) -> torch.Tensor:
        """Return (R, C, size, size), the values `MultiScaleRoIAlign` returns."""
        maps = [m for name, m in x.items() if name in self.featmap_names]
        if self.scales is None or self.map_levels is None:
            super().forward(x, [b[:0] for b in boxes], image_shapes)  # finds the scales
        assert self.scales is not None and self.map_levels is not None
        levels = self.map_levels(boxes) if len(maps) > 1 else torch.zeros(sum(map(len, boxes)))
        columns, values = _taps(boxes, levels.long(), maps, self.scales, self.output_size[0])
        rows = torch.cat([m.permute(0, 2, 3, 1).flatten(0, 2) for m in maps]).float()
        size, channels = self.output_size[0], rows.shape[1]
        # The backward pass of a sparse product does not know what autocast did to its inputs.
        with torch.autocast('cpu', enabled=False):
            crops = (_product if self.training else _bags)(columns, values, rows)
        return crops.view(-1, size, size, channels).permute(0, 3, 1, 2)


def _product(columns: torch.Tensor, values: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Return (K, C) sums of rows, weighted, with a gradient for the rows.

    Args:
        columns: (K, 16) indices of rows.
        values: (K, 16) their weights.
        rows: (P, C).
    """
    count, taps = columns.shape
    first = torch.arange(count).repeat_interleave(taps)
    matrix = torch.sparse_coo_tensor(
        torch.stack([first, columns.flatten()]), values.flatten(), (count, len(rows)),
        check_invariants=False,
    )  # fmt: skip
    return torch.sparse.mm(matrix, rows)


def _bags(columns: torch.Tensor, values: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Return what `_product` returns, several times as fast, for inference."""
    return torch.nn.functional.embedding_bag(columns, rows, per_sample_weights=values, mode='sum')


def _taps(
    boxes: list[torch.Tensor],
    levels: torch.Tensor,
    maps: list[torch.Tensor],
    scales: list[float],
    bins: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the pixels that make each pooled value, (R * bins * bins, 16), and their weights.

    Pixels are counted through images, rows and columns of the first map, then of the next.
    """
    heights, widths = (torch.tensor([m.shape[axis] for m in maps]) for axis in (2, 3))
    pixels = torch.tensor([m.shape[0] * m.shape[2] * m.shape[3] for m in maps])
    first = torch.cumsum(pixels, 0) - pixels
    image = torch.repeat_interleave(torch.arange(len(boxes)), torch.tensor([*map(len, boxes)]))
    edges = torch.cat(boxes).float() * torch.tensor(scales)[levels, None]
    height, width = heights[levels], widths[levels]
    y, y_weight = _axis(edges[:, 1], edges[:, 3], height, bins)
    x, x_weight = _axis(edges[:, 0], edges[:, 2], width, bins)
    y = (first[levels] + image * height * width)[:, None, None] + y * width[:, None, None]
    columns = y[:, :, None, :, None] + x[:, None, :, None, :]
    values = y_weight[:, :, None, :, None] * x_weight[:, None, :, None, :]
    return columns.flatten(3).flatten(0, 2), values.flatten(3).flatten(0, 2)


def _axis(
    low: torch.Tensor, high: torch.Tensor, length: torch.Tensor, bins: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return indices and weights, (R, bins, 2 * SAMPLES), of linear interpolation on one axis.

    Args:
        low: (R,) first edge of each box [px of its map].
        high: (R,) last edge.
        length: (R,) pixels of its map on this axis.
        bins: of each box.
    """
    step = (high - low).clamp(min=1) / bins
    centres = (torch.arange(bins * SAMPLES) + 0.5) / SAMPLES
    place = low[:, None] + step[:, None] * centres
    last = (length - 1)[:, None]
    inside = (place >= -1) & (place <= length[:, None])
    place = place.clamp(min=torch.zeros_like(last), max=last)
    near = place.long()
    far = torch.minimum(near + 1, last)
    share = place - near
    weights = torch.stack([1 - share, share], -1) * inside[..., None] / SAMPLES
    shape = (-1, bins, 2 * SAMPLES)
    return torch.stack([near, far], -1).view(shape), weights.view(shape)
