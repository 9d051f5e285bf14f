"""Long hair: strands that are combed over the skull, fall, and lie on neck, shoulders and clothes.

Each strand is followed from its root, step by step: where it is combed to, what gravity adds, and out of the
body where it would go in. Ribbons are then laid along the strands.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facelift.synth import regions
from facelift.synth.assets import Assets
from facelift.synth.groom import to_base
from facelift.synth.hair_textures import SHAVED
from facelift.synth.haircuts import growth, lengths
from facelift.synth.hairdos import Hairdo
from facelift.synth.scene import Floats
from facelift.synth.skull import CENTRE
from facelift.synth.strands import scalp
from facelift.synth.surface import Surface

STEP = 0.2
"""Decimetres between two places at which a strand is looked at."""

STRANDS = 640
"""Of long hair on a whole scalp, without those of the hair line."""

POINTS = 18
"""Of a ribbon."""

AXIS = np.array([0, 6.4, 0.15], np.float32)
"""The middle of the neck on the base mesh, away from which hanging hair faces."""

PER_STRAND = ("roots", "base", "layer", "side", "before", "fringe")

DOWN = np.array([0, -1, 0], np.float32)


@dataclass(frozen=True)
class Strands:
    """N strands of a hairdo, at their roots.

    Attributes:
        do: the hairdo.
        from_base: (4, 3) affine map from the base mesh to the body, `groom.to_base`.
        roots: (N, 3) on the body.
        base: (N, 3) the same places on the base mesh.
        layer: (N,) 0 next to the skin to 1 outermost.
        side: (N,) 1 or -1, of the parting.
        before: (N,) whether it falls before the shoulders.
        fringe: (N,) whether it belongs to the fringe.
    """

    do: Hairdo
    from_base: Floats
    roots: Floats
    base: Floats
    layer: Floats
    side: Floats
    before: NDArray[np.bool_]
    fringe: NDArray[np.bool_]

    def only(self, chosen: NDArray[Any]) -> Strands:
        """Those of the strands that an index chooses."""
        rows = {name: getattr(self, name)[chosen] for name in PER_STRAND}
        return replace(self, **rows)

    def on_base(self, places: Floats) -> Floats:
        """Places of the body (..., 3) as they are on the base mesh."""
        moved = (places - self.from_base[3]) @ np.linalg.inv(self.from_base[:3])
        return np.asarray(moved, np.float32)


def hang(strands: Strands, surface: Surface, rng: np.random.Generator) -> Floats:
    """(N, POINTS, 3) places along strands that hang."""
    return shorten(strands, trace(strands, surface, rng), rng)


def root(body: Floats, assets: Assets, do: Hairdo, rng: np.random.Generator) -> Strands:
    """The strands of a hairdo, at their roots."""
    ground = scalp(assets)
    count = len(ground.places)
    alive = growth(do.on_scalp(), ground.places) * (0.5 + 0.5 * do.density) > rng.random(count)
    if do.undercut:
        alive &= lengths(do.on_scalp(), ground.places) > SHAVED
    # The hair line is made of many thin strands.
    line = on_line(ground.places)
    chosen = np.concatenate([np.flatnonzero(alive & ~line)[:STRANDS], np.flatnonzero(alive & line)])
    base = ground.places[chosen]
    count = len(base)
    x, y, z = base.T
    # Where hair is full, the two sides of a parting mix.
    parted = np.where(x + rng.normal(0, 0.03 + 0.3 * do.volume**2, count) > do.parting, 1, -1)
    wide = {"none": -1, "straight": 0.52, "swept": 0.5, "curtain": 0.4}[do.fringe]
    return Strands(
        do=do,
        from_base=to_base(body, assets),
        roots=(ground.weights[chosen][..., None] * body[ground.corners[chosen]]).sum(axis=1),
        base=base,
        # What grows higher falls over what grows lower.
        layer=(0.6 * regions.step(6.8, 8.4, y) + 0.4 * rng.random(count)).astype(np.float32),
        side=np.where(z < 0, np.where(x > 0, 1, -1), parted).astype(np.float32),
        before=z + rng.normal(0, 0.08, count) > do.before,
        fringe=(np.abs(x) < wide) & (z > 0.55) & (y > 7.8),
    )


def on_line(base: Floats) -> NDArray[np.bool_]:
    """(N,) whether roots at places on the base mesh are near the hair line in front."""
    return np.asarray((base[:, 2] > 0.55) & (base[:, 1] > 7.6))


def trace(strands: Strands, surface: Surface, rng: np.random.Generator) -> Floats:
    """(N, K, 3) places along each strand, about STEP apart, farther than it is long."""
    do, fringe, linear = strands.do, strands.fringe, strands.from_base[:3]
    jitter = rng.normal(0, 0.12, strands.base.shape)
    clear = 0.03 + strands.layer * do.volume
    # Height down to which hair lies on the head: shorter hair does so longer.
    low = float(np.interp(do.ends, [6.0, 6.8], [7.0, 6.4]))
    place = strands.roots
    _, normal = surface.distance(place)
    way, places = 0.5 * normal, [place]
    for k in range(1, int(np.ceil((8.6 - do.ends) / STEP)) + 4):
        q = strands.on_base(place)
        # Combing holds above the ears; below, hair falls.
        held = regions.step(7.35, 7.85, q[:, 1]) * (1 if k < 10 else 0.5)
        held = np.maximum(held, 0.9 * fringe * regions.step(7.4, 7.8, q[:, 1]))[:, None]
        along = (combed(strands, q) + jitter) @ linear
        along -= (along * normal).sum(axis=1, keepdims=True) * normal
        way = (0.4 + 0.3 * held) * way + held * along + (1 - 0.65 * held) * DOWN + _drawn(strands, q) @ linear
        way /= np.linalg.norm(way, axis=1, keepdims=True).clip(1e-6)
        moved = _beside_face(strands, place + STEP * way)
        apart, normal = surface.distance(moved)
        wanted = clear * min(0.4 + k * STEP / 0.5, 1) + _over_ears(strands, q)
        off = np.where(fringe, 0.04 + 0.1 * strands.layer, wanted) - apart
        # On the skull it lies; what hangs is only kept out.
        off = np.where(off < 0, off * regions.step(low, low + 0.6, q[:, 1]) * np.where(fringe, 0.8, 0.6), off)
        step = moved + off.clip(-0.3, 0.4)[:, None] * normal - place
        length = np.linalg.norm(step, axis=1, keepdims=True).clip(1e-6)
        place = place + step / length * length.clip(0.5 * STEP, 1.2 * STEP)
        # What pushed it out does not throw it on.
        way = 0.5 * way + 0.5 * step / length
        places.append(place)
    return np.stack(places, axis=1).astype(np.float32)


def _vectors(x: Any, y: Any, z: Any) -> Floats:
    return np.stack(np.broadcast_arrays(x, y, z), axis=1).astype(np.float32)


def combed(strands: Strands, q: Floats) -> Floats:
    """(N, 3) which way hair at places q on the base mesh is combed."""
    do, side = strands.do, strands.side
    aside = _vectors(side, 0, -0.05 - 1.2 * do.sweep)
    # Over the crown it falls back, and hides where it grows from.
    back = _vectors(1.2 * q[:, 0], -0.3, -1)
    out = aside + regions.step(0.45, 0.0, q[:, 2])[:, None] * (back - aside)
    if do.fringe != "none":
        lean = {"straight": 0.0, "swept": 0.9, "curtain": 2.0}[do.fringe]
        to = -np.sign(do.parting) if do.fringe == "swept" else side
        out = np.where(strands.fringe[:, None], _vectors(lean * to, -0.4, np.ones_like(side)), out)
    return np.asarray(out / np.linalg.norm(out, axis=1, keepdims=True).clip(1e-6), np.float32)


def _drawn(strands: Strands, q: Floats) -> Floats:
    """(N, 3) what else moves hair at places q: it parts at the shoulders, and goes behind bare ears."""
    x, y, z = q.T
    shoulder = regions.step(6.9, 6.3, y) * regions.step(4.6, 5.4, y)
    ear = np.exp(-(((y - 7.35) / 0.35) ** 2)) * (1 - strands.do.ears) * ~strands.before
    back = shoulder * np.where(strands.before, 0.7, -0.7) - 1.6 * ear * regions.step(-0.35, -0.1, z)
    # Below the widest place of the head it keeps together.
    loose = regions.step(7.3, 6.9, y) * regions.step(5.9, 6.3, y) * regions.step(0.6, 1.0, np.abs(x))
    return _vectors(-0.2 * loose * strands.side, 0, back * ~strands.fringe)


def _over_ears(strands: Strands, q: Floats) -> Floats:
    """(N,) how much farther out hair at places q lies over covered ears."""
    ear = np.exp(-(((q[:, 1] - 7.3) / 0.45) ** 2) - ((q[:, 2] - 0.2) / 0.4) ** 2)
    return np.asarray(0.06 * strands.do.ears * ear, np.float32)


def _beside_face(strands: Strands, places: Floats) -> Floats:
    """Places (N, 3) of the body, moved aside where they would hang before the face."""
    q = strands.on_base(places)
    wide = np.interp(q[:, 1], [5.6, 6.3, 7.0, 7.4, 7.75, 7.98, 8.15], [0.35, 0.6, 0.72, 0.7, 0.58, 0.3, 0.0])
    over_face = strands.fringe & (strands.do.fringe != "curtain")
    ahead = regions.step(0.45, 0.75, q[:, 2]) * ~over_face
    aside = strands.side * ahead * (wide - strands.side * q[:, 0]).clip(0)
    return np.asarray(places + aside[:, None] * strands.from_base[0], np.float32)


def shorten(strands: Strands, traced: Floats, rng: np.random.Generator) -> Floats:
    """(N, POINTS, 3) of each strand until where it is cut."""
    do, (count, steps) = strands.do, traced.shape[:2]
    height = strands.on_base(traced)[..., 1]
    ends = do.ends + rng.normal(0, 0.04, count) + do.layers * strands.layer * 0.35 * (7.9 - do.ends)
    uneven = 0.2 if do.fringe == "curtain" else 0.025
    ends = np.where(strands.fringe, do.brow + rng.normal(0, uneven, count), ends)
    below = height <= ends[:, None]
    first = np.where(below.any(axis=1), below.argmax(axis=1), steps - 1).clip(1)
    row = np.arange(count)
    upper, lower = height[row, first - 1], height[row, first]
    last = (first - 1 + ((upper - ends) / (upper - lower).clip(1e-3)).clip(0.05, 1)).clip(0.6)
    return resample(traced, last)


def resample(traced: Floats, last: Floats) -> Floats:
    """(N, POINTS, 3) of lines (N, K, 3), evenly until the places `last` (N,) in them."""
    at = last[:, None] * np.linspace(0, 1, POINTS)
    before = np.minimum(at.astype(int), traced.shape[1] - 2)
    share, row = (at - before)[..., None], np.arange(len(traced))[:, None]
    return np.asarray(traced[row, before] * (1 - share) + traced[row, before + 1] * share, np.float32)


def facing(points: Floats, from_base: Floats) -> Floats:
    """(N, P, 3) the way out of the head, or from the neck where hair hangs."""
    middle, axis = (np.append(place, 1) @ from_base for place in (CENTRE, AXIS))
    hangs = ((middle[1] - points[..., 1]) / (middle[1] - axis[1])).clip(0, 1)[..., None]
    out = points - (middle + hangs * (axis - middle))
    out[..., 1] *= 1 - 0.9 * hangs[..., 0]
    return np.asarray(out / np.linalg.norm(out, axis=2, keepdims=True).clip(1e-6), np.float32)


def wavy(points: Floats, normals: Floats, do: Hairdo, base: Floats, rng: np.random.Generator) -> Floats:
    """The points (N, P, 3) in waves, which strands share whose roots `base` (N, 3) are neighbours."""
    sides = np.linalg.norm(np.diff(points, axis=1), axis=2)
    along = np.pad(np.cumsum(sides, axis=1), ((0, 0), (1, 0)))
    phase = 5 * base[:, :1] + 3 * base[:, 2:] + rng.normal(0, 0.6, (len(base), 1))
    turns = 2 * np.pi * along / (1.1 - 0.4 * do.curl) + phase
    height = 0.11 * do.wave * regions.step(0.3, 1.6, along)
    aside = np.cross(np.gradient(points, axis=1), normals)
    aside /= np.linalg.norm(aside, axis=2, keepdims=True).clip(1e-6)
    bend = np.sin(turns)[..., None] * aside + (0.6 + 0.6 * np.cos(turns))[..., None] * normals
    return np.asarray(points + height[..., None] * bend, np.float32)
