"""What the rasteriser's kernels share: how they are compiled, their numbers and their types."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
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
            return _cached(function, signature, options)
        except Exception:  # no folder to write to, or the fault is in the function and is raised again
            return numba.njit(signature, **options)(function)

    return compiled


def _cached(function: Callable[..., Any], signature: str, options: dict[str, Any]) -> Callable[..., Any]:
    """What numba's `cache=True` does, but files that cannot be read are made again."""
    dispatcher = numba.njit(**options)(function)
    dispatcher.enable_caching()
    try:
        dispatcher.compile(signature)
    except Exception:  # numba unpickles what it finds, and a damaged file may raise anything
        with suppress(OSError):  # the disk is full
            dispatcher._cache.flush()
        dispatcher.compile(signature)  # at once if only the writing failed
    dispatcher.disable_compile()
    return dispatcher


# A splat is a row of ten floats: centre (u, v), exponent (a, b, c, k), colour (r, g, b), depth z. To the
# pixel whose centre is at (u + dx, v + dy) it gives
#     alpha = 2 ** (k + a dx^2 + b dx dy + c dy^2),
# where k = log2(opacity), (a, b, c) = -log2(e) / 2 (K_xx, 2 K_xy, K_yy), K the inverse of the projected
# covariance. A splat's box is x0, x1, y0, y1: alpha < 1/255 outside of x0 <= x < x1, y0 <= y < y1. It is
# empty if the Gaussian is out of view.
