"""Gathered hair: strands that are pulled over the head to a knot, and what hangs or is wound there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facelift.synth import plaits, regions
from facelift.synth.hanging import DOWN, POINTS, STEP, Strands, combed, facing, resample
from facelift.synth.scene import Floats
from facelift.synth.skull import CENTRE
from facelift.synth.surface import Surface

PULLED = 18
"""Steps from the farthest root to a knot."""

TAIL, COILS, PUFF = 130, 120, 260
"""Ribbons of a tail, a bun and a puff."""

ASIDE = 0.8
"""How far aside two knots are, of the way back."""

Curves = tuple[Floats, Floats]
"""Points of ribbons (N, P, 3) and the ways that they face (N, P, 3)."""


def gathered(strands: Strands) -> NDArray[np.bool_]:
    """(N,) which strands go to a knot: all but the fringe, or the upper ones."""
    _, y, z = strands.base.T
    if strands.do.gather == "none":
        return np.zeros(len(y), bool)
    if strands.do.gather == "half":
        return (y > np.where(z > 0.3, 7.4, 7.7)) & ~strands.fringe
    return ~strands.fringe


def before_ears(strands: Strands) -> NDArray[np.bool_]:
    """(N,) which strands are too low before the ears to be pulled back over them."""
    return (strands.base[:, 2] > 0.3) & (strands.base[:, 1] < 7.4)


def knot_places(strands: Strands, surface: Surface) -> tuple[Floats, Floats]:
    """(K, 3) where on the skin the knots are, and (K, 3) the way out there."""
    height = np.radians(strands.do.knot)
    aside = (-ASIDE, ASIDE) if strands.do.pair else (0.0,)
    out = np.array([[x, np.sin(height), -np.cos(height)] for x in aside], np.float32)
    places = (CENTRE + out) @ strands.from_base[:3] + strands.from_base[3]
    for _ in range(5):
        apart, normal = surface.distance(places)
        places = places - apart[:, None] * normal
    return places, normal


def pull(strands: Strands, surface: Surface) -> Floats:
    """(N, POINTS, 3) places along strands that lie on the head and end at their knot."""
    do = strands.do
    knots, _ = knot_places(strands, surface)
    target = knots[np.where(strands.side > 0, len(knots) - 1, 0)]
    clear = 0.05 + strands.layer * (0.05 + 0.25 * do.volume)
    _, normal = surface.distance(strands.roots)
    place = strands.roots + 0.02 * normal
    places, arrived = [place], np.full(len(place), PULLED)
    for k in range(1, PULLED + 1):
        to = target - place
        far = np.linalg.norm(to, axis=1, keepdims=True)
        arrived = np.where((far[:, 0] < 0.1) & (arrived == PULLED), k - 1, arrived)
        to = to - (to * normal).sum(axis=1, keepdims=True) * normal
        to /= np.linalg.norm(to, axis=1, keepdims=True).clip(1e-6)
        q = strands.on_base(place)
        # It leaves the forehead as it is parted, and goes around the ears.
        parted = max(0.0, 0.9 - 0.3 * k) * (1 - do.sweep) * (q[:, 2] > 0.2)
        over = (strands.base[:, 1] > 7.35) * np.exp(-(((q[:, 1] - 7.35) / 0.25) ** 2))
        over *= regions.step(-0.25, 0.0, q[:, 2])
        way = to + (parted[:, None] * combed(strands, q) + over[:, None] * -DOWN) @ strands.from_base[:3]
        way /= np.linalg.norm(way, axis=1, keepdims=True).clip(1e-6)
        moved = place + np.minimum(STEP, far) * way
        apart, normal = surface.distance(moved)
        place = moved + (clear * min(0.4 + k * STEP, 1) - apart)[:, None].clip(-0.2, 0.3) * normal
        places.append(place)
    return resample(np.stack(places, axis=1).astype(np.float32), arrived.clip(1).astype(np.float32))


def knots(strands: Strands, surface: Surface, rng: np.random.Generator) -> list[Curves]:
    """What hangs or is wound at each knot."""
    make = {"tail": _tail, "half": _tail, "bun": _bun, "puff": _puff, "braid": _braid}[strands.do.gather]
    places, out = knot_places(strands, surface)
    return [make(strands, surface, *each, rng) for each in zip(places, out, strict=True)]


def _fall(strands: Strands, surface: Surface, place: Floats, way: Floats, clear: Floats) -> Floats:
    """(N, POINTS, 3) of hair that leaves a knot from places (N, 3) in directions (N, 3), and hangs."""
    places, ends = [place], strands.do.ends
    for _ in range(int(np.ceil((8.8 - ends) / STEP)) + 3):
        way = 0.8 * way + 0.45 * DOWN
        way /= np.linalg.norm(way, axis=1, keepdims=True)
        moved = place + STEP * way
        apart, normal = surface.distance(moved)
        moved = moved + (clear - apart).clip(0, 0.4)[:, None] * normal
        way = (moved - place) / np.linalg.norm(moved - place, axis=1, keepdims=True).clip(1e-6)
        place = place + STEP * way
        places.append(place)
    traced = np.stack(places, axis=1).astype(np.float32)
    below = strands.on_base(traced)[..., 1] < ends
    last = np.where(below.any(axis=1), below.argmax(axis=1), len(places) - 1).astype(np.float32)
    return resample(traced, last.clip(2))


def _disc(out: Floats, count: int, rng: np.random.Generator) -> Floats:
    """(N, 3) random places in a unit disc across `out`."""
    one, two = _across(out)
    angle, radius = rng.uniform(0, 2 * np.pi, (count, 1)), np.sqrt(rng.random((count, 1)))
    return np.asarray(radius * (np.cos(angle) * one + np.sin(angle) * two), np.float32)


def _across(out: Floats) -> tuple[Floats, Floats]:
    one = np.cross(out, [1, 0.2, 0.1])
    one /= np.linalg.norm(one)
    return one, np.cross(out, one)


def _tail(strands: Strands, surface: Surface, knot: Floats, out: Floats, rng: np.random.Generator) -> Curves:
    apart = _disc(out, TAIL, rng)
    start = knot + 0.08 * out + 0.1 * apart
    clear = (0.03 + rng.random(TAIL) * (0.15 + 0.4 * strands.do.volume)).astype(np.float32)
    spread = 0.3 + strands.do.volume
    points = _fall(strands, surface, start, out + spread * apart, clear)
    # Cut a little unevenly.
    share = rng.uniform(0.85, 1.0, TAIL).astype(np.float32)
    points = resample(points, share * (POINTS - 1))
    middle = points.mean(axis=0, keepdims=True)
    faces = points - middle + 0.1 * facing(points, strands.from_base)
    return points, faces / np.linalg.norm(faces, axis=2, keepdims=True).clip(1e-6)


def _bun(strands: Strands, surface: Surface, knot: Floats, out: Floats, rng: np.random.Generator) -> Curves:
    size, messy = strands.do.size, 0.05 + 0.15 * strands.do.wave
    one, two = _across(out)
    t = np.linspace(0, 1, POINTS)
    start, span = rng.uniform(0, 2 * np.pi, (COILS, 1)), rng.uniform(1.5, 3.5, (COILS, 1))
    tilt = np.arcsin(rng.uniform(-0.6, 0.98, (COILS, 1))) + rng.normal(0, 0.3 + 2 * messy, (COILS, 1)) * (
        t - 0.5
    )
    angle = start + span * t
    faces = (
        (np.cos(tilt) * np.cos(angle))[..., None] * one
        + (np.cos(tilt) * np.sin(angle))[..., None] * two
        + np.sin(tilt)[..., None] * out
    )
    radius = size * (1 + rng.normal(0, messy, (COILS, 1)) - 0.15 * np.abs(2 * t - 1) ** 4)
    flat = faces - 0.3 * np.sin(tilt)[..., None] * out
    points = knot + 0.5 * size * out + radius[..., None] * flat
    return points.astype(np.float32), faces.astype(np.float32)


def _puff(strands: Strands, surface: Surface, knot: Floats, out: Floats, rng: np.random.Generator) -> Curves:
    size = 2 * strands.do.size
    middle = knot + 0.75 * size * out
    start, to = (rng.normal(0, 1, (PUFF, 1, 3)) for _ in range(2))
    faces = start + np.linspace(0, 0.8, 6)[:, None] * to
    faces /= np.linalg.norm(faces, axis=2, keepdims=True)
    radius = size * rng.uniform(0.75, 1.05, (PUFF, 1, 1))
    return (middle + radius * faces).astype(np.float32), faces.astype(np.float32)


def _braid(strands: Strands, surface: Surface, knot: Floats, out: Floats, rng: np.random.Generator) -> Curves:
    size = strands.do.size * 0.6
    line = _fall(
        strands, surface, (knot + 0.05 * out)[None], 0.6 * out[None], np.array([1.3 * size], np.float32)
    )
    at = np.linspace(0, POINTS - 1, 3 * POINTS)
    row = np.arange(POINTS)
    fine = np.stack([np.interp(at, row, line[0, :, k]) for k in range(3)], axis=1)
    return plaits.braid(fine.astype(np.float32), size, rng)
