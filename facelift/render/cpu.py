"""The CPU rasteriser: 3D Gaussian Splatting (Kerbl et al. 2023), forward and backward, in numba.

One camera is drawn in three steps, as on a GPU: project every Gaussian to a splat, an ellipse in the image;
sort the splats by depth and list them by tile of 16 x 16 pixels; blend each tile's list front to back. A row
of a tile is 16 floats, one AVX-512 register or two of AVX2, so that the innermost loops are the compiler's
to vectorise.

The kernels are serial and release the interpreter's lock. Threads share the work out between them: cameras
when there are enough, and otherwise ranges of Gaussians and of tiles. One thread writes each result and every
sum has one order, so images and gradients do not depend on the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from facelift.cameras import Cameras
from facelift.gaussians import Gaussians

TILE = 16  # pixels
PIXELS = TILE * TILE
BATCH = 32  # splats that a tile fetches at a time
NEAR = np.float32(0.01)  # world units
DILATION = np.float32(0.3)  # square pixels, added to the variances of the projected Gaussian
MIN_ALPHA = np.float32(1 / 255)  # contributions below are skipped
MAX_ALPHA = np.float32(0.99)
MIN_TRANSMITTANCE = np.float32(1e-4)  # a pixel stops at the Gaussian that would leave less than this

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
T = TypeVar("T")

_ZERO, _HALF, _ONE, _TWO = (np.float32(c) for c in (0, 0.5, 1, 2))
_LOG2E = np.float32(math.log2(math.e))
_MIN_LOG2_ALPHA = np.float32(-math.log2(255))
_LEAST_LOG2 = np.float32(-16)  # well below that, and far from the denormal numbers, which are slow


def _kernel(signature: str, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile for one signature; keep the machine code on disk where that is possible."""
    options |= {"nogil": True, "error_model": "numpy"}

    def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return numba.njit(signature, cache=True, **options)(function)
        except RuntimeError:  # no folder can be written to
            return numba.njit(signature, **options)(function)

    return compiled


# Enough for sums to be vectorised; infinities and NaN keep their meaning.
_FAST = {"contract", "reassoc", "nsz"}

# A splat is a row of ten floats: centre (u, v), exponent (a, b, c, k), colour (r, g, b), depth z. To the
# pixel whose centre is at (u + dx, v + dy) it gives
#     alpha = 2 ** (k + a dx^2 + b dx dy + c dy^2),
# where k = log2(opacity), (a, b, c) = -log2(e) / 2 (K_xx, 2 K_xy, K_yy), K the inverse of the projected
# covariance. A splat's box is x0, x1, y0, y1: alpha < 1/255 outside of x0 <= x < x1, y0 <= y < y1. It is
# empty if the Gaussian is out of view.


@numba.njit(error_model="numpy")
def _limits(intrinsics: Floats, width: int, height: int) -> tuple[float, float, float, float]:
    """The range of x / z and that of y / z where the projection is linearised: the image and 15% around."""
    fx, fy, cx, cy = intrinsics[0], intrinsics[1], intrinsics[2], intrinsics[3]
    w, h = np.float32(width), np.float32(height)
    around = np.float32(0.15)
    return (
        (-cx - around * w) / fx,
        (w - cx + around * w) / fx,
        (-cy - around * h) / fy,
        (h - cy + around * h) / fy,
    )


@numba.njit(error_model="numpy")
def _turned(w2c: Floats, x: float, y: float, z: float) -> tuple[float, float, float]:
    """The vector (x, y, z) along the camera's axes."""
    return (
        w2c[0, 0] * x + w2c[0, 1] * y + w2c[0, 2] * z,
        w2c[1, 0] * x + w2c[1, 1] * y + w2c[1, 2] * z,
        w2c[2, 0] * x + w2c[2, 1] * y + w2c[2, 2] * z,
    )


@_kernel("void(f4[:,::1], f4[:,::1], f4[:,:,::1])")
def _factorize(quats: Floats, scales: Floats, factors: Floats) -> None:
    """Quaternions (G, 4), wxyz, of any length, and scales (G, 3) to `factors` (G, 3, 3): rotations by scales.

    A factor F stands for the covariance F F^T.
    """
    for i in range(len(quats)):
        q0, q1, q2, q3 = quats[i, 0], quats[i, 1], quats[i, 2], quats[i, 3]
        inv = _ONE / np.sqrt(q0 * q0 + q1 * q1 + q2 * q2 + q3 * q3)
        w, x, y, z = q0 * inv, q1 * inv, q2 * inv, q3 * inv
        s0, s1, s2 = scales[i, 0], scales[i, 1], scales[i, 2]
        factors[i, 0, 0] = s0 * (_ONE - _TWO * (y * y + z * z))
        factors[i, 0, 1] = s1 * _TWO * (x * y - w * z)
        factors[i, 0, 2] = s2 * _TWO * (x * z + w * y)
        factors[i, 1, 0] = s0 * _TWO * (x * y + w * z)
        factors[i, 1, 1] = s1 * (_ONE - _TWO * (x * x + z * z))
        factors[i, 1, 2] = s2 * _TWO * (y * z - w * x)
        factors[i, 2, 0] = s0 * _TWO * (x * z - w * y)
        factors[i, 2, 1] = s1 * _TWO * (y * z + w * x)
        factors[i, 2, 2] = s2 * (_ONE - _TWO * (x * x + y * y))


@_kernel("void(f4[:,::1], f4[:,::1], f4[:,:,::1], f4[:,::1], f4[:,::1])")
def _factorize_backward(
    quats: Floats, scales: Floats, d_factors: Floats, d_quats: Floats, d_scales: Floats
) -> None:
    """From the gradients of the factors, which it spoils, to those of quaternions and scales, zero before."""
    for i in range(len(quats)):
        d = d_factors[i]
        if not d.any():  # out of view
            continue
        q0, q1, q2, q3 = quats[i, 0], quats[i, 1], quats[i, 2], quats[i, 3]
        inv = _ONE / np.sqrt(q0 * q0 + q1 * q1 + q2 * q2 + q3 * q3)
        w, x, y, z = q0 * inv, q1 * inv, q2 * inv, q3 * inv
        d_scales[i, 0] = (
            d[0, 0] * (_ONE - _TWO * (y * y + z * z))
            + d[1, 0] * _TWO * (x * y + w * z)
            + d[2, 0] * _TWO * (x * z - w * y)
        )
        d_scales[i, 1] = (
            d[0, 1] * _TWO * (x * y - w * z)
            + d[1, 1] * (_ONE - _TWO * (x * x + z * z))
            + d[2, 1] * _TWO * (y * z + w * x)
        )
        d_scales[i, 2] = (
            d[0, 2] * _TWO * (x * z + w * y)
            + d[1, 2] * _TWO * (y * z - w * x)
            + d[2, 2] * (_ONE - _TWO * (x * x + y * y))
        )
        for j in range(3):
            for k in range(3):
                d[j, k] *= _TWO * scales[i, k]
        # The gradient of the unit quaternion, less its part along the quaternion, which normalising removes.
        d_w = x * (d[2, 1] - d[1, 2]) + y * (d[0, 2] - d[2, 0]) + z * (d[1, 0] - d[0, 1])
        d_x = w * (d[2, 1] - d[1, 2]) + y * (d[0, 1] + d[1, 0]) + z * (d[0, 2] + d[2, 0])
        d_y = w * (d[0, 2] - d[2, 0]) + x * (d[0, 1] + d[1, 0]) + z * (d[1, 2] + d[2, 1])
        d_z = w * (d[1, 0] - d[0, 1]) + x * (d[0, 2] + d[2, 0]) + y * (d[1, 2] + d[2, 1])
        d_x -= _TWO * x * (d[1, 1] + d[2, 2])
        d_y -= _TWO * y * (d[0, 0] + d[2, 2])
        d_z -= _TWO * z * (d[0, 0] + d[1, 1])
        along = w * d_w + x * d_x + y * d_y + z * d_z
        d_quats[i, 0], d_quats[i, 1] = inv * (d_w - along * w), inv * (d_x - along * x)
        d_quats[i, 2], d_quats[i, 3] = inv * (d_y - along * y), inv * (d_z - along * z)


@_kernel(
    "void(f4[:,::1], f4[:,:,::1], f4[::1], f4[:,::1], f4[:,::1], f4[::1], i8, i8, i8, i8, f4[:,::1], "
    "i4[:,::1])"
)
def _project(
    means: Floats,
    factors: Floats,
    opacities: Floats,
    colors: Floats,
    w2c: Floats,
    intrinsics: Floats,
    width: int,
    height: int,
    first: int,
    last: int,
    splats: Floats,
    boxes: Ints,
) -> None:
    """Gaussians [first, last) of (G, ...) to `splats` (G, 10) and `boxes` (G, 4)."""
    fx, fy, cx, cy = intrinsics[0], intrinsics[1], intrinsics[2], intrinsics[3]
    w, h = np.float32(width), np.float32(height)
    left, right, top, bottom = _limits(intrinsics, width, height)
    px, py = np.empty(3, np.float32), np.empty(3, np.float32)
    for i in range(first, last):
        boxes[i, 0] = boxes[i, 1] = boxes[i, 2] = boxes[i, 3] = 0
        x, y, z = _turned(w2c, means[i, 0], means[i, 1], means[i, 2])
        x, y, z = x + w2c[0, 3], y + w2c[1, 3], z + w2c[2, 3]
        if not (z > NEAR and opacities[i] > MIN_ALPHA):  # so written, NaN is out of view
            continue
        inv_z = _ONE / z
        u, v = fx * x * inv_z + cx, fy * y * inv_z + cy

        # The rows of J W F: the projection's Jacobian, the camera's rotation, the covariance's factor.
        slope_x, slope_y = min(max(x * inv_z, left), right), min(max(y * inv_z, top), bottom)
        for k in range(3):
            f_x, f_y, f_z = _turned(w2c, factors[i, 0, k], factors[i, 1, k], factors[i, 2, k])
            px[k] = fx * inv_z * (f_x - slope_x * f_z)
            py[k] = fy * inv_z * (f_y - slope_y * f_z)
        xx = px[0] * px[0] + px[1] * px[1] + px[2] * px[2]
        xy = px[0] * py[0] + px[1] * py[1] + px[2] * py[2]
        yy = py[0] * py[0] + py[1] * py[1] + py[2] * py[2]
        # The determinant by Lagrange's identity, which does not cancel for a long and thin splat.
        c0, c1, c2 = (
            px[1] * py[2] - px[2] * py[1],
            px[2] * py[0] - px[0] * py[2],
            px[0] * py[1] - px[1] * py[0],
        )
        det = c0 * c0 + c1 * c1 + c2 * c2 + DILATION * (xx + yy) + DILATION * DILATION
        xx += DILATION
        yy += DILATION

        log2_opacity = np.log2(opacities[i])
        reach = _TWO / _LOG2E * (log2_opacity - _MIN_LOG2_ALPHA)  # squared, in standard deviations
        reach_x, reach_y = np.sqrt(reach * xx), np.sqrt(reach * yy)
        if not (u + reach_x > _ZERO and u - reach_x < w and v + reach_y > _ZERO and v - reach_y < h):
            continue
        scale = -_HALF * _LOG2E / det
        splats[i, 0], splats[i, 1] = u, v
        splats[i, 2], splats[i, 3], splats[i, 4] = scale * yy, -_TWO * scale * xy, scale * xx
        splats[i, 5] = log2_opacity
        splats[i, 6], splats[i, 7], splats[i, 8] = colors[i, 0], colors[i, 1], colors[i, 2]
        splats[i, 9] = z
        total = _ZERO
        for k in range(10):
            total += splats[i, k]
        if np.isfinite(total):
            pad = np.float32(0.51)  # from a pixel to its centre, and a little for rounding
            boxes[i, 0] = np.int32(np.ceil(max(u - reach_x - pad, _ZERO)))
            boxes[i, 1] = np.int32(np.floor(min(u + reach_x + pad, w)))
            boxes[i, 2] = np.int32(np.ceil(max(v - reach_y - pad, _ZERO)))
            boxes[i, 3] = np.int32(np.floor(min(v + reach_y + pad, h)))


@_kernel("Tuple((i4[::1], i4[:,::1], i4[::1]))(f4[:,::1], i4[:,::1], i8, i8)")
def _list_by_tile(splats: Floats, boxes: Ints, columns: int, rows: int) -> tuple[Ints, Ints, Ints]:
    """Which splats touch which tile, front to back.

    A splat and a tile that it touches are a pair. Pairs are numbered by splat.

    Returns:
        starts: (rows * columns + 1,), tile t's list is entries [starts[t], starts[t + 1]).
        entries: (P, 2), each tile's splats by depth, and the numbers of these pairs. Splats of the same depth
            stay in their order.
        first_pair: (G + 1,), splat i's pairs are [first_pair[i], first_pair[i + 1]).
    """
    count = len(boxes)
    starts = np.zeros(rows * columns + 1, np.int32)
    first_pair = np.empty(count + 1, np.int32)
    order, keys = np.empty(count, np.int32), np.empty(count, np.int32)
    visible = pairs = lowest = highest = 0
    for i in range(count):
        first_pair[i] = pairs
        if boxes[i, 0] < boxes[i, 1] and boxes[i, 2] < boxes[i, 3]:
            key = np.float32(splats[i, 9]).view(np.int32)  # the bits of positive floats sort as integers
            lowest = key if visible == 0 else min(lowest, key)
            highest = key if visible == 0 else max(highest, key)
            order[visible], keys[visible] = i, key
            visible += 1
            for row in range(boxes[i, 2] // TILE, (boxes[i, 3] - 1) // TILE + 1):
                for column in range(boxes[i, 0] // TILE, (boxes[i, 1] - 1) // TILE + 1):
                    starts[row * columns + column + 1] += 1
                    pairs += 1
    first_pair[count] = pairs
    for tile in range(rows * columns):
        starts[tile + 1] += starts[tile]

    # Radix sort, least significant digit first.
    order, keys = order[:visible], keys[:visible]
    other_order, other_keys = np.empty_like(order), np.empty_like(keys)
    shift = 0
    while (highest - lowest) >> shift > 0:
        places = np.zeros(2049, np.int32)
        for key in keys:
            places[((key - lowest) >> shift & 2047) + 1] += 1
        for digit in range(2048):
            places[digit + 1] += places[digit]
        for j in range(visible):
            digit = (keys[j] - lowest) >> shift & 2047
            place = places[digit]
            places[digit] += 1
            other_order[place], other_keys[place] = order[j], keys[j]
        order, other_order = other_order, order
        keys, other_keys = other_keys, keys
        shift += 11

    ends = starts[:-1].copy()
    entries = np.empty((pairs, 2), np.int32)
    boxes, pair_of = boxes[order], first_pair[order]  # gathered first, so that the waits for memory overlap
    for j in range(visible):
        pair = pair_of[j]
        for row in range(boxes[j, 2] // TILE, (boxes[j, 3] - 1) // TILE + 1):
            for column in range(boxes[j, 0] // TILE, (boxes[j, 1] - 1) // TILE + 1):
                place = ends[row * columns + column]
                ends[row * columns + column] += 1
                entries[place, 0], entries[place, 1] = order[j], pair
                pair += 1
    return starts, entries, first_pair


@numba.njit(fastmath=_FAST, error_model="numpy")
def _exp2(p: float) -> float:
    """2 ** p in float32 for -127 < p <= 0, to 2e-7 of it: a power of two times a polynomial on (-1, 0]."""
    whole = np.int32(p)
    f = p - np.float32(whole)
    poly = np.float32(9.449036746e-04)
    poly = poly * f + np.float32(9.205798220e-03)
    poly = poly * f + np.float32(5.529735829e-02)
    poly = poly * f + np.float32(2.401801429e-01)
    poly = poly * f + np.float32(6.931437212e-01)
    poly = poly * f + _ONE
    return poly * np.int32((whole + np.int32(127)) << np.int32(23)).view(np.float32)


# Both blending kernels keep a tile's pixels as planes of 256 floats in one small array, which stays in the
# first-level cache. Plane 0 is the transmittance. A pixel that is done has it negated, so that the Gaussians
# behind leave the pixel alone. The innermost loops choose and never branch, or they would not be vectorised.


@numba.njit(error_model="numpy")
def _fetch(
    splats: Floats,
    boxes: Ints,
    entries: Ints,
    x_tile: int,
    y_tile: int,
    top: int,
    bottom: int,
    near: Floats,
    at: Ints,
) -> int:
    """Copy the splats of these entries that reach into rows [top, bottom) of a tile, and return their number.

    They go to `near`, in coordinates whose origin is the centre of the tile's first pixel, and to `at`: first
    row, row behind the last, splat, pair. Fetched together, their waits for memory overlap.
    """
    count = 0
    for e in range(len(entries)):
        i = entries[e, 0]
        first, last = max(boxes[i, 2] - y_tile, top), min(boxes[i, 3] - y_tile, bottom)
        at[count, 0], at[count, 1], at[count, 2], at[count, 3] = first, last, i, entries[e, 1]
        for k in range(10):
            near[count, k] = splats[i, k]
        near[count, 0] -= np.float32(x_tile) + _HALF
        near[count, 1] -= np.float32(y_tile) + _HALF
        count += first < last
    return count


@numba.njit(error_model="numpy")
def _open_rows(t: Floats) -> tuple[int, int]:
    """First row with a pixel that is not done, and the row behind the last one; (TILE, 0) if all are done."""
    top, bottom = TILE, 0
    for y in range(TILE):
        clearest = _ZERO
        for x in range(TILE):
            clearest = max(clearest, t[y * TILE + x])
        if clearest > _ZERO:
            top, bottom = min(top, y), y + 1
    return top, bottom


@_kernel(
    "void(f4[:,::1], i4[:,::1], i4[::1], i4[:,::1], i8, i8, f4[:,:,::1], f4[:,::1], f4[:,::1], i4[::1])",
    fastmath=_FAST,
)
def _blend(
    splats: Floats,
    boxes: Ints,
    starts: Ints,
    entries: Ints,
    first: int,
    last: int,
    color: Floats,
    alpha: Floats,
    depth: Floats,
    drawn: Ints,
) -> None:
    """Draw tiles [first, last) into color (3, H, W), alpha (H, W) and depth (H, W).

    It also packs each tile's list for the backward pass: the entries that met a pixel which was not done
    come first, in their order, and `drawn` (tiles,) is their number. It is about half of a head's.
    """
    height, width = alpha.shape
    columns = (width + TILE - 1) // TILE
    t = np.empty(5 * PIXELS, np.float32)  # transmittance, colour, depth
    near, at = np.empty((BATCH, 10), np.float32), np.empty((BATCH, 4), np.int32)
    for tile in range(first, last):
        x_tile, y_tile = tile % columns * TILE, tile // columns * TILE
        t[:PIXELS] = _ONE
        t[PIXELS:] = _ZERO
        packed = starts[tile]
        for start in range(starts[tile], starts[tile + 1], BATCH):
            top, bottom = _open_rows(t)
            if top > bottom:
                break
            batch = entries[start : min(start + BATCH, starts[tile + 1])]
            for j in range(_fetch(splats, boxes, batch, x_tile, y_tile, top, bottom, near, at)):
                u, v, a, b, c, k = near[j, 0], near[j, 1], near[j, 2], near[j, 3], near[j, 4], near[j, 5]
                red, green, blue, z = near[j, 6], near[j, 7], near[j, 8], near[j, 9]
                hit = False
                for y in range(at[j, 0], at[j, 1]):
                    dy = np.float32(y) - v
                    constant, slope = k + c * dy * dy, b * dy
                    row = np.uint64(y * TILE)
                    for x in range(np.uint64(TILE)):
                        dx = np.float32(x) - u
                        p = constant + dx * (slope + a * dx)
                        opacity = min(_exp2(max(p, _LEAST_LOG2)), MAX_ALPHA)
                        before = t[row + x]
                        after = before - before * opacity
                        seen, done = p >= _MIN_LOG2_ALPHA, after < MIN_TRANSMITTANCE
                        weight = before * opacity if seen and not done else _ZERO
                        now = (-abs(before) if done else after) if seen else before
                        t[row + x] = now
                        t[row + x + np.uint64(1 * PIXELS)] += weight * red
                        t[row + x + np.uint64(2 * PIXELS)] += weight * green
                        t[row + x + np.uint64(3 * PIXELS)] += weight * blue
                        t[row + x + np.uint64(4 * PIXELS)] += weight * z
                        hit = True if now != before else hit
                entries[packed, 0], entries[packed, 1] = at[j, 2], at[j, 3]
                packed += hit
        drawn[tile] = packed - starts[tile]
        for y in range(min(TILE, height - y_tile)):
            for x in range(min(TILE, width - x_tile)):
                p = y * TILE + x
                alpha[y_tile + y, x_tile + x] = _ONE - abs(t[p])
                color[0, y_tile + y, x_tile + x] = t[p + 1 * PIXELS]
                color[1, y_tile + y, x_tile + x] = t[p + 2 * PIXELS]
                color[2, y_tile + y, x_tile + x] = t[p + 3 * PIXELS]
                depth[y_tile + y, x_tile + x] = t[p + 4 * PIXELS]


@_kernel(
    "void(f4[:,::1], i4[:,::1], i4[::1], i4[:,::1], i4[::1], i8, i8, f4[:,:,::1], f4[:,::1], f4[:,::1], "
    "f4[:,:,::1], f4[:,::1], f4[:,::1], f4[:,::1])",
    fastmath=_FAST,
)
def _blend_backward(
    splats: Floats,
    boxes: Ints,
    starts: Ints,
    entries: Ints,
    drawn: Ints,
    first: int,
    last: int,
    color: Floats,
    alpha: Floats,
    depth: Floats,
    d_color: Floats,
    d_alpha: Floats,
    d_depth: Floats,
    d_pairs: Floats,
) -> None:
    """From the gradients of tiles [first, last) to those of each pair, `d_pairs` (P, 10), zero on entry.

    With w the weights, T the transmittances and q = d_color . colour + d_depth z + d_alpha, what a unit of a
    Gaussian's weight is worth to the loss,
        dL/dalpha_i = T_i q_i - (sum of w_j q_j over those behind) / (1 - alpha_i).
    The lists are walked front to back once more: the sum behind is the pixel's total, known from the forward
    pass, less what has gone by.

    A row of `d_pairs` is: the sums over pixels of h, h dx, h dy, h dx^2, h dx dy, h dy^2, where
    h = alpha dL/dalpha = dL/d(ln alpha); the gradients of the colour; that of the depth.
    """
    height, width = alpha.shape
    columns = (width + TILE - 1) // TILE
    t = np.empty(7 * PIXELS, np.float32)  # transmittance, the sum behind, d_color, d_alpha, d_depth
    s = np.empty(7 * TILE, np.float32)  # sums down the tile's columns: h, h dy, h dy^2, d_color, d_depth
    near, at = np.empty((BATCH, 10), np.float32), np.empty((BATCH, 4), np.int32)
    for tile in range(first, last):
        if drawn[tile] == 0:
            continue
        x_tile, y_tile = tile % columns * TILE, tile // columns * TILE
        t[:PIXELS] = _ONE
        t[PIXELS:] = _ZERO
        for y in range(min(TILE, height - y_tile)):
            for x in range(min(TILE, width - x_tile)):
                p, iy, ix = y * TILE + x, y_tile + y, x_tile + x
                d_red, d_green, d_blue = d_color[0, iy, ix], d_color[1, iy, ix], d_color[2, iy, ix]
                total = d_red * color[0, iy, ix] + d_green * color[1, iy, ix] + d_blue * color[2, iy, ix]
                t[p + 1 * PIXELS] = total + d_alpha[iy, ix] * alpha[iy, ix] + d_depth[iy, ix] * depth[iy, ix]
                t[p + 2 * PIXELS], t[p + 3 * PIXELS], t[p + 4 * PIXELS] = d_red, d_green, d_blue
                t[p + 5 * PIXELS], t[p + 6 * PIXELS] = d_alpha[iy, ix], d_depth[iy, ix]
        end = starts[tile] + drawn[tile]
        for start in range(starts[tile], end, BATCH):
            top, bottom = _open_rows(t)
            batch = entries[start : min(start + BATCH, end)]
            for j in range(_fetch(splats, boxes, batch, x_tile, y_tile, top, bottom, near, at)):
                u, v, a, b, c, k = near[j, 0], near[j, 1], near[j, 2], near[j, 3], near[j, 4], near[j, 5]
                red, green, blue, z = near[j, 6], near[j, 7], near[j, 8], near[j, 9]
                s[:] = _ZERO
                for y in range(at[j, 0], at[j, 1]):
                    dy = np.float32(y) - v
                    constant, slope = k + c * dy * dy, b * dy
                    row = np.uint64(y * TILE)
                    for x in range(np.uint64(TILE)):
                        dx = np.float32(x) - u
                        p = constant + dx * (slope + a * dx)
                        opacity = min(_exp2(max(p, _LEAST_LOG2)), MAX_ALPHA)
                        before = t[row + x]
                        after = before - before * opacity
                        seen, done = p >= _MIN_LOG2_ALPHA, after < MIN_TRANSMITTANCE
                        weighs = seen and not done
                        weight = before * opacity if weighs else _ZERO
                        t[row + x] = (-abs(before) if done else after) if seen else before
                        d_red = t[row + x + np.uint64(2 * PIXELS)]
                        d_green = t[row + x + np.uint64(3 * PIXELS)]
                        d_blue = t[row + x + np.uint64(4 * PIXELS)]
                        d_a = t[row + x + np.uint64(5 * PIXELS)]
                        d_z = t[row + x + np.uint64(6 * PIXELS)]
                        worth = d_red * red + d_green * green + d_blue * blue + d_a + d_z * z
                        behind = t[row + x + np.uint64(PIXELS)] - weight * worth
                        t[row + x + np.uint64(PIXELS)] = behind
                        h = opacity * (before * worth - behind / (_ONE - opacity))
                        h = h if weighs and opacity < MAX_ALPHA else _ZERO
                        s[x] += h
                        s[x + np.uint64(1 * TILE)] += h * dy
                        s[x + np.uint64(2 * TILE)] += h * dy * dy
                        s[x + np.uint64(3 * TILE)] += weight * d_red
                        s[x + np.uint64(4 * TILE)] += weight * d_green
                        s[x + np.uint64(5 * TILE)] += weight * d_blue
                        s[x + np.uint64(6 * TILE)] += weight * d_z
                h0 = h_x = h_y = h_xx = h_xy = h_yy = sum_red = sum_green = sum_blue = sum_z = _ZERO
                for x in range(TILE):
                    dx = np.float32(x) - u
                    h0 += s[x]
                    h_x += s[x] * dx
                    h_y += s[x + 1 * TILE]
                    h_xx += s[x] * dx * dx
                    h_xy += s[x + 1 * TILE] * dx
                    h_yy += s[x + 2 * TILE]
                    sum_red += s[x + 3 * TILE]
                    sum_green += s[x + 4 * TILE]
                    sum_blue += s[x + 5 * TILE]
                    sum_z += s[x + 6 * TILE]
                pair = d_pairs[at[j, 3]]
                pair[0], pair[1], pair[2], pair[3], pair[4], pair[5] = h0, h_x, h_y, h_xx, h_xy, h_yy
                pair[6], pair[7], pair[8], pair[9] = sum_red, sum_green, sum_blue, sum_z


@_kernel(
    "void(f4[:,::1], f4[:,:,::1], f4[::1], f4[:,::1], f4[::1], i8, i8, i8, i8, f4[:,::1], i4[::1], "
    "f4[:,::1], f4[:,::1], f4[:,:,::1], f4[::1], f4[:,::1])"
)
def _project_backward(
    means: Floats,
    factors: Floats,
    opacities: Floats,
    w2c: Floats,
    intrinsics: Floats,
    width: int,
    height: int,
    first: int,
    last: int,
    splats: Floats,
    first_pair: Ints,
    d_pairs: Floats,
    d_means: Floats,
    d_factors: Floats,
    d_opacities: Floats,
    d_colors: Floats,
) -> None:
    """From the gradients of pairs to those of Gaussians [first, last), added to `d_means` and the like."""
    fx, fy = intrinsics[0], intrinsics[1]
    left, right, top, bottom = _limits(intrinsics, width, height)
    d = np.empty(10, np.float32)
    for i in range(first, last):
        if first_pair[i] == first_pair[i + 1]:
            continue
        d[:] = _ZERO
        for pair in range(first_pair[i], first_pair[i + 1]):
            for k in range(10):
                d[k] += d_pairs[pair, k]
        d_opacities[i] += d[0] / opacities[i]
        for k in range(3):
            d_colors[i, k] += d[6 + k]

        # The inverse covariance K gives the gradient of the centre, K (h dx, h dy), and, with H the matrix of
        # h dx^2, h dx dy, h dy^2, that of the covariance, K H K / 2. Here it is doubled, as the covariance is
        # P P^T, and the gradient of P is twice that of the covariance times P.
        scale = -_ONE / _LOG2E
        k_xx, k_xy, k_yy = _TWO * scale * splats[i, 2], scale * splats[i, 3], _TWO * scale * splats[i, 4]
        d_u, d_v = k_xx * d[1] + k_xy * d[2], k_xy * d[1] + k_yy * d[2]
        kh_xx, kh_xy = k_xx * d[3] + k_xy * d[4], k_xx * d[4] + k_xy * d[5]
        kh_yx, kh_yy = k_xy * d[3] + k_yy * d[4], k_xy * d[4] + k_yy * d[5]
        d_xx, d_yy = kh_xx * k_xx + kh_xy * k_xy, kh_yx * k_xy + kh_yy * k_yy
        d_xy = kh_xx * k_xy + kh_xy * k_yy

        x, y, z = _turned(w2c, means[i, 0], means[i, 1], means[i, 2])
        x, y, inv_z = x + w2c[0, 3], y + w2c[1, 3], _ONE / (z + w2c[2, 3])
        slope_x, slope_y = min(max(x * inv_z, left), right), min(max(y * inv_z, top), bottom)
        d_slope_x = d_slope_y = d_size = _ZERO
        for k in range(3):
            f_x, f_y, f_z = _turned(w2c, factors[i, 0, k], factors[i, 1, k], factors[i, 2, k])
            px, py = fx * inv_z * (f_x - slope_x * f_z), fy * inv_z * (f_y - slope_y * f_z)
            d_px, d_py = d_xx * px + d_xy * py, d_xy * px + d_yy * py
            d_size += d_px * px + d_py * py
            d_fx, d_fy = fx * inv_z * d_px, fy * inv_z * d_py
            d_fz = -slope_x * d_fx - slope_y * d_fy
            d_slope_x -= d_fx * f_z
            d_slope_y -= d_fy * f_z
            for j in range(3):
                d_factors[i, j, k] += w2c[0, j] * d_fx + w2c[1, j] * d_fy + w2c[2, j] * d_fz

        # x / z and y / z place the splat and, where they are not clamped, shape it; 1 / z sizes it.
        d_x = inv_z * (fx * d_u + (d_slope_x if slope_x == x * inv_z else _ZERO))
        d_y = inv_z * (fy * d_v + (d_slope_y if slope_y == y * inv_z else _ZERO))
        d_z = d[9] - inv_z * (d_size + d_x * x + d_y * y)
        for j in range(3):
            d_means[i, j] += w2c[0, j] * d_x + w2c[1, j] * d_y + w2c[2, j] * d_z


@dataclass(frozen=True)
class _Lists:
    """What the backward pass needs of one camera's forward pass."""

    splats: Floats
    boxes: Ints
    starts: Ints
    entries: Ints
    drawn: Ints
    first_pair: Ints


def _in_threads(work: Callable[[int], T], count: int, threads: int) -> list[T]:
    """[work(0), ..., work(count - 1)]."""
    if min(count, threads) <= 1:
        return [work(i) for i in range(count)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, range(count)))


def _for_cameras(work: Callable[[int, int], T], cameras: int, threads: int) -> list[T]:
    """[work(camera, inner threads)]: a thread a camera if there are enough cameras, else all inside each."""
    if cameras >= threads:
        return _in_threads(lambda camera: work(camera, 1), cameras, threads)
    return [work(camera, threads) for camera in range(cameras)]


def _in_pieces(work: Callable[[int, int], None], length: int, threads: int) -> None:
    """Call work(first, last) for ranges that cover [0, length), small enough to keep all threads busy."""
    pieces = 8 * threads if threads > 1 else 1
    _in_threads(lambda i: work(length * i // pieces, length * (i + 1) // pieces), pieces, threads)


class _Rasterize(torch.autograd.Function):
    """The fields of G Gaussians, with colours (G, 3) in place of `sh0`, to colour, alpha and depth."""

    @staticmethod
    def forward(ctx: Any, cameras: Cameras, keep: bool, *fields: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        n, width, height = len(cameras), cameras.width, cameras.height
        columns, rows = -(-width // TILE), -(-height // TILE)
        threads = torch.get_num_threads()
        means, quats, scales, opacities, colors = (t.detach().numpy() for t in fields)
        w2c, intrinsics = (
            t.detach().cpu().float().contiguous().numpy() for t in (cameras.w2c, cameras.intrinsics)
        )
        count = len(means)
        factors = np.empty((count, 3, 3), np.float32)
        _factorize(quats, scales, factors)
        color, alpha, depth = (np.empty((n, *size, height, width), np.float32) for size in ((3,), (), ()))

        def draw(camera: int, threads: int) -> _Lists | None:
            splats, boxes = np.empty((count, 10), np.float32), np.empty((count, 4), np.int32)
            inputs = (means, factors, opacities, colors, w2c[camera], intrinsics[camera], width, height)
            _in_pieces(lambda *span: _project(*inputs, *span, splats, boxes), count, threads)
            starts, entries, first_pair = _list_by_tile(splats, boxes, columns, rows)
            drawn = np.empty(rows * columns, np.int32)
            lists, outputs = (
                (splats, boxes, starts, entries),
                (color[camera], alpha[camera], depth[camera], drawn),
            )
            _in_pieces(lambda *span: _blend(*lists, *span, *outputs), rows * columns, threads)
            return _Lists(*lists, drawn, first_pair) if keep else None

        lists = _for_cameras(draw, n, threads)
        outputs = torch.from_numpy(color), torch.from_numpy(alpha)[:, None], torch.from_numpy(depth)[:, None]
        if keep:
            ctx.save_for_backward(*fields, *outputs)
            ctx.view, ctx.factors, ctx.lists = (w2c, intrinsics, width, height), factors, lists
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d_outputs: Tensor) -> tuple[Tensor | None, ...]:
        means, quats, scales, opacities, _, color, alpha, depth = (t.numpy() for t in ctx.saved_tensors)
        d_color, d_alpha, d_depth = (d.contiguous().numpy() for d in d_outputs)
        w2c, intrinsics, width, height = ctx.view
        threads = torch.get_num_threads()

        def pull(camera: int, threads: int) -> Floats:
            lists: _Lists = ctx.lists[camera]
            d_pairs = np.zeros((len(lists.entries), 10), np.float32)
            inputs = (lists.splats, lists.boxes, lists.starts, lists.entries, lists.drawn)
            images = (color[camera], alpha[camera, 0], depth[camera, 0])
            images += (d_color[camera], d_alpha[camera, 0], d_depth[camera, 0])
            tiles = len(lists.starts) - 1
            _in_pieces(lambda *span: _blend_backward(*inputs, *span, *images, d_pairs), tiles, threads)
            return d_pairs

        d_pairs = _for_cameras(pull, len(w2c), threads)
        sizes = ((3,), (3, 3), (), (3,))
        d_means, d_factors, d_opacities, d_colors = (
            np.zeros((len(means), *size), np.float32) for size in sizes
        )

        def gather(first: int, last: int) -> None:
            for lists, d, *view in zip(ctx.lists, d_pairs, w2c, intrinsics, strict=True):
                view += (width, height, first, last, lists.splats, lists.first_pair, d)
                into = (d_means, d_factors, d_opacities, d_colors)
                _project_backward(means, ctx.factors, opacities, *view, *into)

        _in_pieces(gather, len(means), threads)
        d_quats, d_scales = np.zeros_like(quats), np.zeros_like(scales)
        _factorize_backward(quats, scales, d_factors, d_quats, d_scales)
        d_fields = (d_means, d_quats, d_scales, d_opacities, d_colors)
        return None, None, *(torch.from_numpy(d) for d in d_fields)


def rasterize(gaussians: Gaussians, cameras: Cameras) -> tuple[Tensor, Tensor, Tensor]:
    """Colour on black (N, 3, H, W), alpha and depth (N, 1, H, W), as `facelift.render.Rendering` has them."""
    device = gaussians.means.device
    g = Gaussians(*(getattr(gaussians, f.name).to("cpu", torch.float32) for f in fields(gaussians)))
    inputs = [t.contiguous() for t in (g.means, g.quats, g.scales, g.opacities, g.colors)]
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in inputs)
    color, alpha, depth = _Rasterize.apply(cameras, keep, *inputs)
    return color.to(device), alpha.to(device), depth.to(device)
