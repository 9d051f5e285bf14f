"""What the rasteriser's kernels share: how they are compiled, their numbers and their types."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

MIN_ALPHA = np.float32(1 / 255)  # contributions below are skipped
MIN_LOG2_ALPHA = np.float32(-math.log2(255))
ZERO, HALF, ONE, TWO = (np.float32(c) for c in (0, 0.5, 1, 2))


def kernel(signature: str, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile for one signature; keep the machine code on disk where that is possible."""
    options |= {"nogil": True, "error_model": "numpy"}

    def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return numba.njit(signature, cache=True, **options)(function)
        except RuntimeError:  # no folder can be written to
            return numba.njit(signature, **options)(function)

    return compiled


# A splat is a row of ten floats: centre (u, v), exponent (a, b, c, k), colour (r, g, b), depth z. To the
# pixel whose centre is at (u + dx, v + dy) it gives
#     alpha = 2 ** (k + a dx^2 + b dx dy + c dy^2),
# where k = log2(opacity), (a, b, c) = -log2(e) / 2 (K_xx, 2 K_xy, K_yy), K the inverse of the projected
# covariance. A splat's box is x0, x1, y0, y1: alpha < 1/255 outside of x0 <= x < x1, y0 <= y < y1. It is
# empty if the Gaussian is out of view.
