"""Backgrounds for portraits, drawn by chance: walls, streets, shelves, leaves, and all of them out of focus.

They need not look like any place. A network that has to cut people out of all of these learns what people
look like, not what walls do.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

Background = Callable[[np.random.Generator, int], np.ndarray]


def random_background(rng: np.random.Generator, size: int) -> np.ndarray:
    """(size, size, 3) float32 RGB in [0, 1]."""
    kinds: list[Background] = [_wall, _clouds, _shapes, _stripes, _leaves]
    image = kinds[rng.integers(len(kinds))](rng, size)
    if rng.random() < 0.3:  # another thing beside it, or above
        other = kinds[rng.integers(len(kinds))](rng, size)
        edge = np.linspace(-1, 1, size, dtype=np.float32) + rng.uniform(-0.7, 0.7)
        share = (0.5 + edge * rng.choice([4, 50])).clip(0, 1)[:, None]
        share = share if rng.random() < 0.5 else share.T
        image = image + share[..., None] * (other - image)
    if rng.random() < 0.6:  # out of focus
        image = cv2.GaussianBlur(image, (0, 0), size * rng.uniform(0.003, 0.05))
    return (image * rng.uniform(0.5, 1.2)).clip(0, 1).astype(np.float32)


def _color(rng: np.random.Generator) -> np.ndarray:
    """Any colour, the grey and the skin's more often than others."""
    kind = rng.random()
    if kind < 0.4:
        return (rng.uniform(0, 1) + rng.normal(0, 0.05, 3)).clip(0, 1)
    if kind < 0.6:
        skin = rng.uniform(0.2, 1.0) * np.array([1.0, 0.78, 0.66])
        return (skin + rng.normal(0, 0.05, 3)).clip(0, 1)
    return rng.uniform(0, 1, 3)


def _gradient(rng: np.random.Generator, size: int) -> np.ndarray:
    """(size, size, 1) in [0, 1], along any direction."""
    angle = rng.uniform(0, 2 * np.pi)
    line = np.linspace(-1, 1, size, dtype=np.float32)
    slope = np.cos(angle) * line[None] + np.sin(angle) * line[:, None]
    return (0.5 + slope * rng.uniform(0.2, 0.7))[..., None].clip(0, 1)


def _wall(rng: np.random.Generator, size: int) -> np.ndarray:
    a = _color(rng)
    b = a * rng.uniform(0.5, 1.5) if rng.random() < 0.7 else _color(rng)
    grain = rng.normal(0, rng.uniform(0, 0.04), (size, size, 1))
    return (a + _gradient(rng, size) * (b - a) + grain).clip(0, 1)


def _clouds(rng: np.random.Generator, size: int) -> np.ndarray:
    """Noise of several octaves between a few colours."""
    share = np.zeros((size, size, 2))
    strength, cells = 1.0, int(rng.integers(2, 6))
    while cells < size:
        noise = rng.normal(0, strength, (cells, cells, 2))
        share = share + cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)
        strength, cells = strength * rng.uniform(0.4, 0.9), cells * 2
    share = 1 / (1 + np.exp(-2 * share))
    a, b, c = (_color(rng) for _ in range(3))
    first = a + share[..., :1] * (b - a)
    return first + share[..., 1:] * (c - first)


def _shapes(rng: np.random.Generator, size: int) -> np.ndarray:
    """Boxes, discs, bars and polygons, as of a room or a street."""
    image = _wall(rng, size)
    for _ in range(rng.integers(4, 50)):
        color = tuple(float(c) for c in _color(rng))
        x, y, w, h = (int(v) for v in rng.uniform(0, size, 4) * [1, 1, 0.6, 0.6])
        kind = rng.integers(4)
        if kind == 0:
            cv2.rectangle(image, (x, y), (x + w, y + h), color, -1)
        elif kind == 1:
            cv2.ellipse(image, (x, y), (w // 2, h // 2), float(rng.uniform(0, 180)), 0, 360, color, -1)
        elif kind == 2:
            cv2.line(image, (x, y), (x + w, y + int(rng.normal(0, h))), color, int(rng.integers(1, 12)))
        else:
            corners = rng.uniform(-0.5, 0.5, (int(rng.integers(3, 7)), 2)) * [w, h] + [x, y]
            cv2.fillPoly(image, [corners.astype(np.int32)], color)
    return image


def _stripes(rng: np.random.Generator, size: int) -> np.ndarray:
    """Shelves, blinds, bricks, fences: bands whose colours alternate or differ, one way or both ways."""
    image = np.zeros((size, size, 3), np.float32)
    palette = [_color(rng) for _ in range(rng.integers(2, 8))]
    rows = rng.integers(1, 6) if rng.random() < 0.5 else 1
    for row in np.array_split(np.arange(size), rows):
        x = 0
        while x < size:
            width = int(rng.uniform(0.01, 0.1) * size) + 1
            shade = rng.uniform(0.6, 1.2)
            image[row[0] : row[-1] + 1, x : x + width] = shade * palette[rng.integers(len(palette))]
            x += width
    image = image.clip(0, 1)
    turn = cv2.getRotationMatrix2D((size / 2, size / 2), rng.uniform(-20, 20) + 90 * rng.integers(2), 1.4)
    return cv2.warpAffine(image, turn, (size, size), borderMode=cv2.BORDER_REFLECT)


def _leaves(rng: np.random.Generator, size: int) -> np.ndarray:
    """Many small things of like colours over one another."""
    image = _wall(rng, size)
    base = _color(rng)
    for _ in range(rng.integers(100, 500)):
        color = tuple(float(c) for c in (base * rng.uniform(0.4, 1.4) + rng.normal(0, 0.04, 3)).clip(0, 1))
        x, y = (int(v) for v in rng.uniform(0, size, 2))
        axes = (int(rng.integers(2, 14)), int(rng.integers(1, 7)))
        cv2.ellipse(image, (x, y), axes, float(rng.uniform(0, 180)), 0, 360, color, -1)
    return image
