"""The surface of a person, skin and clothes, as what hair lies on."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from facelift.synth import regions
from facelift.synth.assets import Assets
from facelift.synth.meshes import smooth_normals, triangles
from facelift.synth.scene import Floats, Ints

LOWEST, WIDEST = 3.4, 2.6
"""On the base mesh: height above which and distance from the middle within which there is a surface."""

NEAREST = 4
"""Vertices that say how far a place is from the surface."""


class Surface:
    """Signed distances from head, neck, shoulders and clothes; the ears are left out, hair lies over them.

    Args:
        body: (19158, 3) the base mesh as the person holds it.
        clothes: (V, 3) what is worn over it.
        corners: (T, 3) triangles of the clothes.
        assets: MakeHuman's.
    """

    def __init__(self, body: Floats, clothes: Floats, corners: Ints, assets: Assets) -> None:
        members = assets.cached("surface", lambda: _members(assets))
        normals = smooth_normals(body, triangles(assets.base.faces[assets.base.groups["body"]]))
        skin, out = body[members], normals[members]
        # Cloth has an inner side, and collars fold: what faces the skin is no outside.
        low, high = skin.min(axis=0) - 0.3, skin.max(axis=0) + 0.3
        near = ((clothes > low) & (clothes < high)).all(axis=1)
        cloth, facing = clothes[near], smooth_normals(clothes, corners)[near]
        if len(cloth):
            _, nearest = cKDTree(skin).query(cloth)
            outer = (facing * out[nearest]).sum(axis=1) > 0.3
            skin, out = np.concatenate([skin, cloth[outer]]), np.concatenate([out, facing[outer]])
        self._points, self._normals = skin, out
        self._tree = cKDTree(skin)

    def distance(self, places: Floats) -> tuple[Floats, Floats]:
        """(N,) how far places (N, 3) are outside, below 0 within, and (N, 3) unit directions out."""
        apart, nearest = self._tree.query(places, k=NEAREST)
        weight = 1 / (apart + 0.03) ** 2
        weight /= weight.sum(axis=1, keepdims=True)
        out = (weight[..., None] * self._normals[nearest]).sum(axis=1)
        out /= np.linalg.norm(out, axis=1, keepdims=True).clip(1e-6)
        point = (weight[..., None] * self._points[nearest]).sum(axis=1)
        return ((places - point) * out).sum(axis=1).astype(np.float32), out.astype(np.float32)


def _members(assets: Assets) -> Ints:
    members = assets.base.members("body")
    p = assets.base.vertices[members]
    near = (p[:, 1] > LOWEST) & (np.abs(p[:, 0]) < WIDEST)
    return np.asarray(members[near & ~regions.inside(p) & (regions.ear(p) < 0.3)], np.int32)
