"""Keeps lids before eyeballs, the pockets of skin behind the lids, and lashes on them.

Scans and sliders move all three, each a little otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from facelift.synth.assets import Assets
from facelift.synth.meshes import smooth_normals, triangles
from facelift.synth.scene import Floats, Ints

# In radii of the ball that the eye hangs on; the eye that is seen has 1.07.
LID, POCKET = 1.13, 1.09

LIDS_REACH, POCKET_REACH = 2.2, 1.28
"""What is farther from the middle of the ball on the base mesh, in radii, is neither."""


def fit_lids(body: Floats, assets: Assets) -> None:
    """Move the skin and the lashes about both eyes (19158, 3), in place.

    No lid comes nearer to the eye than LID, or than it is on the base mesh, and no pocket farther away than
    POCKET.
    """
    for eye in assets.cached("eyelids", lambda: [_Eye.of(assets, side) for side in "lr"]):
        center, radius = _sphere(body, eye.ball)
        before = body[eye.lids].copy()
        for rows, low, high in ((eye.lids, eye.nearest, np.inf), (eye.pocket, 0.0, POCKET)):
            away = body[rows] - center
            distance = np.linalg.norm(away, axis=1) / radius
            body[rows] = center + (distance.clip(low, high) / distance.clip(1e-6))[:, None] * away
        body[eye.lashes] += (body[eye.lids] - before)[eye.leaders].mean(axis=1)


@dataclass(frozen=True)
class _Eye:
    """What is about one eye, as rows of the base mesh.

    Attributes:
        ball: what the eye hangs on.
        lids, nearest: and how near each may come to the middle of the ball, in radii.
        pocket: skin behind the lids, which faces the ball.
        lashes, leaders: and the lids that each follows, (L, 3), as rows of `lids`.
    """

    ball: Ints
    lids: Ints
    nearest: Floats
    pocket: Ints
    lashes: Ints
    leaders: Ints

    @classmethod
    def of(cls, assets: Assets, side: str) -> _Eye:
        base = assets.base
        places, skin = base.vertices, base.members("body")
        ball = base.members(f"helper-{side}-eye")
        center, radius = _sphere(places, ball)
        normals = smooth_normals(places, triangles(base.faces[base.groups["body"]]))[skin]
        away = places[skin] - center
        distance = np.linalg.norm(away, axis=1) / radius
        outwards = (away * normals).sum(axis=1) > 0
        lids = outwards & (distance < LIDS_REACH) & (away[:, 2] > 0)
        pocket = ~outwards & (distance < POCKET_REACH)
        lashes = np.unique(np.concatenate([base.members(f"helper-{side}-eyelashes-{k}") for k in (1, 2)]))
        _, leaders = cKDTree(places[skin[lids]]).query(places[lashes], k=3)
        nearest = np.minimum(distance[lids], LID).astype(np.float32)
        return cls(ball, skin[lids], nearest, skin[pocket], lashes, leaders)


def _sphere(body: Floats, ball: Ints) -> tuple[Floats, float]:
    points = body[ball]
    return points.mean(axis=0), float(np.ptp(points[:, 0])) / 2
