"""Lights of a synthetic portrait: from a flat studio to one strong lamp, always a well exposed face."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from facelift.synth.scene import Floats, Light

Triple = tuple[float, float, float]

# Face normals that the exposure is set for: straight ahead, half to both sides, a little up and down.
METERED = np.array(
    [[0, -1, 0], [-0.6, -0.8, 0], [0.6, -0.8, 0], [0, -0.9, 0.43], [0, -0.9, -0.43]], np.float32
)


@dataclass(frozen=True)
class Lighting:
    """The numbers of a `scene.Light` as plain tuples, so that a person can be written as JSON."""

    sky: Triple
    ground: Triple
    directions: tuple[Triple, ...]
    colors: tuple[Triple, ...]
    exposure: float

    def light(self) -> Light:
        directions = np.array(self.directions, np.float32).reshape(-1, 3)
        colors = np.array(self.colors, np.float32).reshape(-1, 3)
        return Light(
            np.array(self.sky, np.float32),
            np.array(self.ground, np.float32),
            directions,
            colors,
            self.exposure,
        )


def white(warmth: float) -> Floats:
    """Linear RGB of a white with luminance one; `warmth` about -1 (blue sky) to 1 (tungsten)."""
    color = np.array([1 + 0.28 * warmth, 1.0, 1 - 0.38 * warmth], np.float32)
    return color / float(color @ np.array([0.2126, 0.7152, 0.0722], np.float32))


def sample_lighting(rng: np.random.Generator) -> Lighting:
    """Random light; a third of all people get flat ambient light only, as in an overcast street."""
    warmth = rng.normal(0.0, 0.3)
    contrast = rng.uniform(0.1, 0.75)
    sky = rng.uniform(0.7, 1.1) * white(warmth + rng.normal(0, 0.15))
    ground = rng.uniform(0.35, 0.95) * white(warmth + rng.normal(0.1, 0.15))
    directions: list[Floats] = []
    colors: list[Floats] = []
    if rng.random() > 0.3:
        sky, ground = sky * (1 - contrast), ground * (1 - contrast)
        # The key stands somewhere in front, the others anywhere around.
        azimuths = [rng.normal(0, 45), *rng.uniform(-180, 180, size=rng.integers(0, 3))]
        for k, azimuth in enumerate(np.radians(azimuths)):
            height = math.radians(rng.uniform(-5, 60))
            directions.append(
                np.array(
                    [
                        math.sin(azimuth) * math.cos(height),
                        -math.cos(azimuth) * math.cos(height),
                        math.sin(height),
                    ],
                    np.float32,
                )
            )
            strength = contrast * (1.2 if k == 0 else rng.uniform(0.2, 0.9))
            colors.append(strength * white(warmth + rng.normal(0, 0.3)))
    exposure = rng.uniform(0.72, 1.02) / _metered(sky, ground, directions, colors)
    return Lighting(
        _triple(sky),
        _triple(ground),
        tuple(_triple(d / np.linalg.norm(d)) for d in directions),
        tuple(_triple(c) for c in colors),
        round(float(exposure), 4),
    )


def _metered(sky: Floats, ground: Floats, directions: list[Floats], colors: list[Floats]) -> float:
    """Mean light on a face that looks ahead."""
    up = (METERED[:, 2:] + 1) / 2
    total = up * sky + (1 - up) * ground
    for direction, color in zip(directions, colors, strict=True):
        total = total + np.maximum(METERED @ direction, 0)[:, None] * color
    return float(total.mean())


def _triple(values: Floats) -> Triple:
    x, y, z = (round(float(v), 4) for v in values)
    return x, y, z
