"""Triangle soup to surface: what can be known from the corners of triangles alone.

CAD exporters and scanners split vertices as they like, so that only positions count here. Corners
are (3F, 3) arrays: three rows a face.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.geometry.poses import icosphere

# Faces that bend by more than this meet in a visible edge.
CREASE_DEG = 40.0
# Faces around a point beyond which they are not compared one by one, and pairs that always are.
MANY_FACES, FEW_PAIRS = 256, 4096

Points = NDArray[np.float64]
Ints = NDArray[np.int64]


def diameter_of(points: NDArray[np.floating[Any]]) -> float:
    """Return the largest distance between two of (N, 3) points.

    Only the points that lie farthest in one of 642 directions are compared: the ends of a
    diameter are, up to the 4 deg between directions, among them (error below 0.1 %).
    """
    ends = np.unique([np.argmax(points @ direction) for direction in icosphere(3)])
    hull = points[ends].astype(np.float64)
    return float(np.sqrt(((hull[:, None] - hull[None]) ** 2).sum(axis=2).max()))


def hull_of(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return those of (N, 3) points that are corners of their convex hull; all if that is flat."""
    from scipy.spatial import ConvexHull, QhullError  # noqa: PLC0415  slow to import

    try:
        return points[ConvexHull(points).vertices]
    except QhullError:
        return points


def corner_normals(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the normals (3F, 3) of triangle corners (3F, 3): smooth, but sharp at creases.

    A corner averages the faces around its point that bend by less than a crease, by area.
    """
    a, b, c = positions[0::3], positions[1::3], positions[2::3]
    point = point_numbers(positions)
    order = np.argsort(point, kind='stable')
    point = point[order]
    weighted = np.repeat(np.asarray(np.cross(b - a, c - a), np.float64), 3, axis=0)[order]
    flat, total = _unit(weighted), weighted.copy()
    faces = np.bincount(point)
    few = np.flatnonzero(faces[point] <= MANY_FACES)
    for step in range(1, min(int(faces.max(initial=0)), MANY_FACES)):
        i, j = few[:-step], few[step:]
        same = point[i] == point[j]
        i, j = i[same], j[same]
        smooth = (flat[i] * flat[j]).sum(axis=1) > np.cos(np.deg2rad(CREASE_DEG))
        total[i[smooth]] += weighted[j[smooth]]
        total[j[smooth]] += weighted[i[smooth]]
    for number in np.flatnonzero(faces > MANY_FACES):
        around = np.arange(*np.searchsorted(point, [number, number + 1]))
        total[around] = 0
        _add_smooth(total, weighted, flat, around, around)
    normals = np.empty_like(total)
    normals[order] = _unit(total)
    return normals


def _add_smooth(total: Points, weighted: Points, flat: Points, to: Ints, of: Ints) -> None:
    """Add to `total` of each face in `to` what `weighted` is of those in `of` that bend little.

    Faces are taken in groups of like normals: two groups that bend little, or much, as a whole are
    done at once, others are halved. So a fan of n faces takes about n log n steps.

    Args:
        total: (N, 3) sums, changed in place.
        weighted: (N, 3) normals as long as twice the area of their faces.
        flat: (N, 3) unit normals.
        to: (K,) numbers of faces.
        of: (L,) numbers of faces.
    """
    if len(to) * len(of) <= FEW_PAIRS:
        total[to] += _bend_little(flat[to], flat[of]) @ weighted[of]
        return
    limit = 2 * np.sin(np.deg2rad(CREASE_DEG) / 2)  # a chord between unit normals
    (middle_to, reach_to), (middle_of, reach_of) = _ball(flat[to]), _ball(flat[of])
    distance, reach = np.linalg.norm(middle_to - middle_of), reach_to + reach_of
    if distance + reach < limit:
        total[to] += weighted[of].sum(axis=0)
    elif distance - reach <= limit and reach_to * len(to) > reach_of * len(of):
        for half in _halves(flat, to):
            _add_smooth(total, weighted, flat, half, of)
    elif distance - reach <= limit:
        for half in _halves(flat, of):
            _add_smooth(total, weighted, flat, to, half)


def _ball(points: Points) -> tuple[Points, float]:
    """Return middle (3,) and radius of a ball that holds all points (N, 3)."""
    middle = points.mean(axis=0)
    return middle, float(np.linalg.norm(points - middle, axis=1).max())


def _bend_little(a: Points, b: Points) -> NDArray[np.bool_]:
    """Return (K, L) whether the bend between unit normals (K, 3) and (L, 3) is no crease."""
    return np.asarray(a @ b.T > np.cos(np.deg2rad(CREASE_DEG)))


def _halves(flat: Points, faces: Ints) -> tuple[Ints, Ints]:
    """Split numbers of faces in the middle of the axis along which their normals differ most."""
    axis = int(np.ptp(flat[faces], axis=0).argmax())
    ordered = faces[np.argpartition(flat[faces, axis], len(faces) // 2)]
    return ordered[: len(faces) // 2], ordered[len(faces) // 2 :]


def is_closed(corners: NDArray[np.float64]) -> bool:
    """Whether triangle corners (3F, 3) bound solids and all faces look outward.

    Every edge must be run through as often in one direction as in the other, and every connected
    part must have a positive volume.
    """
    from scipy.sparse import coo_array  # noqa: PLC0415  slow to import, see `_read_geometries`
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415

    point = point_numbers(corners)
    count = int(point.max()) + 1
    faces = point.reshape(-1, 3)
    start, end = point, np.roll(faces, -1, axis=1).reshape(-1)
    real = start != end
    edges = coo_array((np.ones(real.sum()), (start[real], end[real])), (count, count)).tocsr()
    if (edges != edges.T).nnz:
        return False
    parts, part = connected_components(edges, directed=False)
    a, b, c = (corners - corners.mean(axis=0)).reshape(-1, 3, 3).transpose(1, 0, 2)
    volumes = np.bincount(part[faces[:, 0]], np.einsum('ij,ij->i', a, np.cross(b, c)), parts)
    return bool((volumes[np.unique(part[faces[:, 0]])] > 0).all())


def point_numbers(corners: NDArray[np.float64]) -> NDArray[np.int64]:
    """Number the distinct positions of (N, 3) corners; what texture seams split is one again."""
    step = 1e-6 * max(float(np.ptp(corners, axis=0).max()), 1e-12)  # 1e-6 of the object's size
    return distinct_rows(np.rint(corners / step).astype(np.int64))[1]


def distinct_rows(rows: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first index of each distinct row and, for each row, which of them it is."""
    # Rows compared as bytes, faster than np.unique(axis=0); + 0 makes -0.0 equal 0.0.
    table = np.ascontiguousarray(rows + rows.dtype.type(0))
    raw = table.view(np.dtype((np.void, table.itemsize * table.shape[1]))).reshape(-1)
    _, first, inverse = np.unique(raw, return_index=True, return_inverse=True)
    return first, inverse.reshape(-1)


def triangle_normals(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the unit normals of triangles (F, 3, 3); zero where there is none."""
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    return np.asarray(normal / np.where(length > 0, length, 1), np.float64)


def twice_area(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return twice the area of triangles (F, 3, 2 or 3), signed in the plane."""
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    if corners.shape[2] == 2:
        return np.asarray(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0], np.float64)
    return np.linalg.norm(np.cross(a, b), axis=1)


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(norm > 0, vectors / np.where(norm > 0, norm, 1), [0.0, 0.0, 1.0])
