"""What is woven into or printed on cloth: stripes, checks, plaid, dots, leaves, blots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from facelift.synth.scene import Floats
from facelift.synth.values import Triple


@dataclass(frozen=True)
class Pattern:
    """A second colour on a cloth.

    Attributes:
        kind: one of KINDS.
        color: sRGB.
        period: decimetres after which it repeats.
        angle: radians by which it is turned.
        strength: 0 to 1, how much of the cloth's own colour it covers.
    """

    kind: str
    color: Triple
    period: float
    angle: float
    strength: float


def sample_pattern(rng: np.random.Generator) -> Pattern:
    """A random pattern, lighter or darker than most cloth, seldom loud."""
    kind = str(rng.choice(list(KINDS)))
    grey = rng.uniform(0.03, 0.95)
    color = grey + rng.uniform(0.1, 1.0) * (rng.uniform(0.03, 0.9, 3) - grey)
    red, green, blue = (round(float(c), 3) for c in color)
    small = kind in ("pinstripes", "dots", "leaves")
    upright = kind in ("stripes", "pinstripes") and rng.random() < 0.5
    return Pattern(
        kind=kind,
        color=(red, green, blue),
        period=round(float(rng.uniform(0.25, 0.5) if small else rng.uniform(0.3, 1.2)), 3),
        angle=round(float(np.pi / 2 * upright + rng.normal(0, 0.02)), 4),
        strength=round(float(rng.uniform(0.4, 1.0)), 3),
    )


def draw_pattern(pattern: Pattern, size: int, scale: float) -> Floats:
    """(size, size) how much of each texel has the pattern's colour, 0 to 1.

    Args:
        pattern: what it is.
        size: side of the texture.
        scale: texels per decimetre of cloth.
    """
    texels = max(pattern.period * scale, 4.0)
    row, column = np.mgrid[:size, :size].astype(np.float32) / np.float32(texels)
    c, s = np.float32(np.cos(pattern.angle)), np.float32(np.sin(pattern.angle))
    return pattern.strength * KINDS[pattern.kind](c * column + s * row, c * row - s * column, 1 / texels)


def _within(distance: Floats, half: float, texel: float) -> Floats:
    """1 where a distance is below `half`, 0 where it is above, with an edge of one texel."""
    return ((half - distance) / texel + 0.5).clip(0, 1)


def _bars(x: Floats, half: float, texel: float) -> Floats:
    """Bars about every whole x, of that half width."""
    return _within(np.abs(x - np.rint(x)), half, texel)


def _stripes(x: Floats, y: Floats, texel: float) -> Floats:
    return _bars(y, 0.25, texel)


def _pinstripes(x: Floats, y: Floats, texel: float) -> Floats:
    return 0.8 * _bars(y, 0.06, texel)


def _checks(x: Floats, y: Floats, texel: float) -> Floats:
    """Gingham: bars both ways, each half as strong as where they cross."""
    return 0.5 * (_bars(x, 0.25, texel) + _bars(y, 0.25, texel))


def _plaid(x: Floats, y: Floats, texel: float) -> Floats:
    broad = 0.5 * (_bars(x, 0.2, texel) + _bars(y, 0.2, texel))
    thin = np.maximum(_bars(x + 0.42, 0.03, texel), _bars(y + 0.42, 0.03, texel))
    return np.maximum(0.8 * broad, 0.7 * thin)


def _cells(x: Floats, y: Floats) -> tuple[Floats, Floats, Floats]:
    """Place within a cell, -0.5 to 0.5, every other row of cells shifted by half; and 1 or -1 by turns."""
    row = np.rint(y)
    x = x + 0.5 * (row % np.float32(2))
    return x - np.rint(x), y - row, 1 - 2 * ((np.rint(x) + row) % 2)


def _dots(x: Floats, y: Floats, texel: float) -> Floats:
    u, v, _ = _cells(x, y)
    return _within(np.hypot(u, v), 0.22, texel)


def _leaves(x: Floats, y: Floats, texel: float) -> Floats:
    """Small leaves that lean to the left and to the right by turns."""
    u, v, side = _cells(x, y)
    along, across = (u + side * v) * 0.71, (u - side * v) * 0.71
    return _within(np.hypot(along, 2.6 * across), 0.38, texel)


def _blots(x: Floats, y: Floats, texel: float) -> Floats:
    """Large uneven patches, which hardly repeat."""
    field = np.sin(2.1 * x + np.sin(3.3 * y)) + np.sin(2.7 * y + 1.3 * np.sin(1.9 * x + 1)) - 0.4
    return _within(-field, 0.0, 4 * texel)


KINDS: dict[str, Callable[[Floats, Floats, float], Floats]] = {
    "stripes": _stripes,
    "pinstripes": _pinstripes,
    "checks": _checks,
    "plaid": _plaid,
    "dots": _dots,
    "leaves": _leaves,
    "blots": _blots,
}
"""What draws each kind, from places (in periods) and the size of a texel to amounts 0 to 1."""
