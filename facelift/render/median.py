"""Median depth: how far away the surface is that a pixel shows, whatever shines through from behind.

A mean depth, as `render` gives it, lies between a face and the back of the head where the face lets a tenth
of the light through. The median depth is that of the Gaussian at which the transmittance falls below one
half (Huang et al. 2024, 2D Gaussian Splatting).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from facelift.cameras import Cameras
from facelift.gaussians import Gaussians
from facelift.isolation import isolated
from facelift.render.blend import MAX_ALPHA, TILE, _exp2, list_by_tile
from facelift.render.cpu import _for_cameras, _in_pieces
from facelift.render.kernel import HALF, MIN_LOG2_ALPHA, ONE, ZERO, Floats, Ints, kernel
from facelift.render.project import factorize, project


@isolated()
def median_depth(gaussians: Gaussians, cameras: Cameras) -> Tensor:
    """The depth of what each pixel shows most of; on the CPU.

    Args:
        gaussians: any number of them.
        cameras: N cameras.

    Returns:
        (N, 1, H, W) z-depth in world units, 0 where the Gaussians cover less than half of the pixel.

    Raises:
        UserError: Gaussians or cameras that are not as they must be, see their `check`.
    """
    gaussians.check()
    cameras.check()
    fields = (gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.sh0)
    means, quats, scales, opacities, sh0 = (
        t.detach().to("cpu", torch.float32).contiguous().numpy() for t in fields
    )
    w2c, intrinsics = (t.cpu().float().contiguous().numpy() for t in (cameras.w2c, cameras.intrinsics))
    width, height, count = cameras.width, cameras.height, len(means)
    columns, rows = -(-width // TILE), -(-height // TILE)
    factors = np.empty((count, 3, 3), np.float32)
    factorize(quats, scales, factors)
    depth = np.zeros((len(cameras), 1, height, width), np.float32)

    def draw(camera: int, threads: int) -> None:
        splats, boxes = np.empty((count, 10), np.float32), np.empty((count, 4), np.int32)
        inputs = (means, factors, opacities, sh0, w2c[camera], intrinsics[camera], width, height)
        _in_pieces(lambda *span: project(*inputs, *span, splats, boxes), count, threads)
        starts, entries, _ = list_by_tile(splats, boxes, columns, rows)
        lists = (splats, boxes, starts, entries)
        _in_pieces(lambda *span: _medians(*lists, *span, depth[camera, 0]), rows * columns, threads)

    _for_cameras(draw, len(cameras), torch.get_num_threads())
    return torch.from_numpy(depth)


@kernel("void(f4[:,::1], i4[:,::1], i4[::1], i4[:,::1], i8, i8, f4[:,::1])")
def _medians(
    splats: Floats, boxes: Ints, starts: Ints, entries: Ints, first: int, last: int, depth: Floats
) -> None:
    """The median depths of tiles [first, last), into depth (H, W), which is 0."""
    height, width = depth.shape
    columns = (width + TILE - 1) // TILE
    clear, median = np.empty((TILE, TILE), np.float32), np.empty((TILE, TILE), np.float32)
    for tile in range(first, last):
        x_tile, y_tile = tile % columns * TILE, tile // columns * TILE
        clear[:], median[:] = ONE, ZERO
        left = min(TILE, width - x_tile) * min(TILE, height - y_tile)  # pixels that have no depth yet
        for entry in range(starts[tile], starts[tile + 1]):
            if left == 0:
                break
            i = entries[entry, 0]
            u, v = splats[i, 0] - np.float32(x_tile) - HALF, splats[i, 1] - np.float32(y_tile) - HALF
            a, b, c, k, z = splats[i, 2], splats[i, 3], splats[i, 4], splats[i, 5], splats[i, 9]
            x_first, x_last = max(boxes[i, 0] - x_tile, 0), min(boxes[i, 1] - x_tile, TILE)
            for y in range(max(boxes[i, 2] - y_tile, 0), min(boxes[i, 3] - y_tile, TILE)):
                dy = np.float32(y) - v
                for x in range(x_first, x_last):
                    before = clear[y, x]
                    if before < HALF:
                        continue
                    dx = np.float32(x) - u
                    power = k + dx * (a * dx + b * dy) + c * dy * dy
                    if power < MIN_LOG2_ALPHA:
                        continue
                    after = before - before * min(_exp2(power), MAX_ALPHA)
                    clear[y, x] = after
                    if after < HALF:
                        median[y, x] = z
                        left -= 1
        for y in range(min(TILE, height - y_tile)):
            for x in range(min(TILE, width - x_tile)):
                depth[y_tile + y, x_tile + x] = median[y, x]
