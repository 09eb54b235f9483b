"""The cells of a pyramid: where they lie, and boxes as distances to their four sides.

A distance is a distribution over whole numbers of strides, 0 to `bins`, whose mean is the distance
(Li et al. 2020, "Generalized Focal Loss", sec. 3.2).
"""

from __future__ import annotations

from functools import lru_cache

import torch

from synth_detect_ros.detectors.one_stage import is_traced


@lru_cache(maxsize=8)
@torch.inference_mode(mode=False)  # what is kept serves training, too
def cell_centres(
    grids: tuple[tuple[int, int], ...], strides: tuple[int, ...], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the centres of all cells and their strides; map by map, row by row.

    Args:
        grids: (height, width) of each map [cells].
        strides: of each map [px].
        device: of the results.

    Returns:
        (C, 2) float32 x, y in edge coordinates [px], and (C, 1) float32 strides [px].
    """
    centres, sides = [], []
    for (rows, columns), stride in zip(grids, strides, strict=True):
        y = (torch.arange(rows, device=device) + 0.5) * stride
        x = (torch.arange(columns, device=device) + 0.5) * stride
        grid = torch.stack(torch.meshgrid(x, y, indexing='xy'), dim=-1).reshape(-1, 2)
        centres.append(grid)
        sides.append(grid.new_full((len(grid), 1), stride))
    return torch.cat(centres), torch.cat(sides)


def distances(boxes: torch.Tensor, centres: torch.Tensor, strides: torch.Tensor) -> torch.Tensor:
    """Return how far the sides of boxes lie from the centres of cells, negative inwards.

    Args:
        boxes: (C, 4) xyxy edges [px].
        centres: (C, 2) of the cells [px].
        strides: (C, 1) of the cells [px].

    Returns:
        (C, 4) left, top, right, bottom [strides].
    """
    return torch.cat([centres - boxes[:, :2], boxes[:, 2:] - centres], dim=1) / strides


def decode(codes: torch.Tensor, centres: torch.Tensor, strides: torch.Tensor) -> torch.Tensor:
    """Return the boxes that cells predict.

    Args:
        codes: (..., C, 4 (bins + 1)) logits of the distances.
        centres: (C, 2) of the cells [px].
        strides: (C, 1) of the cells [px].

    Returns:
        (..., C, 4) xyxy edges [px].
    """
    logits = torch.unflatten(codes, -1, (4, int(codes.shape[-1]) // 4))
    values = torch.arange(logits.shape[-1], dtype=logits.dtype, device=logits.device)
    sides = (logits.softmax(dim=-1) * values).sum(dim=-1) * strides
    return torch.cat([centres - sides[..., :2], centres + sides[..., 2:]], dim=-1)


def best_scores(
    scores: torch.Tensor, threshold: float, count: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the best scores, the cell of each and its class, the best one first.

    Args:
        scores: (C, K) of the classes in each cell.
        threshold: least score that counts.
        count: how many are returned at most.

    Returns:
        (N,) scores, (N,) int64 cells and (N,) int64 classes from 0.
    """
    if is_traced():  # how many there are is not known before the threshold
        values, places = scores.flatten().topk(min(count, scores.numel()))
        places = places[values >= threshold]
        return values[values >= threshold], places // scores.shape[1], places % scores.shape[1]
    cells, classes = torch.nonzero(scores >= threshold, as_tuple=True)
    values, best = scores[cells, classes].topk(min(count, len(cells)))
    return values, cells[best], classes[best]
