"""RoIAlign as one product with a sparse matrix: on CPUs several times as fast as torchvision's.

Each pooled value is a fixed linear combination of 16 values of a feature map (He et al. 2017,
sec. 3: four bilinear samples a bin), so pooling all boxes from all maps is S @ F, and its gradient
S^T @ G. torchvision's backward pass on a CPU is a single-threaded scatter, channel by channel.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

# Samples a bin and axis.
SAMPLES = 2


def sparse_roi_align(
    maps: Sequence[torch.Tensor],
    boxes: Sequence[torch.Tensor],
    levels: torch.Tensor,
    scales: Sequence[float],
    bins: int,
    *,
    training: bool,
) -> torch.Tensor:
    """Return (R, C, bins, bins), the values that torchvision's `MultiScaleRoIAlign` returns.

    Args:
        maps: (B, C, H_i, W_i).
        boxes: (R_b, 4) of each image, xyxy edges [px of the image].
        levels: (R,) int64 index of the map of each box.
        scales: pixels of each map over those of the image.
        bins: on each side of a box.
        training: whether a gradient for the maps is needed.
    """
    columns, values = _taps(boxes, levels, maps, scales, bins)
    rows = torch.cat([m.permute(0, 2, 3, 1).flatten(0, 2) for m in maps]).float()
    # The backward pass of a sparse product does not know what autocast did to its inputs.
    with torch.autocast('cpu', enabled=False):
        crops = (_product if training else _bags)(columns, values, rows)
    return crops.view(-1, bins, bins, rows.shape[1]).permute(0, 3, 1, 2)


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
    boxes: Sequence[torch.Tensor],
    levels: torch.Tensor,
    maps: Sequence[torch.Tensor],
    scales: Sequence[float],
    bins: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the pixels that make each pooled value, (R * bins * bins, 16), and their weights.

    Pixels are counted through images, rows and columns of the first map, then of the next.
    """
    heights, widths = (torch.tensor([m.shape[axis] for m in maps]) for axis in (2, 3))
    pixels = torch.tensor([m.shape[0] * m.shape[2] * m.shape[3] for m in maps])
    first = torch.cumsum(pixels, 0) - pixels
    image = torch.repeat_interleave(torch.arange(len(boxes)), torch.tensor([*map(len, boxes)]))
    edges = torch.cat(list(boxes)).float() * torch.tensor(scales)[levels, None]
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
