"""The numbers of a person: plain and rounded, so that every machine writes the same JSON."""

from __future__ import annotations

from collections.abc import Iterable

Triple = tuple[float, float, float]


def triple(values: Iterable[float]) -> Triple:
    """Three numbers, rounded as a person's are."""
    x, y, z = (round(float(value), 4) for value in values)
    return x, y, z


def pair(values: Iterable[float]) -> tuple[float, float]:
    """Two numbers, rounded as a person's are."""
    x, y = (round(float(value), 4) for value in values)
    return x, y
