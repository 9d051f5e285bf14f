"""The free space that one view proves.

Source: Kutulakos and Seitz, "A theory of shape by space carving", 2000. Space between a camera and the
surface that it sees is empty, and so is all space behind a background pixel. What other cameras see through
such space is the surface behind it, or the background.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from facelift.cameras import Cameras

HALF_WIDTH, HALF_DEPTH = 1.0, 0.7  # of the box that holds a head and its shoulders: x, y in world units
MAX_OFFSET, SAMPLES_PER_RAY = 1.25, 52  # world units to either side of the centre; samples along a ray
STRIDE = 2  # pixels a ray, along each side


def nearest_possible_depth(depth: Tensor, camera: Cameras, others: Cameras) -> Tensor:
    """The depth at which a surface may begin, as far as one camera can tell.

    Args:
        depth: (H, W) z-depth of what `camera` sees, infinite where it sees the background. Beyond its border
            the world is taken to go on as it is there.
        camera: the one camera.
        others: N cameras at one distance from the world's centre.

    Returns:
        (N, 1, H, W) z-depth of the nearest place in each pixel of the others where matter may be, infinite
        where none can be.
    """
    rays = others.resized(others.width // STRIDE)
    origins, directions = rays.rays()
    distance = origins[0, 0, 0].norm()
    steps = torch.linspace(-MAX_OFFSET, MAX_OFFSET, SAMPLES_PER_RAY, device=depth.device, dtype=depth.dtype)
    steps = steps[:, None, None] + distance
    rotation, translation = camera.w2c[0, :3, :3], camera.w2c[0, :3, 3]
    focal, center = camera.intrinsics[0, :2], camera.intrinsics[0, 2:]
    size = depth.new_tensor([camera.width, camera.height])
    found = []
    for origin, direction, w2c in zip(origins, directions, rays.w2c, strict=True):  # (h, w, 3) each
        x, y = (origin[..., i] + steps * direction[..., i] for i in range(2))  # (SAMPLES_PER_RAY, h, w)
        outside = (x.abs() > HALF_WIDTH) | (y.abs() > HALF_DEPTH)
        start, along = origin @ rotation.T + translation, direction @ rotation.T
        z = start[..., 2] + steps * along[..., 2]
        places = [
            ((start[..., i] + steps * along[..., i]) / z * focal[i] + center[i]) / size[i] * 2 - 1
            for i in range(2)
        ]
        seen = F.grid_sample(
            depth.expand(1, 1, *depth.shape),
            torch.stack(places, dim=-1).flatten(0, 1)[None],
            mode="nearest",
            padding_mode="border",
            align_corners=False,
        ).view_as(z)
        far = steps * (direction @ w2c[2, :3])
        found.append(far.masked_fill(outside | (z < seen), torch.inf).amin(dim=0))
    nearest = -F.max_pool2d(-torch.stack(found)[:, None], 3, 1, 1)
    return F.interpolate(nearest, scale_factor=STRIDE, mode="nearest")
