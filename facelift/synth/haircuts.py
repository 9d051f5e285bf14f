"""Which hair people have where MakeHuman's meshes have none of it: cuts, as plain data, and where they grow.

Places are those of the base mesh (decimetres, y up, the face along +z), as in `regions.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from facelift.synth import regions
from facelift.synth.priors import BALDING, CUT_SHARES, CUTS
from facelift.synth.scene import Floats

WHORL = np.array([0.08, 8.35, -0.05], np.float32)
"""Where the hair of the head grows away from."""

PATCH = np.array([0, 8.4, 0.1], np.float32)
"""The middle of a bald patch."""

# The hair line in front, degrees up from the middle of the skull, and how far balding moves it.
MIDDLE_HEIGHT, MIDDLE_DEPTH = 7.5, 0.4
FRONT, RETREAT, CORNERS = 27.0, 80.0, 30.0


@dataclass(frozen=True)
class Haircut:
    """Hair that grows from the scalp, strand by strand.

    Attributes:
        style: one of `priors.CUTS`.
        top, sides: length, decimetres.
        comb: forward, back, left, right or any: the way it lies.
        lift: 0 lies flat, 1 stands up.
        curl: 0 straight to 1 coily.
        fade: 0 to 1, how much shorter it is towards ears and nape.
        recede: 0 to 1, how far the hair line has gone back; at 1 only sides and back are left.
        corners: 0 to 1, how far it has gone back at the temples.
        patch: radius of a bald patch on the crown, decimetres.
        density: 0 to 1.
        grey: 0 to 1, how much greyer temples and roots are than the rest.
    """

    style: str
    top: float
    sides: float
    comb: str
    lift: float
    curl: float
    fade: float
    recede: float
    corners: float
    patch: float
    density: float
    grey: float


def sample_haircut(rng: np.random.Generator, is_male: bool, age: float, african: float) -> Haircut:
    """A random cut; men lose hair with the years, and coily hair is cut as coily hair is."""
    names = list(CUTS)
    shares = np.array([CUT_SHARES[name][0 if is_male else 1] * _suits(name, african) for name in names])
    name = names[int(rng.choice(len(names), p=shares / shares.sum()))]
    cut = CUTS[name]
    top, sides, lift, curl, fade = (float(rng.uniform(*span)) for span in cut.spans)
    curl = min(max(curl + african * rng.uniform(0.5, 0.9), 0.0), 1.0)
    balding = is_male and rng.random() < np.interp(age, *BALDING)
    recede = rng.beta(1.3, 2.0) if balding else 0.0
    if recede > 0.5:  # who has lost that much does not grow the rest long
        top, sides, fade = min(top, 0.25), min(sides, 0.2), min(fade, 0.4)
    return Haircut(
        style=name,
        top=round(top, 3),
        sides=round(min(sides, top), 3),
        comb=str(rng.choice(cut.combs)),
        lift=round(lift, 3),
        curl=round(curl, 3),
        fade=round(fade, 3),
        recede=round(float(recede), 3),
        corners=round(float(rng.beta(1.2, 2.5) * (1.0 if is_male else 0.3)), 3),
        patch=round(float(rng.uniform(0.15, 0.5)) if balding and rng.random() < 0.5 else 0.0, 3),
        density=round(float(rng.uniform(0.55, 0.9) if balding else rng.uniform(0.85, 1.0)), 3),
        grey=round(float(rng.uniform(0, 0.8) * np.interp(age, [30, 60], [0, 1])), 3),
    )


def _suits(name: str, african: float) -> float:
    """Afros are coily hair; what is combed flat is not."""
    coily = CUTS[name].coily
    return 1.0 if coily is None else african if coily else 1.05 - african


def hairy(p: Floats) -> Floats:
    """(N,) where hair can grow at all, 0 to 1: the scalp of the young, with sideburns, without the ears."""
    x, y, z = np.abs(p[:, 0]), p[:, 1], p[:, 2]
    front = 8.0 - 0.25 * (x / 0.7) ** 2
    side = np.interp(z, [-0.3, -0.05, 0.1, 0.45, 0.6, 0.8, 1.0], [6.68, 6.72, 7.0, 7.02, 7.1, 7.5, 7.82])
    head = (x < 1) & (y > 6.5)
    return regions.step(-0.08, 0.08, y - np.minimum(side, front)) * (1 - regions.ear(p)) * head


def growth(cut: Haircut, p: Floats) -> Floats:
    """(N,) how densely hair grows at places (N, 3) on the base mesh, 0 to 1."""
    x, y = np.abs(p[:, 0]), p[:, 1]
    angle = _angle(p)
    # Sides and back keep their hair; between them it goes back from the forehead.
    between = regions.step(0.72, 0.5, x)
    corner = np.exp(-(((x - 0.42) / 0.2) ** 2))
    line = FRONT - 45 * (x / 0.7) ** 2 + RETREAT * cut.recede * between + CORNERS * cut.corners * corner
    front = regions.step(-7, 7, angle - line)
    # Temples and sideburns, which go with the corners.
    temple = regions.step(0.5, 0.65, x) * regions.step(7.95, 7.7, y) * regions.step(0.44, 0.54, p[:, 2])
    front = np.maximum(front, temple * np.interp(cut.corners, [0.4, 1], [1, 0]))
    patch = regions.step(cut.patch - 0.1, cut.patch + 0.1, np.linalg.norm(p - PATCH, axis=1))
    patch = np.where(cut.patch > 0, patch, 1)
    crown = 1 - np.interp(cut.recede, [0.75, 1], [0, 1]) * between * (y > 8.0)
    return np.asarray(hairy(p) * front * patch * crown, np.float32)


def _angle(p: Floats) -> Floats:
    """(N,) degrees from straight ahead over the crown, seen from the middle of the skull, -90 to 270."""
    angle = np.degrees(np.arctan2(p[:, 1] - MIDDLE_HEIGHT, p[:, 2] - MIDDLE_DEPTH))
    return np.asarray(np.where(angle < -90, angle + 360, angle), np.float32)


def lengths(cut: Haircut, p: Floats) -> Floats:
    """(N,) length of the hair at places (N, 3) on the base mesh, decimetres."""
    upper = regions.step(7.55, 8.0, p[:, 1])
    faded = 1 - cut.fade * regions.step(7.75, 6.85, p[:, 1])
    nape = 0.25 + 0.75 * regions.step(6.6, 7.25, p[:, 1])
    # What stands up is cut round, or it would stand out over the forehead.
    front = 1 - 0.6 * cut.curl * cut.lift * regions.step(FRONT + 45, FRONT - 5, _angle(p))
    return np.asarray((cut.sides + (cut.top - cut.sides) * upper) * faded * nape * front, np.float32)


def direction(cut: Haircut, p: Floats) -> Floats:
    """(N, 3) which way the hair at places (N, 3) on the base mesh is combed; not yet along the skin."""
    away = p - WHORL
    away /= np.linalg.norm(away, axis=1, keepdims=True).clip(1e-6)
    down = np.array([0, -1, 0], np.float32)
    combed = {
        "forward": away,
        "any": away,
        "back": np.array([0, 0.1, -1], np.float32) + 0 * away,
        "left": np.array([1, 0, 0.25], np.float32) + 0 * away,
        "right": np.array([-1, 0, 0.25], np.float32) + 0 * away,
    }[cut.comb]
    if cut.comb in ("left", "right"):
        # Beyond the parting it falls to the other side.
        side = 1 if cut.comb == "left" else -1
        combed[:, 0] *= np.where(side * p[:, 0] < -0.35, -1, 1)
    upper = regions.step(7.5, 8.0, p[:, 1])[:, None]
    aside = 0.6 * away + 0.9 * down if cut.comb != "back" else 0.7 * combed + 0.6 * down
    return (upper * combed + (1 - upper) * aside).astype(np.float32)


def pressed(cut: Haircut, longest: float) -> Haircut:
    """The cut as flat as what is worn over it presses it."""
    return replace(cut, top=min(cut.top, longest), sides=min(cut.sides, longest))
