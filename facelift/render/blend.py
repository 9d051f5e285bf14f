"""Splats to pixels: lists by tile, blended front to back, and the gradients of that (Kerbl et al. 2023)."""

from __future__ import annotations

import numba
import numpy as np

from facelift.render.kernel import HALF, MIN_LOG2_ALPHA, ONE, ZERO, Floats, Ints, kernel

TILE = 16  # pixels
PIXELS = TILE * TILE
BATCH = 32  # splats that a tile fetches at a time
MAX_ALPHA = np.float32(0.99)
MIN_TRANSMITTANCE = np.float32(1e-4)  # a pixel stops at the Gaussian that would leave less than this

_LEAST_LOG2 = np.float32(-16)  # well below MIN_LOG2_ALPHA, and far from the denormal numbers, which are slow

# Enough for sums to be vectorised; infinities and NaN keep their meaning.
_FAST = {"contract", "reassoc", "nsz"}


@kernel("Tuple((i4[::1], i4[:,::1], i4[::1]))(f4[:,::1], i4[:,::1], i8, i8)")
def list_by_tile(splats: Floats, boxes: Ints, columns: int, rows: int) -> tuple[Ints, Ints, Ints]:
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
    poly = poly * f + ONE
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
        near[count, 0] -= np.float32(x_tile) + HALF
        near[count, 1] -= np.float32(y_tile) + HALF
        count += first < last
    return count


@numba.njit(error_model="numpy")
def _open_rows(t: Floats) -> tuple[int, int]:
    """First row with a pixel that is not done, and the row behind the last one; (TILE, 0) if all are done."""
    top, bottom = TILE, 0
    for y in range(TILE):
        clearest = ZERO
        for x in range(TILE):
            clearest = max(clearest, t[y * TILE + x])
        if clearest > ZERO:
            top, bottom = min(top, y), y + 1
    return top, bottom


@kernel(
    "void(f4[:,::1], i4[:,::1], i4[::1], i4[:,::1], f4[::1], i8, i8, f4[:,:,::1], f4[:,::1], f4[:,::1], "
    "i4[::1])",
    fastmath=_FAST,
)
def blend(
    splats: Floats,
    boxes: Ints,
    starts: Ints,
    entries: Ints,
    background: Floats,
    first: int,
    last: int,
    image: Floats,
    alpha: Floats,
    depth: Floats,
    drawn: Ints,
) -> None:
    """Draw tiles [first, last) over a colour into image (3, H, W), alpha (H, W) and depth (H, W).

    It also packs each tile's list for the backward pass: the entries that met a pixel which was not done
    come first, in their order, and `drawn` (tiles,) is their number. It is about half of a head's.
    """
    height, width = alpha.shape
    columns = (width + TILE - 1) // TILE
    t = np.empty(5 * PIXELS, np.float32)  # transmittance, colour, depth
    near, at = np.empty((BATCH, 10), np.float32), np.empty((BATCH, 4), np.int32)
    for tile in range(first, last):
        x_tile, y_tile = tile % columns * TILE, tile // columns * TILE
        t[:PIXELS] = ONE
        t[PIXELS:] = ZERO
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
                        seen, done = p >= MIN_LOG2_ALPHA, after < MIN_TRANSMITTANCE
                        weight = before * opacity if seen and not done else ZERO
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
                p, iy, ix = y * TILE + x, y_tile + y, x_tile + x
                clear = abs(t[p])
                alpha[iy, ix] = ONE - clear
                image[0, iy, ix] = t[p + 1 * PIXELS] + clear * background[0]
                image[1, iy, ix] = t[p + 2 * PIXELS] + clear * background[1]
                image[2, iy, ix] = t[p + 3 * PIXELS] + clear * background[2]
                depth[iy, ix] = t[p + 4 * PIXELS]


@kernel(
    "void(f4[:,::1], i4[:,::1], i4[::1], i4[:,::1], i4[::1], f4[::1], i8, i8, f4[:,:,::1], f4[:,::1], "
    "f4[:,::1], f4[:,:,::1], f4[:,::1], f4[:,::1], f4[:,::1])",
    fastmath=_FAST,
)
def blend_backward(
    splats: Floats,
    boxes: Ints,
    starts: Ints,
    entries: Ints,
    drawn: Ints,
    background: Floats,
    first: int,
    last: int,
    image: Floats,
    alpha: Floats,
    depth: Floats,
    d_image: Floats,
    d_alpha: Floats,
    d_depth: Floats,
    d_pairs: Floats,
) -> None:
    """From the gradients of tiles [first, last) to those of each pair, `d_pairs` (P, 10), zero on entry.

    With w the weights, T the transmittances and q = d_image . (colour - background) + d_depth z + d_alpha,
    what a unit of a Gaussian's weight is worth to the loss,
        dL/dalpha_i = T_i q_i - (sum of w_j q_j over those behind) / (1 - alpha_i).
    The lists are walked front to back once more: the sum behind is the pixel's total, known from the forward
    pass, less what has gone by.

    A row of `d_pairs` is: the sums over pixels of h, h dx, h dy, h dx^2, h dx dy, h dy^2, where
    h = alpha dL/dalpha = dL/d(ln alpha); the gradients of the colour; that of the depth.
    """
    height, width = alpha.shape
    columns = (width + TILE - 1) // TILE
    t = np.empty(7 * PIXELS, np.float32)  # transmittance, the sum behind, d_image, q of clear black, d_depth
    s = np.empty(7 * TILE, np.float32)  # sums down the tile's columns: h, h dy, h dy^2, d_color, d_depth
    near, at = np.empty((BATCH, 10), np.float32), np.empty((BATCH, 4), np.int32)
    for tile in range(first, last):
        if drawn[tile] == 0:
            continue
        x_tile, y_tile = tile % columns * TILE, tile // columns * TILE
        t[:PIXELS] = ONE
        t[PIXELS:] = ZERO
        for y in range(min(TILE, height - y_tile)):
            for x in range(min(TILE, width - x_tile)):
                p, iy, ix = y * TILE + x, y_tile + y, x_tile + x
                total = d_alpha[iy, ix] * alpha[iy, ix] + d_depth[iy, ix] * depth[iy, ix]
                worth = d_alpha[iy, ix]
                for k in range(3):
                    total += d_image[k, iy, ix] * (image[k, iy, ix] - background[k])
                    worth -= d_image[k, iy, ix] * background[k]
                    t[p + (2 + k) * PIXELS] = d_image[k, iy, ix]
                t[p + 1 * PIXELS], t[p + 5 * PIXELS], t[p + 6 * PIXELS] = total, worth, d_depth[iy, ix]
        end = starts[tile] + drawn[tile]
        for start in range(starts[tile], end, BATCH):
            top, bottom = _open_rows(t)
            batch = entries[start : min(start + BATCH, end)]
            for j in range(_fetch(splats, boxes, batch, x_tile, y_tile, top, bottom, near, at)):
                u, v, a, b, c, k = near[j, 0], near[j, 1], near[j, 2], near[j, 3], near[j, 4], near[j, 5]
                red, green, blue, z = near[j, 6], near[j, 7], near[j, 8], near[j, 9]
                s[:] = ZERO
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
                        seen, done = p >= MIN_LOG2_ALPHA, after < MIN_TRANSMITTANCE
                        weighs = seen and not done
                        weight = before * opacity if weighs else ZERO
                        t[row + x] = (-abs(before) if done else after) if seen else before
                        d_red = t[row + x + np.uint64(2 * PIXELS)]
                        d_green = t[row + x + np.uint64(3 * PIXELS)]
                        d_blue = t[row + x + np.uint64(4 * PIXELS)]
                        d_a = t[row + x + np.uint64(5 * PIXELS)]
                        d_z = t[row + x + np.uint64(6 * PIXELS)]
                        worth = d_red * red + d_green * green + d_blue * blue + d_a + d_z * z
                        behind = t[row + x + np.uint64(PIXELS)] - weight * worth
                        t[row + x + np.uint64(PIXELS)] = behind
                        h = opacity * (before * worth - behind / (ONE - opacity))
                        h = h if weighs and opacity < MAX_ALPHA else ZERO
                        s[x] += h
                        s[x + np.uint64(1 * TILE)] += h * dy
                        s[x + np.uint64(2 * TILE)] += h * dy * dy
                        s[x + np.uint64(3 * TILE)] += weight * d_red
                        s[x + np.uint64(4 * TILE)] += weight * d_green
                        s[x + np.uint64(5 * TILE)] += weight * d_blue
                        s[x + np.uint64(6 * TILE)] += weight * d_z
                h0 = h_x = h_y = h_xx = h_xy = h_yy = sum_red = sum_green = sum_blue = sum_z = ZERO
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
