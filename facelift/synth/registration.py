"""Non-rigid registration: one surface is bent onto another, and each of its vertices finds its place there.

Optimal-step non-rigid ICP (Amberg, Romdhani, Vetter, CVPR 2007) with a Laplacian of the displacements in
place of affine transformations: closest points with agreeing normals pull, the stiffness falls step by step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

Array = NDArray[np.float64]
Indices = NDArray[np.integer[Any]]

STIFFNESS = tuple(np.geomspace(300, 1, 25))
"""Weights of the Laplacian, from stiff to soft; one round of closest points each."""

LANDMARKS = 10.0
"""Weight of a landmark, where a closest point has 1."""

REACH = 0.04
"""How far a closest point may lie, of the target's size."""

CANDIDATES = 8
"""Triangles that are looked at for each closest point."""


@dataclass(frozen=True)
class Anchors:
    """Places on a triangle mesh.

    Attributes:
        triangles: (N,) rows of the mesh's triangles.
        weights: (N, 3) barycentric coordinates within them.
        valid: (N,) whether there is such a place for this point.
    """

    triangles: Indices
    weights: Array
    valid: NDArray[np.bool_]

    def interpolate(self, values: NDArray[Any], corners: Indices) -> Array:
        """Values (V, C) of the mesh's vertices at each place (N, C); `corners` (T, 3) are its triangles."""
        return np.asarray((values[corners[self.triangles]] * self.weights[..., None]).sum(axis=1))


def similarity(source: Array, target: Array) -> tuple[float, Array, Array]:
    """Scale, rotation (3, 3) and shift (3,) that bring source (N, 3) closest to target (N, 3).

    `target = scale * source @ rotation.T + shift`; Umeyama, PAMI 1991.
    """
    a, b = source - source.mean(axis=0), target - target.mean(axis=0)
    u, s, vt = np.linalg.svd(b.T @ a)
    signs = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * signs) @ vt
    scale = float((s * signs).sum() / (a**2).sum())
    return scale, rotation, target.mean(axis=0) - scale * rotation @ source.mean(axis=0)


def laplacian(corners: Indices, count: int) -> sparse.csr_matrix:
    """(V, V) each vertex less the mean of its neighbours; zero where there are none."""
    i, j = np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]]).T
    edges = sparse.coo_matrix((np.ones(len(i)), (i, j)), (count, count))
    edges = ((edges + edges.T) > 0).astype(np.float64)
    degree = np.asarray(edges.sum(axis=1)).ravel()
    mean = sparse.diags(1 / np.maximum(degree, 1)) @ edges
    return sparse.csr_matrix(sparse.diags((degree > 0).astype(np.float64)) - mean)


def normals(vertices: Array, corners: Indices) -> Array:
    """Unit vertex normals (V, 3), weighted by area."""
    a, b, c = (vertices[corners[:, k]] for k in range(3))
    flat = np.cross(b - a, c - a)
    out = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(out, corners[:, k], flat)
    return np.asarray(out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12))


def closest(
    points: Array, facing: Array, vertices: Array, corners: Indices, reach: float, agree: float = 0.5
) -> tuple[Array, Anchors]:
    """For each point (N, 3) the nearest place on a mesh that faces as the point does, and where it is.

    A place is invalid farther away than `reach`, and on an open edge of the mesh: what has no counterpart
    there would gather at its rim.

    Args:
        points: (N, 3).
        facing: (N, 3) unit normals of the points.
        vertices: (V, 3) of the mesh.
        corners: (T, 3) its triangles.
        reach: in the points' unit.
        agree: least cosine between a point's normal and the triangle's.
    """
    triangles = vertices[corners]
    flat = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
    # Normals in the tree's metric find triangles that face the right way first.
    lift = reach / 2
    tree = cKDTree(np.hstack([triangles.mean(axis=1), lift * flat]))
    _, near = tree.query(
        np.hstack([points, lift * facing]), k=np.arange(1, min(CANDIDATES, len(corners)) + 1)
    )
    weights = _barycentric(points[:, None], triangles[near])
    places = (weights[..., None] * triangles[near]).sum(axis=2)
    distance = np.linalg.norm(places - points[:, None], axis=2)
    distance[(facing[:, None] * flat[near]).sum(axis=2) < agree] = np.inf
    best = distance.argmin(axis=1)
    row = np.arange(len(points))
    chosen, weight = near[row, best], weights[row, best]
    on_rim = (open_edges(corners)[chosen] & (weight < 1e-9)).any(axis=1)
    valid = (distance[row, best] < reach) & ~on_rim
    return places[row, best], Anchors(chosen, weight, valid)


def open_edges(corners: Indices) -> NDArray[np.bool_]:
    """(T, 3) whether the edge opposite each corner belongs to one triangle only."""
    edges = np.sort(np.stack([corners[:, [1, 2]], corners[:, [2, 0]], corners[:, [0, 1]]], axis=1), axis=2)
    _, inverse, counts = np.unique(edges.reshape(-1, 2), axis=0, return_inverse=True, return_counts=True)
    return np.asarray(counts[inverse.reshape(-1)].reshape(-1, 3) == 1)


def _barycentric(points: Array, triangles: Array) -> Array:
    """(..., 3) coordinates of the place of a triangle (..., 3, 3) that is nearest to a point (..., 3)."""
    a, b, c = (triangles[..., k, :] for k in range(3))
    ab, ac, ap = b - a, c - a, points - a

    def dot(x: Array, y: Array) -> Array:
        return np.asarray((x * y).sum(axis=-1))

    aa, bb, cc = dot(ab, ab), dot(ab, ac), dot(ac, ac)
    d, e = dot(ap, ab), dot(ap, ac)
    area = np.maximum(aa * cc - bb**2, 1e-18)
    v, w = (cc * d - bb * e) / area, (aa * e - bb * d) / area
    inside = np.stack([1 - v - w, v, w], axis=-1)

    def on_edge(start: Array, along: Array, first: int, second: int) -> Array:
        t = (dot(points - start, along) / np.maximum(dot(along, along), 1e-18)).clip(0, 1)
        out = np.zeros_like(inside)
        out[..., first], out[..., second] = 1 - t, t
        return out

    edges = np.stack([on_edge(a, ab, 0, 1), on_edge(b, c - b, 1, 2), on_edge(c, a - c, 2, 0)])
    places = (edges[..., None] * triangles).sum(axis=-2)
    nearest = np.linalg.norm(places - points, axis=-1).argmin(axis=0)
    outer = np.take_along_axis(edges, nearest[None, ..., None], axis=0)[0]
    return np.where((inside >= 0).all(axis=-1, keepdims=True), inside, outer)


def register(
    vertices: Array,
    corners: Indices,
    target: Array,
    target_corners: Indices,
    pairs: tuple[Indices, Array],
    inside: NDArray[np.bool_],
) -> Array:
    """Bend a mesh onto a target that it already lies near to.

    Args:
        vertices: (V, 3).
        corners: (T, 3) triangles of them.
        target: (W, 3) vertices of the other mesh.
        target_corners: (U, 3) triangles of it.
        pairs: rows of `vertices` that are landmarks, and where on the target they belong (L, 3).
        inside: (V,) vertices that no closest point pulls, such as those of a mouth's inside.

    Returns:
        (V, 3) the vertices on the target.
    """
    reach = REACH * float(np.ptp(target, axis=0).max())
    bend = laplacian(corners, len(vertices))
    bend = (bend.T @ bend).tocsc()
    rows, places = pairs
    moved = np.zeros_like(vertices)
    for stiffness in STIFFNESS:
        now = vertices + moved
        found, anchors = closest(now, normals(now, corners), target, target_corners, reach)
        pull = (anchors.valid & ~inside).astype(np.float64)
        wanted = pull[:, None] * (found - vertices)
        # Points that a person chose are right to some millimetres: they lead, and let go.
        lead = LANDMARKS * (stiffness / STIFFNESS[0]) ** 0.5
        pull[rows] += lead
        wanted[rows] += lead * (places - vertices[rows])
        system = (sparse.diags(pull + 1e-9) + stiffness * bend).tocsc()
        moved = splu(system).solve(wanted)
    return vertices + moved
