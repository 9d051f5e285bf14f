"""How large a person's skull is, in every direction from its middle."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from facelift.synth import regions
from facelift.synth.assets import Assets
from facelift.synth.groom import to_base
from facelift.synth.scene import Floats, Ints

CENTRE = np.array([0, 7.45, 0.4], np.float32)
"""The middle of the skull on the base mesh."""

ABOVE = 6.55
"""Lowest height on the base mesh that counts as skull and nape."""


class Skull:
    """How far a person's skin is from the middle of the skull, in every direction."""

    def __init__(self, body: Floats, assets: Assets) -> None:
        self.centre = np.array([*CENTRE, 1.0], np.float32) @ to_base(body, assets)
        away = body[assets.cached("skull", lambda: _skull(assets))] - self.centre
        self._radii = np.linalg.norm(away, axis=1)
        self._tree = cKDTree(away / self._radii[:, None])

    def radius(self, directions: Floats) -> Floats:
        """(N,) distance to the skin in unit directions (N, 3)."""
        apart, nearest = self._tree.query(directions, k=4)
        weight = 1 / (apart + 0.02) ** 2
        return np.asarray((weight * self._radii[nearest]).sum(axis=1) / weight.sum(axis=1), np.float32)


def _skull(assets: Assets) -> Ints:
    """Vertices of skull, face and nape, without the ears."""
    members = assets.base.members("body")
    p = assets.base.vertices[members]
    kept = (p[:, 1] > ABOVE) & ~regions.inside(p) & (regions.ear(p) == 0)
    return np.asarray(members[kept], np.int32)
