"""Half-edge collapses of a surface: which leave no crack, which can be made at the same time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synth_detect_ros.rendering.meshes.surface import triangle_normals, twice_area

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# Rounds in which independent collapses are chosen; few are left out after these.
TURNS = 4
# Least cosine between the normals of a triangle before and after a collapse.
LEAST_COSINE = 0.3


@dataclass(frozen=True, eq=False)
class Surface:
    """Triangles over vertices.

    Attributes:
        faces: (F, 3) vertex numbers.
        point: (V,) number of the position of each vertex; vertices on a seam share it.
        position: (V, 3) [m].
        chart: (V, 2) texture coordinates; not a number where there is no texture.
        colour: (V, 3) RGB, 0..255.
    """

    faces: Ints
    point: Ints
    position: Floats
    chart: Floats
    colour: Floats

    @property
    def points(self) -> int:
        """How many positions there are."""
        return int(self.point.max()) + 1


@dataclass(frozen=True, eq=False)
class Edges:
    """Directed edges between points, in the order of their keys.

    Attributes:
        key: p * (number of points) + q.
        p: (E,) first point.
        q: (E,) second point.
        start: (E, 2) vertices at p in the first and the last triangle on the edge.
        end: (E, 2) vertices at q.
        free: (E,) whether p can move along the edge and leave no crack.
    """

    key: Ints
    p: Ints
    q: Ints
    start: Ints
    end: Ints
    free: Bools

    @classmethod
    def of(cls, faces: Ints, surface: Surface) -> Edges:
        """Return the edges of triangles (F, 3) over the vertices of a surface."""
        point, points = surface.point, surface.points
        start = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1)
        end = faces[:, [1, 0, 2, 1, 0, 2]].reshape(-1)
        keys = point[start] * points + point[end]
        order = np.argsort(keys, kind='stable')
        first = np.flatnonzero(np.diff(keys[order], prepend=-1))
        count = np.diff(first, append=len(order))
        rows = np.stack([order[first], order[first + count - 1]], axis=1)
        key = keys[rows[:, 0]]
        p, q = key // points, key % points
        start, end = start[rows], end[rows]
        # A point on a border moves along the border, a point on a seam along the seam.
        vertices = np.bincount(point[np.unique(faces)], minlength=points)[p]
        borders = np.bincount(p, count == 1, points)[p]
        tangled = np.bincount(p, count > 2, points)[p] > 0
        one = (start[:, 0] == start[:, 1]) & (end[:, 0] == end[:, 1]) & (vertices == 1)
        two = (start[:, 0] != start[:, 1]) & (vertices == 2)
        along = np.where(count == 1, borders == 2, borders == 0)
        free = (one | two) & along & ~tangled
        return cls(key, p, q, start, end, free)


@dataclass(frozen=True, eq=False)
class Stars:
    """The triangles around points p that move onto q, a row for each; names as in `Edges`.

    Attributes:
        owner: number of the collapse.
        face: number of the triangle.
        vertex: its vertex that moves.
        after: (R, 3) the triangle after the collapse.
        stays: whether it is a triangle then.
    """

    owner: Ints
    face: Ints
    vertex: Ints
    after: Ints
    stays: Bools

    @classmethod
    def around(cls, chosen: Ints, edges: Edges, faces: Ints, surface: Surface) -> Stars:
        """Return the stars of the edges (N,) that are chosen, among triangles (F, 3)."""
        point = surface.point[faces]
        number = np.full(surface.points, -1)
        number[edges.p[chosen]] = np.arange(len(chosen))
        face, corner = np.nonzero(number[point] >= 0)
        owner = number[point[face, corner]]
        after = faces[face]
        vertex = after[np.arange(len(face)), corner]
        edge = chosen[owner]
        side = (vertex != edges.start[edge, 0]).astype(np.int64)
        after[np.arange(len(face)), corner] = edges.end[edge, side]
        stays = (point[face] != edges.q[edge, None]).all(axis=1)
        return cls(owner, face, vertex, after, stays)

    def without(self, bad: Bools) -> Stars:
        """Return the stars of the other collapses, numbered as these are."""
        good, number = ~bad[self.owner], np.cumsum(~bad) - 1
        owner = number[self.owner[good]]
        rows = self.face[good], self.vertex[good], self.after[good], self.stays[good]
        return Stars(owner, *rows)


def illegal_collapses(
    chosen: Ints, stars: Stars, edges: Edges, faces: Ints, surface: Surface
) -> Bools:
    """Return which collapses flip a triangle, in space or chart, or break the link condition.

    The ends of an edge must have no neighbours in common but the tips of its triangles.
    Source: Dey, Edelsbrunner, Guha & Nekhayev 1999, "Topology preserving edge contraction".
    """
    position, chart, points = surface.position, surface.chart, surface.points
    before = faces[stars.face]
    turn = (triangle_normals(position[before]) * triangle_normals(position[stars.after])).sum(
        axis=1
    )
    over = twice_area(chart[before]) * twice_area(chart[stars.after]) <= 0
    wrong = stars.stays & ((turn < LEAST_COSINE) | over)
    tips = surface.point[before]
    keys = tips * points + edges.q[chosen[stars.owner], None]
    both = edges.key[np.searchsorted(edges.key, keys).clip(max=len(edges.key) - 1)] == keys
    common = np.unique((stars.owner[:, None] * points + tips)[both])
    size = len(chosen)
    shared = np.bincount(common // points, minlength=size) - 1  # p itself
    gone = np.bincount(stars.owner, ~stars.stays, size)
    return (shared != gone) | (np.bincount(stars.owner, wrong, size) > 0)


def independent(stars: Stars, collapses: int, faces: int) -> Bools:
    """Return a set of collapses that share no triangle, the cheapest first."""
    chosen, waiting = np.zeros(collapses, np.bool_), np.ones(collapses, np.bool_)
    taken = np.zeros(faces, np.bool_)
    for _ in range(TURNS):
        rows = waiting[stars.owner]
        cheapest = np.full(faces, collapses)
        np.minimum.at(cheapest, stars.face[rows], stars.owner[rows])
        lost = np.bincount(stars.owner, cheapest[stars.face] != stars.owner, collapses) > 0
        chosen |= waiting & ~lost
        taken[stars.face[chosen[stars.owner]]] = True
        waiting &= np.bincount(stars.owner, taken[stars.face], collapses) == 0
    return chosen
