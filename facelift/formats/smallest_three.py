"""Rotations by three numbers: the largest component of a quaternion is left out, for the others tell it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def without_largest(quats: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Which component of (N, 4) quaternions is the largest, (N,), and the others, (N, 3), in ±sqrt(1/2)."""
    quats = quats / np.linalg.norm(quats, axis=-1, keepdims=True)
    largest = np.abs(quats).argmax(axis=-1)[:, None]
    quats = quats * np.sign(
        np.take_along_axis(quats, largest, axis=-1)
    )  # a quaternion and its negative are one
    return largest[:, 0], quats[np.arange(4) != largest].reshape(-1, 3)


def with_largest(largest: NDArray[np.number], others: Floats) -> Floats:
    """(N, 4) quaternions of what `without_largest` gives."""
    quats = np.empty((len(others), 4))
    here = np.arange(4) == largest[:, None]
    quats[here] = np.sqrt((1.0 - (others**2).sum(axis=-1)).clip(0.0))
    quats[~here] = others.ravel()
    return quats
