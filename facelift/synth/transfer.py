"""Takes what happens to FaceKit's vertices over to MakeHuman's base mesh, once the two heads are registered.

The skin takes over what its places on FaceKit's skin do; eyes, teeth and tongue move as a whole; lashes
follow the lids; hair, and whatever else hangs on the base mesh, follows the skin near it. Below the neck
nothing moves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from facelift.synth import regions
from facelift.synth.assets import Assets
from facelift.synth.landmarks import VERTICES
from facelift.synth.meshes import triangles
from facelift.synth.pose import above_neck, joint, smoothstep
from facelift.synth.priors import ETHNICITIES
from facelift.synth.registration import Anchors, Array, laplacian

# FaceKit's vertices by what they are, as its documentation says.
TEETH = {"upper": slice(17039, 19247), "lower": slice(19247, 21451)}
BALLS = (slice(23021, 24591), slice(21451, 23021))
"""The subject's right eyeball and the left one."""

NECK = 5.9
"""Height on the base mesh, decimetres, above which skin is taken for the head's."""

FADE = (0.0, 0.85)
"""Heights above the neck's joint, decimetres, between which offsets fade in; all of the jaw is above."""

SMOOTHNESS = 0.3
"""Weight of the Laplacian where offsets are taken over; what is inside a mouth follows the lips."""


@dataclass(frozen=True)
class Head:
    """The head of an average person of MakeHuman's.

    Attributes:
        body: (19158, 3) the whole base mesh.
        members: (V,) rows of it that are the skin of head and neck.
        row: (19158,) row of each in `members`; -1 for all others.
        corners: (T, 3) triangles, as rows of `members`.
        inside: (V,) whether a vertex lies in the mouth, an eye's socket or a nostril.
        share: (19158, 1) how far a vertex belongs to the head: 1 there, 0 below the neck.
        groups: rows of the base mesh by name.
    """

    body: Array
    members: NDArray[Any]
    row: NDArray[Any]
    corners: NDArray[Any]
    inside: NDArray[np.bool_]
    share: Array
    groups: dict[str, NDArray[Any]]

    @property
    def vertices(self) -> Array:
        """(V, 3) of `members`."""
        return self.body[self.members]

    @classmethod
    def of(cls, assets: Assets) -> Head:
        """The mean of the sexes and ethnicities, of medium build and about forty."""
        base = assets.base
        body = base.vertices.astype(np.float64)
        for sex in ("female", "male"):
            for age, share in (("young", 0.75), ("old", 0.25)):
                names = [f"{each}-{sex}-{age}" for each in ETHNICITIES]
                mixed = {name: share / 2 / len(names) for name in names}
                mixed[f"universal-{sex}-{age}-averagemuscle-averageweight"] = share / 2
                for name, weight in mixed.items():
                    target = assets.target(f"macrodetails/{name}")
                    body[target.indices] += weight * target.offsets
        quads = base.faces[base.groups["body"]]
        corners = triangles(quads[(base.vertices[quads, 1] > NECK).all(axis=1)])
        members = np.unique(corners)
        row = np.full(len(body), -1)
        row[members] = np.arange(len(members))
        neck = joint(base.vertices, assets, "neck")
        return cls(
            body,
            members,
            row,
            row[corners],
            regions.inside(base.vertices[members]),
            smoothstep(*FADE, above_neck(base.vertices, neck)).astype(np.float64)[:, None],
            {name: base.members(name) for name in base.groups if name},
        )


class Transfer:
    """Takes offsets of FaceKit's vertices over to MakeHuman's base mesh.

    Args:
        head: MakeHuman's.
        anchors: the place of each of its vertices on FaceKit's skin.
        target: (26719, 3) FaceKit's head where MakeHuman's was registered with it.
        corners: triangles of its skin.
    """

    def __init__(self, head: Head, anchors: Anchors, target: Array, corners: NDArray[Any]) -> None:
        self._head, self._anchors, self._target, self._corners = head, anchors, target, corners
        self._known = anchors.valid & ~head.inside
        bend = laplacian(head.corners, len(head.members))
        pull = sparse.diags(self._known + 1e-9)
        self._solve = splu((pull + SMOOTHNESS * bend.T @ bend).tocsc()).solve
        self._skull = self._known & (head.share[head.members, 0] == 1)
        self._others = self._followers()

    def identity(self, offsets: Array) -> Array:
        """(19158, 3) of offsets (26719, 3) that change who it is; heads keep their place and size."""
        places = self._anchors.interpolate(self._target, self._corners)[self._skull]
        moved = self._anchors.interpolate(offsets, self._corners)[self._skull]
        offsets = offsets - motion(places, moved)(self._target)
        body = self._spread(offsets)
        groups, at = self._head.groups, self._head.body
        for side, ball in zip("rl", BALLS, strict=True):
            moves = motion(self._target[ball], offsets[ball], turns=False)
            # Eyes are not quite at the same place in both: a ball grows about its own middle.
            eye = groups[f"helper-{side}-eye"]
            apart = self._target[ball].mean(axis=0) - at[eye].mean(axis=0)
            for rows in (eye, groups[f"joint-{side}-eye"]):
                body[rows] = moves(at[rows] + apart)
        for jaw, teeth in TEETH.items():
            moves = motion(self._target[teeth], offsets[teeth], turns=False)
            for rows in self._mouth(jaw):
                body[rows] = moves(at[rows])
        return body * self._head.share

    def expression(self, offsets: Array) -> Array:
        """(19158, 3) of offsets (26719, 3) that move a face; the balls of the eyes are turned elsewhere."""
        body = self._spread(offsets)
        for jaw, teeth in TEETH.items():
            moves = motion(self._target[teeth], offsets[teeth])
            for rows in self._mouth(jaw):
                body[rows] = moves(self._head.body[rows])
        for name in ("helper-l-eye", "helper-r-eye", "joint-l-eye", "joint-r-eye", "joint-head"):
            body[self._head.groups[name]] = 0
        return body * self._head.share

    def _mouth(self, jaw: str) -> list[NDArray[Any]]:
        names = ["helper-upper-teeth"] if jaw == "upper" else ["helper-lower-teeth", "helper-tongue"]
        return [self._head.groups[name] for name in names]

    def _spread(self, offsets: Array) -> Array:
        """(19158, 3) of skin that does what its places on FaceKit's skin do, and of all else near it."""
        wanted = self._known[:, None] * self._anchors.interpolate(offsets, self._corners)
        skin = self._solve(wanted)
        return np.asarray(self._others @ skin)

    def _followers(self) -> sparse.csr_matrix:
        """(19158, V) whom each vertex of the base mesh follows: itself, or the mean of the skin around it."""
        head = self._head
        outside = np.flatnonzero(~head.inside)
        lids = np.intersect1d(np.unique(head.corners[head.inside[head.corners].any(axis=1)]), outside)
        lids = lids[head.vertices[lids, 1] > head.vertices[head.row[VERTICES[30]], 1]]
        table = sparse.lil_matrix((len(head.body), len(head.members)))
        table[head.members, np.arange(len(head.members))] = 1
        lashes = [head.groups[f"helper-{side}-eyelashes-{k}"] for side in "lr" for k in (1, 2)]
        rest = np.setdiff1d(np.arange(len(head.body)), np.concatenate([head.members, *lashes]))
        rest = rest[head.share[rest, 0] > 0]
        for rows, leaders, count in ((np.unique(np.concatenate(lashes)), lids, 3), (rest, outside, 12)):
            distance, near = cKDTree(head.vertices[leaders]).query(head.body[rows], k=count)
            weights = 1 / (distance + 0.02) ** 2
            table[rows[:, None], leaders[near]] = weights / weights.sum(axis=1, keepdims=True)
        return table.tocsr()


def motion(places: Array, offsets: Array, turns: bool = True) -> Callable[[Array], Array]:
    """The small similarity motion nearest to offsets (N, 3) at places (N, 3), as a function of a place.

    A shift, a factor on the size and, with `turns`, a rotation, all linear.
    """
    middle = places.mean(axis=0)

    def basis(points: Array) -> Array:
        x, y, z = (points - middle).T
        zero, one = np.zeros_like(x), np.ones_like(x)
        columns = [(one, zero, zero), (zero, one, zero), (zero, zero, one), (x, y, z)]
        if turns:
            columns += [(zero, -z, y), (z, zero, -x), (-y, x, zero)]
        return np.stack([np.stack(column, axis=1) for column in columns], axis=2)

    fitted = np.linalg.lstsq(basis(places).reshape(-1, 7 if turns else 4), offsets.reshape(-1), rcond=None)[0]
    return lambda points: basis(points) @ fitted
