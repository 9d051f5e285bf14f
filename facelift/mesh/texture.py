"""A texture from pictures: the surface is cut into charts, and each texel takes what cameras see there."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from scipy.spatial import KDTree

from facelift.cameras import Cameras
from facelift.gaussians import Gaussians
from facelift.mesh.raster import rasterize_chart, rasterize_view
from facelift.render import render
from facelift.render.kernel import HALF, ONE, ZERO, Floats, Ints, kernel

PADDING = 4
"""Texels between charts, so that none takes colour from another when a renderer blurs."""

OCCLUSION_TOLERANCE = np.float32(0.02)
"""A point farther than this behind what a camera sees is hidden from it, world units."""

FACING_POWER = np.float32(6)
"""Cameras are weighted by this power of the cosine between normal and view; a larger one is sharper."""

VERTEX_COLOR_WEIGHT = np.float32(0.01)
"""Weight of the vertices' colours in a texel, which has no others where no camera sees it."""


def unwrap(vertices: Floats, faces: Ints, size: int) -> tuple[Floats, Ints]:
    """Cut a surface into charts that lie side by side in the unit square.

    Args:
        vertices: (V, 3).
        faces: (F, 3).
        size: side of the texture in texels, for the room between charts.

    Returns:
        uv (U, 2), v upwards, and the rows of it that are the triangles' corners (F, 3).
    """
    import xatlas

    atlas = xatlas.Atlas()
    atlas.add_mesh(vertices, faces.astype(np.uint32))
    options = xatlas.PackOptions()
    options.resolution, options.padding = size, PADDING
    atlas.generate(pack_options=options)
    _, uv_faces, uv = atlas[0]
    return uv.astype(np.float32), uv_faces.astype(np.int32)


def pictures_of(gaussians: Gaussians, cameras: Cameras) -> Floats:
    """(N, H, W, 4) what cameras see: RGB of the Gaussians alone, whatever is behind them, and alpha."""
    drawn = render(gaussians, cameras, background=0.0)
    straight = (drawn.image / drawn.alpha.clamp_min(1e-3)).clamp(0, 1)
    return torch.cat([straight, drawn.alpha], dim=1).movedim(1, -1).contiguous().numpy()


def bake(
    vertices: Floats,
    normals: Floats,
    faces: Ints,
    uv: Floats,
    uv_faces: Ints,
    pictures: Floats,
    cameras: Cameras,
    weights: Floats,
    size: int,
) -> Floats:
    """The texture of a surface: the mean of the cameras that see it, by how much they face it.

    Args:
        vertices: (V, 3), world units.
        normals: (V, 3) of the vertices.
        faces: (F, 3).
        uv: (U, 2), see `unwrap`.
        uv_faces: (F, 3).
        pictures: (N, H, W, 4) of the cameras, see `pictures_of`.
        cameras: N of them.
        weights: (N,) of the cameras.
        size: S, the side of the texture.

    Returns:
        (S, S, 3) RGB in [0, 1]; between the charts, the colour of the nearest texel of one.
    """
    chart = rasterize_chart(uv, uv_faces, size)
    used = chart.face >= 0
    corners, shares = faces[chart.face[used]], chart.barycentric[used]

    def at_texels(values: Floats) -> Floats:
        a, b, c = (shares[:, k, None] * values[corners[:, k]] for k in range(3))
        return a + b + c

    count = len(vertices)
    points = np.concatenate([vertices, at_texels(vertices)])
    facing = np.concatenate([normals, at_texels(normals)])
    sums = np.zeros((len(points), 4), np.float32)
    for i, picture in enumerate(pictures):
        depth = rasterize_view(vertices, faces, cameras[i]).depth
        view = (cameras.w2c[i], cameras.intrinsics[i], cameras.positions[i])
        _gather(points, facing, depth, picture, *(x.contiguous().numpy() for x in view), weights[i], sums)

    colors = (sums[:count, :3] / np.maximum(sums[:count, 3:], VERTEX_COLOR_WEIGHT)).astype(np.float32)
    seen = sums[:count, 3] > VERTEX_COLOR_WEIGHT
    if seen.any() and not seen.all():
        _, nearest = KDTree(vertices[seen]).query(vertices[~seen], min(4, int(seen.sum())))
        colors[~seen] = colors[seen][nearest.reshape(len(nearest), -1)].mean(axis=1)
    texture = np.zeros((size, size, 3), np.float32)
    texture[used] = (sums[count:, :3] + VERTEX_COLOR_WEIGHT * at_texels(colors)) / (
        sums[count:, 3:] + VERTEX_COLOR_WEIGHT
    )
    return texture[tuple(ndimage.distance_transform_edt(~used, return_distances=False, return_indices=True))]


@kernel("void(f4[:,::1], f4[:,::1], f4[:,::1], f4[:,:,::1], f4[:,::1], f4[::1], f4[::1], f4, f4[:,::1])")
def _gather(
    points: Floats,
    normals: Floats,
    depth: Floats,
    picture: Floats,
    w2c: Floats,
    intrinsics: Floats,
    position: Floats,
    camera_weight: float,
    sums: Floats,
) -> None:
    """Add a camera's colours of points (P, 3), times its weight, and the weight to `sums` (P, 4).

    `normals` (P, 3) need not be of length 1; `depth` (H, W) is that of the surface, `picture` (H, W, 4).
    """
    height, width = depth.shape
    fx, fy, cx, cy = intrinsics[0], intrinsics[1], intrinsics[2], intrinsics[3]
    color = np.empty(4, np.float32)
    for i in range(len(points)):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        nx, ny, nz = normals[i, 0], normals[i, 1], normals[i, 2]
        dx, dy, dz = position[0] - x, position[1] - y, position[2] - z
        cosine = dx * nx + dy * ny + dz * nz
        if cosine <= ZERO:
            continue
        cosine /= np.sqrt((dx * dx + dy * dy + dz * dz) * (nx * nx + ny * ny + nz * nz))
        away = w2c[2, 0] * x + w2c[2, 1] * y + w2c[2, 2] * z + w2c[2, 3]
        u = (w2c[0, 0] * x + w2c[0, 1] * y + w2c[0, 2] * z + w2c[0, 3]) / away * fx + cx - HALF
        v = (w2c[1, 0] * x + w2c[1, 1] * y + w2c[1, 2] * z + w2c[1, 3]) / away * fy + cy - HALF
        if u < ZERO or v < ZERO or u >= np.float32(width - 1) or v >= np.float32(height - 1):
            continue
        column, row = int(u), int(v)
        if away > depth[int(v + HALF), int(u + HALF)] + OCCLUSION_TOLERANCE:
            continue
        right, down = u - np.float32(column), v - np.float32(row)
        for k in range(4):
            above = (ONE - right) * picture[row, column, k] + right * picture[row, column + 1, k]
            below = (ONE - right) * picture[row + 1, column, k] + right * picture[row + 1, column + 1, k]
            color[k] = (ONE - down) * above + down * below
        weight = camera_weight * color[3] * color[3] * cosine**FACING_POWER
        for k in range(3):
            sums[i, k] += weight * color[k]
        sums[i, 3] += weight
