"""Fewer triangles for a surface, by half-edge collapses whose error is measured as they are made.

A vertex moves onto a neighbour, which keeps what belongs to it: position, texture coordinate and
colour. Quadrics (Garland & Heckbert 1997) say which collapse is cheap. What it costs is measured
on samples of the original surface, its vertices and the middles of long edges: each keeps its
texture coordinate, and its error is the distance to where the simplified surface shows that
coordinate (texture deviation, Cohen, Olano & Manocha 1998). So one length bounds the shift of the
outline and the shift of the texture. Where there is no texture, the distance to the surface
counts. Many collapses that share no triangle are made at once, so that NumPy does the state.

A vertex here is a point of the surface as one chart of the texture has it: a point on a texture
seam has several. All vertices of a point move along one edge or none does, therefore seams stay
closed, and borders and colour borders stay where they are within the error.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from synth_detect_ros.rendering.meshes.collapses import (
    Bools,
    Edges,
    Floats,
    Ints,
    Stars,
    Surface,
    illegal_collapses,
    independent,
)
from synth_detect_ros.rendering.meshes.surface import triangle_normals, twice_area

# Error limits rise in steps of this ratio; within a step the cheapest collapses come first.
STEP = 1.35
# First limit over the last.
START = 0.03
# A step ends when a round collapses less than this share of the points.
LEAST_GAIN = 0.1
# Grey levels by which the colour of a point may change.
COLOUR_TOLERANCE = 6.0
# The middle of an edge is a sample when it is longer than this many error limits.
LONG = 2.0


def simplify(surface: Surface, limit: float) -> Iterator[tuple[Ints, float]]:
    """Yield ever coarser triangles (F, 3) over the same vertices, and their error so far [m].

    Args:
        surface: what is simplified.
        limit: largest error [m].
    """
    state = _Simplification(surface, limit)
    for step in limit * STEP ** np.arange(np.ceil(np.log(START) / np.log(STEP)), 1):
        refused = np.zeros(0, np.int64)
        while True:
            edges = Edges.of(state.faces, surface)
            cheapest = state.cheapest(edges, float(step), refused)
            done, failed = state.collapse(cheapest, edges, float(step))
            refused = np.concatenate([refused, failed])
            if done + len(failed) <= LEAST_GAIN * len(np.unique(edges.p)):
                break
        yield state.faces, float(state.error.max(initial=0.0))


class _Simplification:
    """The simplified surface, and where on it samples of the original one are.

    Attributes:
        faces: (F, 3) vertex numbers.
        error: of each sample [m].
    """

    def __init__(self, surface: Surface, limit: float) -> None:
        self.faces = surface.faces
        self._surface = surface
        count = len(surface.position)
        pairs = np.sort(surface.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
        keys, first = np.unique(pairs[:, 0] * count + pairs[:, 1], return_index=True)
        ends = np.stack([keys // count, keys % count], axis=1)
        length = np.linalg.norm(np.diff(surface.position[ends], axis=1)[:, 0], axis=1)
        ends, first = ends[length > LONG * limit], first[length > LONG * limit]
        used, corner = np.unique(surface.faces, return_index=True)
        # Of each sample: the triangle it is on, place, texture and colour.
        self._face = np.concatenate([corner, first]) // 3
        self._place, self._chart, self._colour = (
            np.concatenate([values[used], values[ends].mean(axis=1)])
            for values in (surface.position, surface.chart, surface.colour)
        )
        self.error = np.zeros(len(self._face))
        self._quadrics = self._plane_quadrics()

    def _plane_quadrics(self) -> Floats:
        """Return the quadric (P, 4, 4) of each point: squared distances to its planes, summed."""
        normal = triangle_normals(self._surface.position[self.faces])
        offset = -(normal * self._surface.position[self.faces[:, 0]]).sum(axis=1, keepdims=True)
        plane = np.hstack([normal, offset])
        quadrics = np.zeros((self._surface.points, 4, 4))
        for column in self._surface.point[self.faces].T:
            np.add.at(quadrics, column, plane[:, :, None] * plane[:, None, :])
        return quadrics

    def cheapest(self, edges: Edges, limit: float, refused: Ints) -> Ints:
        """Return for each point the edge along which it moves at the lowest cost, cheapest first.

        Args:
            edges: all there are.
            limit: largest mean distance to the planes around the point [m].
            refused: keys of edges that are left out.
        """
        rows = np.flatnonzero(edges.free & ~np.isin(edges.key, refused))
        p = edges.p[rows]
        place = np.ones((len(rows), 4))
        place[:, :3] = self._surface.position[edges.end[rows, 0]]
        quadric = self._quadrics[p]
        cost = np.einsum('ni,nij,nj->n', place, quadric, place)
        cost /= np.maximum(np.trace(quadric[:, :3, :3], axis1=1, axis2=2), 1)
        rows, cost = rows[cost <= limit**2], cost[cost <= limit**2]
        rows = rows[np.argsort(cost, kind='stable')]
        return rows[np.sort(np.unique(edges.p[rows], return_index=True)[1])]

    def collapse(self, chosen: Ints, edges: Edges, limit: float) -> tuple[int, Ints]:
        """Collapse those of the chosen edges (N,) that share no triangle and keep the limit.

        Returns:
            How many were collapsed, and the keys of those that cannot be.
        """
        stars = Stars.around(chosen, edges, self.faces, self._surface)
        illegal = illegal_collapses(chosen, stars, edges, self.faces, self._surface)
        failed = chosen[illegal]
        chosen, stars = chosen[~illegal], stars.without(illegal)
        crossing = ~independent(stars, len(chosen), len(self.faces))
        chosen, stars = chosen[~crossing], stars.without(crossing)
        far = self._follow(stars, len(chosen), limit)
        failed = np.concatenate([failed, chosen[far]])
        chosen, stars = chosen[~far], stars.without(far)
        self._apply(chosen, edges, stars)
        return len(chosen), edges.key[failed]

    def _follow(self, stars: Stars, size: int, limit: float) -> Bools:
        """Move the samples on the stars of `size` collapses; return which collapses shift too far.

        Those that do keep their samples where they are.
        """
        row = np.full(len(self.faces), -1)
        row[stars.face] = np.arange(len(stars.face))
        sample = np.flatnonzero(row[self._face] >= 0)
        vertex, owner = stars.vertex[row[self._face[sample]]], stars.owner[row[self._face[sample]]]
        # A sample stays in its chart: it goes to a triangle that had the same vertex.
        stays = np.flatnonzero(stars.stays)
        stays = stays[np.argsort(stars.vertex[stays], kind='stable')]
        low = np.searchsorted(stars.vertex[stays], vertex, 'left')
        high = np.searchsorted(stars.vertex[stays], vertex, 'right')
        lost = high == low
        bad = np.bincount(owner[lost], minlength=size) > 0
        sample, owner, low, count = (x[~lost] for x in (sample, owner, low, high - low))
        number = np.repeat(np.arange(len(sample)), count)
        begin = np.cumsum(count) - count
        pair = stays[np.arange(len(number)) + np.repeat(low - begin, count)]
        weights = self._weights(sample[number], stars.after[pair])
        inside = np.nan_to_num(weights.min(axis=1), nan=-np.inf)
        order = np.lexsort((-inside, number))[begin]
        error = self._deviation(sample, stars.after[pair[order]], weights[order])
        bad |= np.bincount(owner[~(error <= limit)], minlength=size) > 0
        good = ~bad[owner]
        self._face[sample[good]] = stars.face[pair[order]][good]
        self.error[sample[good]] = error[good]
        return bad

    def _weights(self, sample: Ints, triangles: Ints) -> Floats:
        """Return the coordinates (N, 3) of samples (N,) in triangles, by texture or else place."""
        surface = self._surface
        weights = _barycentric(self._chart[sample], surface.chart[triangles])
        bare = np.isnan(self._chart[sample, 0])
        place, corners = self._place[sample[bare]], surface.position[triangles[bare]]
        weights[bare] = _barycentric(place, corners)
        return weights

    def _deviation(self, sample: Ints, triangles: Ints, weights: Floats) -> Floats:
        """Return how far samples (N,) are from where triangles (N, 3) show them [m]."""
        surface = self._surface
        weights = weights.clip(min=0)
        weights /= weights.sum(axis=1, keepdims=True)
        place, chart, colour = (
            np.einsum('ni,nij->nj', weights, values[triangles])
            for values in (surface.position, surface.chart, surface.colour)
        )
        # Where the texture of a sample is no longer shown, the nearest that is.
        areas = twice_area(surface.position[triangles]), twice_area(surface.chart[triangles])
        with np.errstate(divide='ignore', invalid='ignore'):
            scale = np.sqrt(areas[0] / np.abs(areas[1]))
        shift = scale * np.linalg.norm(chart - self._chart[sample], axis=1)
        error = np.linalg.norm(place - self._place[sample], axis=1)
        error += np.where(np.isnan(self._chart[sample, 0]), 0, shift)
        changed = np.abs(colour - self._colour[sample]).max(axis=1) > COLOUR_TOLERANCE
        return np.where(changed, np.inf, error)

    def _apply(self, chosen: Ints, edges: Edges, stars: Stars) -> None:
        moved = np.arange(len(self._surface.position))
        moved[edges.start[chosen]] = edges.end[chosen]
        keep = np.ones(len(self.faces), np.bool_)
        keep[stars.face[~stars.stays]] = False
        self.faces = moved[self.faces][keep]
        self._face = (np.cumsum(keep) - 1)[self._face]
        np.add.at(self._quadrics, edges.q[chosen], self._quadrics[edges.p[chosen]])


def _barycentric(points: Floats, corners: Floats) -> Floats:
    """Return the coordinates (N, 3) of points (N, d) in triangles (N, 3, d).

    Source: Ericson 2004, Real-Time Collision Detection, sec. 3.4.
    """
    a, b, x = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0], points - corners[:, 0]
    aa, ab, bb, xa, xb = ((u * v).sum(axis=1) for u, v in ((a, a), (a, b), (b, b), (x, a), (x, b)))
    with np.errstate(divide='ignore', invalid='ignore'):
        v, w = np.stack([bb * xa - ab * xb, aa * xb - ab * xa]) / (aa * bb - ab * ab)
    return np.stack([1 - v - w, v, w], axis=1)
