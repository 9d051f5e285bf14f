"""Real spherical harmonics to degree 3, in the order and with the signs of 3D Gaussian Splatting.

A Gaussian's colour from direction d is 0.5 plus the sum of its coefficients times `basis(d)`, clamped below
at 0 (Kerbl et al. 2023). The constants are those of Sloan, "Stupid Spherical Harmonics Tricks" (2008).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

C0 = 0.28209479177387814  # 1 / (2 sqrt(pi))
C1 = 0.4886025119029199
C2 = (1.0925484305920792, -1.0925484305920792, 0.31539156525252005, -1.0925484305920792, 0.5462742152960396)
C3 = (
    -0.5900435899266435,
    2.890611442640554,
    -0.4570457994644658,
    0.3731763325901154,
    -0.4570457994644658,
    1.445305721320277,
    -0.5900435899266435,
)

COEFFICIENTS = (0, 3, 8, 15)
"""How many coefficients there are above degree 0, by the degree."""


def basis(directions: NDArray[np.floating]) -> NDArray[np.float64]:
    """(..., 16) values of the basis in unit directions (..., 3), which go from the camera to the Gaussian."""
    x, y, z = np.moveaxis(np.asarray(directions, np.float64), -1, 0)
    xx, yy, zz = x * x, y * y, z * z
    return np.stack(
        [
            np.full_like(x, C0),
            -C1 * y,
            C1 * z,
            -C1 * x,
            C2[0] * x * y,
            C2[1] * y * z,
            C2[2] * (2.0 * zz - xx - yy),
            C2[3] * x * z,
            C2[4] * (xx - yy),
            C3[0] * y * (3.0 * xx - yy),
            C3[1] * x * y * z,
            C3[2] * y * (4.0 * zz - xx - yy),
            C3[3] * z * (2.0 * zz - 3.0 * xx - 3.0 * yy),
            C3[4] * x * (4.0 * zz - xx - yy),
            C3[5] * z * (xx - yy),
            C3[6] * x * (xx - 3.0 * yy),
        ],
        axis=-1,
    )


def rotation_of_coefficients(rotation: NDArray[np.floating]) -> NDArray[np.float64]:
    """(15, 15) matrix that turns the coefficients above degree 0 as `rotation` (3, 3) turns the world.

    The harmonics of a degree turn among themselves, so that their values in a few directions before and after
    determine the matrix.
    """
    directions = _DIRECTIONS
    before, after = basis(directions @ np.asarray(rotation, np.float64))[:, 1:], basis(directions)[:, 1:]
    matrix = np.zeros((15, 15))
    for first, last in ((0, 3), (3, 8), (8, 15)):
        block = slice(first, last)
        matrix[block, block] = np.linalg.lstsq(after[:, block], before[:, block], rcond=None)[0]
    return matrix


_HEIGHTS = (np.arange(32) + 0.5) / 16.0 - 1.0
_TURNS = np.pi * (3.0 - np.sqrt(5.0)) * np.arange(32)
_DIRECTIONS = np.stack(  # spread evenly over the sphere: a Fibonacci spiral
    [
        np.sqrt(1.0 - _HEIGHTS**2) * np.cos(_TURNS),
        np.sqrt(1.0 - _HEIGHTS**2) * np.sin(_TURNS),
        _HEIGHTS,
    ],
    axis=-1,
)
