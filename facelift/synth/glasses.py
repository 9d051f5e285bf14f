"""Glasses, made to measure: rims, bridge and temples as tubes about the person's own nose, eyes and ears.

They are laid out in the base mesh's places (decimetres, y up, the face along +z) and carried to the head.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facelift.synth.assets import Assets
from facelift.synth.groom import to_base
from facelift.synth.scene import Floats
from facelift.synth.values import Triple

Curve = NDArray[np.float64]


@dataclass(frozen=True)
class Glasses:
    """A pair of glasses; lengths in decimetres.

    Attributes:
        size: half the width and height of a lens.
        square: exponent of the lens's outline: 2 an ellipse, 5 nearly a rectangle.
        rise: how much higher the outer half of a lens is than its inner half.
        rim: half the thickness of the rims.
        rimless: whether there are rims only above, as a brow line.
        color: sRGB of the frame.
        gloss: roughness of the frame.
        shades: sRGB of dark lenses, None for clear ones, which are not drawn.
    """

    size: tuple[float, float]
    square: float
    rise: float
    rim: float
    half_rim: bool
    color: Triple
    gloss: float
    shades: Triple | None


def sample_glasses(rng: np.random.Generator) -> Glasses:
    """A random pair: thin metal, or thick plastic; now and then sunglasses."""
    width = rng.uniform(0.2, 0.255)
    metal = bool(rng.random() < 0.45)
    greys = rng.uniform(0.25, 0.75) * np.array([1.0, rng.uniform(0.8, 1.0), rng.uniform(0.55, 1.0)])
    plastics = [
        (0.03, 0.03, 0.035),
        (0.16, 0.08, 0.04),
        (0.35, 0.2, 0.1),
        (0.05, 0.08, 0.2),
        (0.4, 0.05, 0.07),
    ]
    plastic = np.array(plastics[int(rng.choice(5, p=[0.5, 0.2, 0.12, 0.1, 0.08]))])
    dark = rng.random() < 0.06
    return Glasses(
        size=(round(float(width), 4), round(float(width * rng.uniform(0.66, 0.95)), 4)),
        square=round(float(rng.uniform(2.0, 5.0)), 3),
        rise=round(float(rng.uniform(-0.01, 0.04)), 4),
        rim=round(float(rng.uniform(0.008, 0.013) if metal else rng.uniform(0.012, 0.019)), 4),
        half_rim=bool(metal and rng.random() < 0.25),
        color=tuple(round(float(c), 3) for c in (greys if metal else plastic)),  # type: ignore[arg-type]
        gloss=0.3 if metal else 0.2,
        shades=(0.03, 0.03, 0.04) if dark else None,
    )


def frame(body: Floats, assets: Assets, glasses: Glasses) -> tuple[Floats, NDArray[np.int32]]:
    """Vertices (V, 3) of the frame on the body, and its triangles (F, 3)."""
    fit = _Fit.measure(body, assets, glasses)
    tubes = []
    for side in (-1, 1):
        angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        if glasses.half_rim:
            angles = np.linspace(-0.15, np.pi + 0.15, 24)
        tubes.append(_tube(fit.outline(side, angles), glasses.rim, closed=not glasses.half_rim))
        hinge = fit.outline(side, np.array([0.35]))[0]
        x, y = side * fit.half_width, hinge[1]
        corner = np.array([x - side * 0.015, y, hinge[2] - 0.06])
        ear = np.array([x, y + 0.02, 0.32])
        hook = np.array([x - side * 0.04, y - 0.16, 0.08])
        tubes.append(_tube(np.stack([hinge, corner]), glasses.rim))
        tubes.append(_tube(np.stack([corner + np.array([0, 0, 0.02]), ear, hook]), glasses.rim, tall=1.4))
    inner = [fit.outline(side, np.array([np.pi - 0.35]))[0] for side in (-1, 1)]
    arch = np.linspace(0, 1, 7)[:, None]
    bridge = inner[0] * (1 - arch) + inner[1] * arch
    bridge[:, 1] += 0.03 * np.sin(np.pi * arch[:, 0])
    bridge[:, 2] += 0.02 * np.sin(np.pi * arch[:, 0])
    tubes.append(_tube(bridge, glasses.rim))
    return fit.joined(tubes)


def lenses(body: Floats, assets: Assets, glasses: Glasses) -> tuple[Floats, NDArray[np.int32]]:
    """Vertices (V, 3) and triangles (F, 3) of dark lenses."""
    fit = _Fit.measure(body, assets, glasses)
    fans = []
    for side in (-1, 1):
        rim = fit.outline(side, np.linspace(0, 2 * np.pi, 40, endpoint=False))
        i = np.arange(40)
        fan = np.stack([np.full(40, 40), i, (i + 1) % 40], axis=1)[:, ::side]
        fans.append((np.concatenate([rim, rim.mean(axis=0, keepdims=True) + np.array([0, 0, 0.02])]), fan))
    return fit.joined(fans)


@dataclass(frozen=True)
class _Fit:
    """Where a pair of glasses sits on a head, in the base mesh's places."""

    glasses: Glasses
    from_base: Floats
    middle: tuple[float, float]
    depth: float
    half_width: float

    @classmethod
    def measure(cls, body: Floats, assets: Assets, glasses: Glasses) -> _Fit:
        from_base = to_base(body, assets)
        head = assets.base.vertices[:, 1] > 6.5
        skin = assets.cached(
            "head skin", lambda: np.intersect1d(assets.base.members("body"), np.flatnonzero(head))
        )
        at = (body[skin] - from_base[3]) @ np.linalg.inv(from_base[:3])
        x, y, z = np.abs(at[:, 0]), at[:, 1], at[:, 2]
        eye_x = 0.33
        bridge = z[(x < 0.07) & (y > 7.2) & (y < 7.34)].max()
        reach = eye_x + glasses.size[0]
        # Level with the lenses nothing may come through: brows and cheeks push them ahead.
        behind = (x < reach) & (x > 0.12) & (np.abs(y - 7.25) < glasses.size[1])
        curve = 0.18 * x**2
        depth = max(bridge + 0.02, (z + curve)[behind].max() + 0.03)
        temples = x[(y > 7.25) & (y < 7.45) & (z > 0.72) & (z < 1.2)].max()
        return cls(glasses, from_base, (eye_x, 7.25), float(depth), max(float(temples) + 0.02, reach + 0.02))

    def outline(self, side: int, angles: Curve) -> Curve:
        """Points (N, 3) of a rim; angle 0 is its outer end, a quarter turn its top."""
        c, s = np.cos(angles), np.sin(angles)
        power = 2 / self.glasses.square
        u, v = np.sign(c) * np.abs(c) ** power, np.sign(s) * np.abs(s) ** power
        x = self.middle[0] + self.glasses.size[0] * u
        y = self.middle[1] + self.glasses.size[1] * v + self.glasses.rise * u
        # The face of the glasses is bowed, and leans in a little at the bottom.
        z = self.depth - 0.18 * x**2 + 0.06 * (y - self.middle[1])
        return np.stack([side * x, y, z], axis=1)

    def joined(self, meshes: list[tuple[Curve, NDArray[np.int64]]]) -> tuple[Floats, NDArray[np.int32]]:
        """Several meshes as one, carried from the base to the body."""
        starts = np.cumsum([0] + [len(vertices) for vertices, _ in meshes])
        vertices = np.concatenate([v for v, _ in meshes]) @ self.from_base[:3] + self.from_base[3]
        faces = np.concatenate([f + start for (_, f), start in zip(meshes, starts, strict=False)])
        return vertices.astype(np.float32), faces.astype(np.int32)


def _tube(
    path: Curve, radius: float, closed: bool = False, tall: float = 1.0
) -> tuple[Curve, NDArray[np.int64]]:
    """A tube of eight sides along a path (N, 3), its ends capped; `tall` stretches it upright."""
    sides = 8
    around = np.roll(path, -1, axis=0) - np.roll(path, 1, axis=0)
    along = around if closed else np.gradient(path, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    # A frame that does not twist: one axis points as far ahead as it can, or aside where the path does.
    ahead = np.where(np.abs(along[:, 2:]) > 0.8, [[1.0, 0, 0]], [[0, 0, 1.0]])
    first = ahead - (ahead * along).sum(axis=1, keepdims=True) * along
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(along, first)
    turn = np.arange(sides) / sides * 2 * np.pi
    ring = np.cos(turn)[:, None] * first[:, None] + np.sin(turn)[:, None] * second[:, None]
    ring = ring * radius * np.where(np.abs(along[:, 2]) > 0.8, tall, 1.0)[:, None, None]
    n = len(path)
    i, j = np.meshgrid(np.arange(n if closed else n - 1), np.arange(sides), indexing="ij")
    a, b = i * sides + j, i * sides + (j + 1) % sides
    c, d = ((i + 1) % n) * sides + (j + 1) % sides, ((i + 1) % n) * sides + j
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    vertices = (path[:, None] + ring).reshape(-1, 3)
    if not closed:
        k = np.arange(1, sides - 1)
        start = np.stack([np.zeros_like(k), k + 1, k], axis=1)
        faces = np.concatenate([faces, start, start[:, ::-1] + (n - 1) * sides])
    return vertices, faces
