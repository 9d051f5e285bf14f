"""Points in Morton order: neighbours in space become neighbours in a file, which packs them better."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BITS = 21  # three coordinates of so many fit 64
_SPREADS = (
    (32, 0x001F00000000FFFF),
    (16, 0x001F0000FF0000FF),
    (8, 0x100F00F00F00F00F),
    (4, 0x10C30C30C30C30C3),
    (2, 0x1249249249249249),
)


def morton_order(points: NDArray[np.floating]) -> NDArray[np.int64]:
    """(N,) indices that sort finite points (N, 3) along a Z-order curve through their bounding box."""
    if len(points) == 0:
        return np.zeros(0, np.int64)
    low = points.min(axis=0)
    extent = max(float((points - low).max()), np.finfo(np.float64).tiny)
    cells = ((points - low) * ((2**_BITS - 1) / extent)).astype(np.uint64)
    codes = np.zeros(len(points), np.uint64)
    for axis in range(3):
        codes |= _spread(cells[:, axis]) << np.uint64(axis)
    return np.argsort(codes, kind="stable")


def _spread(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The 21 bits of each number with two zeros before each."""
    for shift, mask in _SPREADS:
        bits = (bits | bits << np.uint64(shift)) & np.uint64(mask)
    return bits
