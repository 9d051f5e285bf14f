"""Hair that is twisted or plaited: locs and thin braids as tubes, and braids of three strands."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from facelift.synth.scene import Floats
from facelift.synth.strands import Grown

SIDES = 5
"""Of a tube."""

TIP = ([0, 0.92, 1], [1, 0.9, 0.4])
"""Share of its radius along a tube."""

RIBBONS = 14
"""Of each of a braid's three strands."""


def tubes(points: Floats, radii: NDArray[Any]) -> Grown:
    """Lines (N, P, 3) as tubes of these radii (N,); their texture repeats every decimetre."""
    count, length = points.shape[:2]
    along, one, two = frames(points)
    angle = 2 * np.pi * np.arange(SIDES + 1) / SIDES
    normals = np.cos(angle)[:, None] * one[:, :, None] + np.sin(angle)[:, None] * two[:, :, None]
    radius = radii[:, None] * np.interp(np.linspace(0, 1, length), *TIP)
    vertices = points[:, :, None] + radius[..., None, None] * normals
    v, u = np.broadcast_arrays(along[:, :, None], angle / (2 * np.pi))
    p, s = np.meshgrid(np.arange(length - 1), np.arange(SIDES), indexing="ij")
    a = (p * (SIDES + 1) + s).ravel()
    b = a + SIDES + 1
    one_tube = np.concatenate([np.stack(each, axis=1) for each in ((a, a + 1, b + 1), (a, b + 1, b))])
    first = np.arange(count)[:, None, None] * length * (SIDES + 1)
    return Grown(
        vertices.reshape(-1, 3).astype(np.float32),
        normals.reshape(-1, 3).astype(np.float32),
        np.stack([u, v], axis=3).reshape(-1, 2).astype(np.float32),
        (one_tube + first).reshape(-1, 3).astype(np.int32),
    )


def frames(points: Floats) -> tuple[Floats, Floats, Floats]:
    """Of lines (N, P, 3): how far along each point is (N, P), and two unit directions across (N, P, 3)."""
    steps = np.linalg.norm(np.diff(points, axis=1), axis=2)
    along = np.pad(np.cumsum(steps, axis=1), ((0, 0), (1, 0)))
    tangents = np.gradient(points, axis=1)
    tangents /= np.linalg.norm(tangents, axis=2, keepdims=True).clip(1e-6)
    # Hair goes outwards or down, hardly ever sideways.
    one = np.cross(tangents, np.array([1, 0.1, 0.1], np.float32))
    one /= np.linalg.norm(one, axis=2, keepdims=True).clip(1e-6)
    return along, one, np.cross(tangents, one)


def braid(line: Floats, size: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Points of the ribbons of a braid around a line (P, 3), and the way they face: (N, P, 3) each."""
    along, across, out = (each[0] for each in frames(line[None]))
    share = along / along[-1]
    taper = size * np.interp(share, [0, 0.1, 0.85, 1], [0.8, 1, 0.75, 0.35])
    strand = np.repeat(np.arange(3), RIBBONS)
    phase = 2 * np.pi * (along / (4.5 * size) + strand[:, None] / 3)
    turn = 2 * np.pi * rng.random((len(strand), 1))
    offset = 0.5 * np.sqrt(rng.uniform(0.3, 1, (len(strand), 1)))
    aside = np.sin(phase) + offset * np.cos(turn)
    deep = 0.55 * np.sin(2 * phase) + offset * np.sin(turn)
    points = line + (taper * aside)[..., None] * out + (taper * deep)[..., None] * across
    facing = np.cos(turn)[..., None] * out + np.sin(turn)[..., None] * across
    return points.astype(np.float32), facing.astype(np.float32)
