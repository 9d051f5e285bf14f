"""Depths from many cameras to one field whose zero level is the surface: a truncated signed distance (TSDF).

After Curless and Levoy (1996), with one change: a camera that sees a surface in front of a voxel counts as a
weak observation that the voxel is inside, where the original ignores it. So every voxel is inside or outside,
also where no camera looks, and a single camera that sees through a gap is outvoted. The surface has no holes.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from facelift.cameras import Cameras
from facelift.render.kernel import ONE, TWO, ZERO, Floats, kernel

Bools = NDArray[np.bool_]

OCCLUDED_WEIGHT = 0.15
"""Weight of a camera that sees a surface in front of the voxel; one that sees the voxel free has 1."""

BLOCK_SIZE = 4
"""Voxels along the side of a block. Blocks are fused first, their voxels only near a surface."""


@dataclass(frozen=True)
class Grid:
    """Cubic voxels along the world's axes.

    Attributes:
        origin: (3,) float32, the centre of the first voxel, world units.
        voxel: the side of a voxel, world units.
        shape: how many there are along x, y and z.
    """

    origin: Floats
    voxel: float
    shape: tuple[int, int, int]

    def blocks(self) -> Grid:
        """The grid whose voxels are blocks of this one's."""
        x, y, z = (-(-n // BLOCK_SIZE) for n in self.shape)
        return Grid(
            self.origin + np.float32((BLOCK_SIZE - 1) / 2 * self.voxel), BLOCK_SIZE * self.voxel, (x, y, z)
        )


def fuse(depths: Floats, cameras: Cameras, grid: Grid, truncation: float) -> Floats:
    """The truncated signed distance, in units of `truncation`, at every voxel.

    Args:
        depths: (N, H, W) z-depths of the surface, 0 where a pixel shows none.
        cameras: N of them, of H x W pixels.
        grid: the voxels.
        truncation: distance from the surface at which the field reaches 1 or -1, world units.

    Returns:
        `grid.shape`, in [-1, 1]: positive in front of the surface, negative inside.
    """
    blocks = grid.blocks()
    reach = max(truncation, 2 * blocks.voxel)
    rough = _fused(depths, cameras, blocks, reach, np.ones(blocks.blocks().shape, np.bool_))
    near = np.abs(rough) < 0.95
    fine = _fused(depths, cameras, grid, truncation, near)
    for axis, count in enumerate(grid.shape):
        rough = rough.repeat(BLOCK_SIZE, axis).take(range(count), axis)
        near = near.repeat(BLOCK_SIZE, axis).take(range(count), axis)
    return np.where(near, fine, np.sign(rough))


def _fused(depths: Floats, cameras: Cameras, grid: Grid, truncation: float, near: Bools) -> Floats:
    w2c, intrinsics = cameras.w2c.numpy(), cameras.intrinsics.numpy()
    sums, weights = np.zeros(grid.shape, np.float32), np.zeros(grid.shape, np.float32)
    scales = (np.float32(grid.voxel), np.float32(1 / truncation), np.float32(OCCLUDED_WEIGHT))

    def slab(first: int, last: int) -> None:
        for view in zip(depths, w2c, intrinsics, strict=True):
            _add(*view, grid.origin, *scales, near, first, last, sums, weights)

    edges = [*range(0, grid.shape[0], BLOCK_SIZE), grid.shape[0]]
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(slab, edges[:-1], edges[1:]))
    return np.where(weights > 0, sums / np.maximum(weights, 1e-6), np.float32(-1))


@kernel(
    "void(f4[:,::1], f4[:,::1], f4[::1], f4[::1], f4, f4, f4, b1[:,:,::1], i8, i8, f4[:,:,::1], f4[:,:,::1])"
)
def _add(
    depth: Floats,
    w2c: Floats,
    intrinsics: Floats,
    origin: Floats,
    voxel: float,
    sharpness: float,
    hidden: float,
    near: Bools,
    first: int,
    last: int,
    sums: Floats,
    weights: Floats,
) -> None:
    """Add one camera's part of voxels [first, last) along x, in blocks that are `near`."""
    height, width = np.float32(depth.shape[0]), np.float32(depth.shape[1])
    fx, fy, cx, cy = intrinsics[0], intrinsics[1], intrinsics[2], intrinsics[3]
    for i in range(first, last):
        x = origin[0] + voxel * np.float32(i)
        for j in range(sums.shape[1]):
            y = origin[1] + voxel * np.float32(j)
            x_row = w2c[0, 0] * x + w2c[0, 1] * y + w2c[0, 3]
            y_row = w2c[1, 0] * x + w2c[1, 1] * y + w2c[1, 3]
            z_row = w2c[2, 0] * x + w2c[2, 1] * y + w2c[2, 3]
            for block in range(near.shape[2]):
                if not near[i // BLOCK_SIZE, j // BLOCK_SIZE, block]:
                    continue
                for k in range(block * BLOCK_SIZE, min((block + 1) * BLOCK_SIZE, sums.shape[2])):
                    z = origin[2] + voxel * np.float32(k)
                    away = z_row + w2c[2, 2] * z
                    if away <= ZERO:
                        continue
                    inverse = ONE / away
                    u = (x_row + w2c[0, 2] * z) * inverse * fx + cx
                    v = (y_row + w2c[1, 2] * z) * inverse * fy + cy
                    if u < ZERO or v < ZERO or u >= width or v >= height:
                        continue
                    seen = depth[int(v), int(u)]
                    distance = ONE if seen == ZERO else (seen - away) * sharpness
                    weight = ONE if distance > -ONE else max(hidden, distance + TWO)
                    sums[i, j, k] += weight * min(max(distance, -ONE), ONE)
                    weights[i, j, k] += weight
