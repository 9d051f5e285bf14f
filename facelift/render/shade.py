"""View-dependent colour: spherical harmonics of degree 1 to 3 seen from a camera (Kerbl et al. 2023).

Constants, order and signs are those of 3D Gaussian Splatting. The direction goes from the camera to the
Gaussian's mean, along the axes of the world. Harmonics of one direction sum to one colour, so a camera sees
what it would see if each Gaussian had a certain coefficient of degree 0 alone: that is computed here, and
whatever comes after knows of degree 0 only.
"""

from __future__ import annotations

import numba
import numpy as np

from facelift.render.kernel import ONE, ZERO, Floats, kernel
from facelift.spherical_harmonics import C0, C1, C2, C3

_Y1 = np.float32(C1 / C0)  # each divided by that of degree 0
_Y2 = tuple(np.float32(c / C0) for c in C2)
_Y3 = tuple(np.float32(c / C0) for c in C3)
_2, _3, _4, _6, _8 = (np.float32(c) for c in (2, 3, 4, 6, 8))


@numba.njit(error_model="numpy")
def _direction(means: Floats, w2c: Floats, i: int) -> tuple[float, float, float, float]:
    """The unit vector from the camera to a mean, along the world's axes, and 1 / distance."""
    x, y, z = means[i, 0], means[i, 1], means[i, 2]
    for k in range(3):  # the camera stands at -R^T t
        x += w2c[k, 0] * w2c[k, 3]
        y += w2c[k, 1] * w2c[k, 3]
        z += w2c[k, 2] * w2c[k, 3]
    inv = ONE / np.sqrt(x * x + y * y + z * z)
    return x * inv, y * inv, z * inv, inv


@numba.njit(error_model="numpy")
def _basis(x: float, y: float, z: float, count: int, basis: Floats) -> None:
    """The first 3, 8 or 15 harmonics above degree 0 in a direction, to `basis`."""
    basis[0], basis[1], basis[2] = -_Y1 * y, _Y1 * z, -_Y1 * x
    if count > 3:
        xx, yy, zz = x * x, y * y, z * z
        basis[3] = _Y2[0] * x * y
        basis[4] = _Y2[1] * y * z
        basis[5] = _Y2[2] * (_2 * zz - xx - yy)
        basis[6] = _Y2[3] * x * z
        basis[7] = _Y2[4] * (xx - yy)
        if count > 8:
            basis[8] = _Y3[0] * y * (_3 * xx - yy)
            basis[9] = _Y3[1] * x * y * z
            basis[10] = _Y3[2] * y * (_4 * zz - xx - yy)
            basis[11] = _Y3[3] * z * (_2 * zz - _3 * xx - _3 * yy)
            basis[12] = _Y3[4] * x * (_4 * zz - xx - yy)
            basis[13] = _Y3[5] * z * (xx - yy)
            basis[14] = _Y3[6] * x * (xx - _3 * yy)


@numba.njit(error_model="numpy")
def _pull(x: float, y: float, z: float, count: int, d: Floats) -> tuple[float, float, float]:
    """From the gradients of the harmonics to that of the direction, of any length."""
    d_x, d_y, d_z = -_Y1 * d[2], -_Y1 * d[0], _Y1 * d[1]
    if count > 3:
        e0, e1, e2 = _Y2[0] * d[3], _Y2[1] * d[4], _Y2[2] * d[5]
        e3, e4 = _Y2[3] * d[6], _Y2[4] * d[7]
        d_x += y * e0 - _2 * x * e2 + z * e3 + _2 * x * e4
        d_y += x * e0 + z * e1 - _2 * y * e2 - _2 * y * e4
        d_z += y * e1 + _4 * z * e2 + x * e3
        if count > 8:
            xx, yy, zz, xy, xz, yz = x * x, y * y, z * z, x * y, x * z, y * z
            e0, e1, e2, e3 = _Y3[0] * d[8], _Y3[1] * d[9], _Y3[2] * d[10], _Y3[3] * d[11]
            e4, e5, e6 = _Y3[4] * d[12], _Y3[5] * d[13], _Y3[6] * d[14]
            d_x += _6 * xy * e0 + yz * e1 - _2 * xy * e2 - _6 * xz * e3
            d_x += (_4 * zz - _3 * xx - yy) * e4 + _2 * xz * e5 + _3 * (xx - yy) * e6
            d_y += _3 * (xx - yy) * e0 + xz * e1 + (_4 * zz - xx - _3 * yy) * e2 - _6 * yz * e3
            d_y += -_2 * xy * e4 - _2 * yz * e5 - _6 * xy * e6
            d_z += xy * e1 + _8 * yz * e2 + _3 * (_2 * zz - xx - yy) * e3 + _8 * xz * e4 + (xx - yy) * e5
    return d_x, d_y, d_z


@kernel("void(f4[:,::1], f4[:,::1], f4[:,:,::1], f4[:,::1], i8, i8, f4[:,::1])")
def shade(means: Floats, sh0: Floats, sh_n: Floats, w2c: Floats, first: int, last: int, seen: Floats) -> None:
    """Coefficients `sh_n` (G, K, 3) of Gaussians [first, last) to `seen` (G, 3), those of degree 0."""
    count = sh_n.shape[1]
    basis = np.empty(15, np.float32)
    for i in range(first, last):
        x, y, z, _ = _direction(means, w2c, i)
        _basis(x, y, z, count, basis)
        red, green, blue = sh0[i, 0], sh0[i, 1], sh0[i, 2]
        for k in range(count):
            red += basis[k] * sh_n[i, k, 0]
            green += basis[k] * sh_n[i, k, 1]
            blue += basis[k] * sh_n[i, k, 2]
        seen[i, 0], seen[i, 1], seen[i, 2] = red, green, blue


@kernel("void(f4[:,::1], f4[:,:,::1], f4[:,::1], i8, i8, f4[:,::1], f4[:,::1], f4[:,::1], f4[:,:,::1])")
def shade_backward(
    means: Floats,
    sh_n: Floats,
    w2c: Floats,
    first: int,
    last: int,
    d_seen: Floats,
    d_means: Floats,
    d_sh0: Floats,
    d_sh_n: Floats,
) -> None:
    """From the gradients of `seen` to those of means, sh0 and sh_n, to which they are added."""
    count = sh_n.shape[1]
    basis, d_basis = np.empty(15, np.float32), np.empty(15, np.float32)
    for i in range(first, last):
        red, green, blue = d_seen[i, 0], d_seen[i, 1], d_seen[i, 2]
        if red == ZERO and green == ZERO and blue == ZERO:  # out of view, where the direction may be none
            continue
        x, y, z, inv = _direction(means, w2c, i)
        _basis(x, y, z, count, basis)
        for k in range(count):
            d_basis[k] = red * sh_n[i, k, 0] + green * sh_n[i, k, 1] + blue * sh_n[i, k, 2]
            d_sh_n[i, k, 0] += red * basis[k]
            d_sh_n[i, k, 1] += green * basis[k]
            d_sh_n[i, k, 2] += blue * basis[k]
        d_sh0[i, 0] += red
        d_sh0[i, 1] += green
        d_sh0[i, 2] += blue
        d_x, d_y, d_z = _pull(x, y, z, count, d_basis)
        along = d_x * x + d_y * y + d_z * z  # which normalising removes
        d_means[i, 0] += inv * (d_x - along * x)
        d_means[i, 1] += inv * (d_y - along * y)
        d_means[i, 2] += inv * (d_z - along * z)
