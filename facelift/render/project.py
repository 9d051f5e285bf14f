"""Gaussians to splats: the EWA projection of 3D Gaussian Splatting and its gradients (Kerbl et al. 2023)."""

from __future__ import annotations

import math

import numba
import numpy as np

from facelift.gaussians import SH_C0
from facelift.render.kernel import HALF, MIN_ALPHA, MIN_LOG2_ALPHA, ONE, TWO, ZERO, Floats, Ints, kernel

NEAR = np.float32(0.01)  # world units
EPS2D = 0.1
"""Square pixels that are added to the variances of a projected Gaussian, so that none falls between pixels.

Mip-Splatting's value (Yu et al. 2024), without its correction of opacities, where the original has 0.3. At
256 pixels that one blurs every outline by half of one; viewers add it, too, but to pictures that are larger.
"""
_EPS2D = np.float32(EPS2D)

_LOG2E = np.float32(math.log2(math.e))
_SH_C0 = np.float32(SH_C0)


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


@kernel("void(f4[:,::1], f4[:,::1], f4[:,:,::1])")
def factorize(quats: Floats, scales: Floats, factors: Floats) -> None:
    """Quaternions (G, 4), wxyz, of any length, and scales (G, 3) to `factors` (G, 3, 3): rotations by scales.

    A factor F stands for the covariance F F^T.
    """
    for i in range(len(quats)):
        q0, q1, q2, q3 = quats[i, 0], quats[i, 1], quats[i, 2], quats[i, 3]
        inv = ONE / np.sqrt(q0 * q0 + q1 * q1 + q2 * q2 + q3 * q3)
        w, x, y, z = q0 * inv, q1 * inv, q2 * inv, q3 * inv
        s0, s1, s2 = scales[i, 0], scales[i, 1], scales[i, 2]
        factors[i, 0, 0] = s0 * (ONE - TWO * (y * y + z * z))
        factors[i, 0, 1] = s1 * TWO * (x * y - w * z)
        factors[i, 0, 2] = s2 * TWO * (x * z + w * y)
        factors[i, 1, 0] = s0 * TWO * (x * y + w * z)
        factors[i, 1, 1] = s1 * (ONE - TWO * (x * x + z * z))
        factors[i, 1, 2] = s2 * TWO * (y * z - w * x)
        factors[i, 2, 0] = s0 * TWO * (x * z - w * y)
        factors[i, 2, 1] = s1 * TWO * (y * z + w * x)
        factors[i, 2, 2] = s2 * (ONE - TWO * (x * x + y * y))


@kernel("void(f4[:,::1], f4[:,::1], f4[:,:,::1], f4[:,::1], f4[:,::1])")
def factorize_backward(
    quats: Floats, scales: Floats, d_factors: Floats, d_quats: Floats, d_scales: Floats
) -> None:
    """From the gradients of the factors, which it spoils, to those of quaternions and scales, zero before."""
    for i in range(len(quats)):
        d = d_factors[i]
        if not d.any():  # out of view
            continue
        q0, q1, q2, q3 = quats[i, 0], quats[i, 1], quats[i, 2], quats[i, 3]
        inv = ONE / np.sqrt(q0 * q0 + q1 * q1 + q2 * q2 + q3 * q3)
        w, x, y, z = q0 * inv, q1 * inv, q2 * inv, q3 * inv
        d_scales[i, 0] = (
            d[0, 0] * (ONE - TWO * (y * y + z * z))
            + d[1, 0] * TWO * (x * y + w * z)
            + d[2, 0] * TWO * (x * z - w * y)
        )
        d_scales[i, 1] = (
            d[0, 1] * TWO * (x * y - w * z)
            + d[1, 1] * (ONE - TWO * (x * x + z * z))
            + d[2, 1] * TWO * (y * z + w * x)
        )
        d_scales[i, 2] = (
            d[0, 2] * TWO * (x * z + w * y)
            + d[1, 2] * TWO * (y * z - w * x)
            + d[2, 2] * (ONE - TWO * (x * x + y * y))
        )
        for j in range(3):
            for k in range(3):
                d[j, k] *= TWO * scales[i, k]
        # The gradient of the unit quaternion, less its part along the quaternion, which normalising removes.
        d_w = x * (d[2, 1] - d[1, 2]) + y * (d[0, 2] - d[2, 0]) + z * (d[1, 0] - d[0, 1])
        d_x = w * (d[2, 1] - d[1, 2]) + y * (d[0, 1] + d[1, 0]) + z * (d[0, 2] + d[2, 0])
        d_y = w * (d[0, 2] - d[2, 0]) + x * (d[0, 1] + d[1, 0]) + z * (d[1, 2] + d[2, 1])
        d_z = w * (d[1, 0] - d[0, 1]) + x * (d[0, 2] + d[2, 0]) + y * (d[1, 2] + d[2, 1])
        d_x -= TWO * x * (d[1, 1] + d[2, 2])
        d_y -= TWO * y * (d[0, 0] + d[2, 2])
        d_z -= TWO * z * (d[0, 0] + d[1, 1])
        along = w * d_w + x * d_x + y * d_y + z * d_z
        d_quats[i, 0], d_quats[i, 1] = inv * (d_w - along * w), inv * (d_x - along * x)
        d_quats[i, 2], d_quats[i, 3] = inv * (d_y - along * y), inv * (d_z - along * z)


@kernel(
    "void(f4[:,::1], f4[:,:,::1], f4[::1], f4[:,::1], f4[:,::1], f4[::1], i8, i8, i8, i8, f4[:,::1], "
    "i4[:,::1])"
)
def project(
    means: Floats,
    factors: Floats,
    opacities: Floats,
    sh0: Floats,
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
        inv_z = ONE / z
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
        det = c0 * c0 + c1 * c1 + c2 * c2 + _EPS2D * (xx + yy) + _EPS2D * _EPS2D
        xx += _EPS2D
        yy += _EPS2D

        log2_opacity = np.log2(opacities[i])
        reach = TWO / _LOG2E * (log2_opacity - MIN_LOG2_ALPHA)  # squared, in standard deviations
        reach_x, reach_y = np.sqrt(reach * xx), np.sqrt(reach * yy)
        if not (u + reach_x > ZERO and u - reach_x < w and v + reach_y > ZERO and v - reach_y < h):
            continue
        scale = -HALF * _LOG2E / det
        splats[i, 0], splats[i, 1] = u, v
        splats[i, 2], splats[i, 3], splats[i, 4] = scale * yy, -TWO * scale * xy, scale * xx
        splats[i, 5] = log2_opacity
        for k in range(3):
            color = HALF + _SH_C0 * sh0[i, k]
            splats[i, 6 + k] = ZERO if color < ZERO else color  # so written, NaN stays
        splats[i, 9] = z
        total = ZERO
        for k in range(10):
            total += splats[i, k]
        if np.isfinite(total):
            pad = np.float32(0.51)  # from a pixel to its centre, and a little for rounding
            boxes[i, 0] = np.int32(np.ceil(max(u - reach_x - pad, ZERO)))
            boxes[i, 1] = np.int32(np.floor(min(u + reach_x + pad, w)))
            boxes[i, 2] = np.int32(np.ceil(max(v - reach_y - pad, ZERO)))
            boxes[i, 3] = np.int32(np.floor(min(v + reach_y + pad, h)))


@kernel(
    "void(f4[:,::1], f4[:,:,::1], f4[::1], f4[:,::1], f4[:,::1], f4[::1], i8, i8, i8, i8, f4[:,::1], "
    "i4[::1], f4[:,::1], f4[:,::1], f4[:,:,::1], f4[::1], f4[:,::1])"
)
def project_backward(
    means: Floats,
    factors: Floats,
    opacities: Floats,
    sh0: Floats,
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
    d_sh0: Floats,
) -> None:
    """From the gradients of pairs to those of Gaussians [first, last), added to `d_means` and the like."""
    fx, fy = intrinsics[0], intrinsics[1]
    left, right, top, bottom = _limits(intrinsics, width, height)
    d = np.empty(10, np.float32)
    for i in range(first, last):
        if first_pair[i] == first_pair[i + 1]:
            continue
        d[:] = ZERO
        for pair in range(first_pair[i], first_pair[i + 1]):
            for k in range(10):
                d[k] += d_pairs[pair, k]
        d_opacities[i] += d[0] / opacities[i]
        for k in range(3):
            if not HALF + _SH_C0 * sh0[i, k] < ZERO:
                d_sh0[i, k] += _SH_C0 * d[6 + k]

        # The inverse covariance K gives the gradient of the centre, K (h dx, h dy), and, with H the matrix of
        # h dx^2, h dx dy, h dy^2, that of the covariance, K H K / 2. Here it is doubled, as the covariance is
        # P P^T, and the gradient of P is twice that of the covariance times P.
        scale = -ONE / _LOG2E
        k_xx, k_xy, k_yy = TWO * scale * splats[i, 2], scale * splats[i, 3], TWO * scale * splats[i, 4]
        d_u, d_v = k_xx * d[1] + k_xy * d[2], k_xy * d[1] + k_yy * d[2]
        kh_xx, kh_xy = k_xx * d[3] + k_xy * d[4], k_xx * d[4] + k_xy * d[5]
        kh_yx, kh_yy = k_xy * d[3] + k_yy * d[4], k_xy * d[4] + k_yy * d[5]
        d_xx, d_yy = kh_xx * k_xx + kh_xy * k_xy, kh_yx * k_xy + kh_yy * k_yy
        d_xy = kh_xx * k_xy + kh_xy * k_yy

        x, y, z = _turned(w2c, means[i, 0], means[i, 1], means[i, 2])
        x, y, inv_z = x + w2c[0, 3], y + w2c[1, 3], ONE / (z + w2c[2, 3])
        slope_x, slope_y = min(max(x * inv_z, left), right), min(max(y * inv_z, top), bottom)
        d_slope_x = d_slope_y = d_size = ZERO
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
        d_x = inv_z * (fx * d_u + (d_slope_x if slope_x == x * inv_z else ZERO))
        d_y = inv_z * (fy * d_v + (d_slope_y if slope_y == y * inv_z else ZERO))
        d_z = d[9] - inv_z * (d_size + d_x * x + d_y * y)
        for j in range(3):
            d_means[i, j] += w2c[0, j] * d_x + w2c[1, j] * d_y + w2c[2, j] * d_z
