"""Triangles to pixels on the CPU: which triangle a pixel shows, and where in it.

By hand, because rasterisers of meshes that install everywhere need a GPU or OpenGL.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facelift.cameras import Cameras
from facelift.render.kernel import HALF, ONE, ZERO, Floats, Ints, kernel


@dataclass(frozen=True)
class Fragments:
    """What the pixels of an image of H x W show of F triangles.

    Attributes:
        face: (H, W) the nearest triangle, -1 where there is none.
        barycentric: (H, W, 3) the place in it: shares of its corners.
        depth: (H, W) z-depth in world units, infinite where there is none.
    """

    face: Ints
    barycentric: Floats
    depth: Floats


def rasterize_view(vertices: Floats, faces: Ints, camera: Cameras) -> Fragments:
    """What one camera sees of a mesh: vertices (V, 3) in the world, faces (F, 3)."""
    w2c, intrinsics = camera.w2c[0].numpy(), camera.intrinsics[0].numpy()
    seen = vertices @ w2c[:3, :3].T + w2c[:3, 3]
    places = seen[:, :2] / seen[:, 2:] * intrinsics[:2] + intrinsics[2:]
    return _rasterize(places, 1 / seen[:, 2], faces, camera.height, camera.width)


def rasterize_chart(uv: Floats, faces: Ints, size: int) -> Fragments:
    """The texels of a square texture: uv (U, 2) in [0, 1], v upwards; faces (F, 3)."""
    places = np.stack([uv[:, 0], 1 - uv[:, 1]], axis=1) * size
    return _rasterize(places, np.ones(len(uv), np.float32), faces, size, size)


def _rasterize(places: Floats, inverse: Floats, faces: Ints, height: int, width: int) -> Fragments:
    face, nearest = np.full((height, width), -1, np.int32), np.zeros((height, width), np.float32)
    barycentric = np.zeros((height, width, 3), np.float32)
    corners, inverses = (x[faces].astype(np.float32) for x in (places, inverse))
    _draw(corners, inverses, face, nearest, barycentric)
    with np.errstate(divide="ignore"):
        return Fragments(face, barycentric, np.float32(1) / nearest)


@kernel("void(f4[:,:,::1], f4[:,::1], i4[:,::1], f4[:,::1], f4[:,:,::1])")
def _draw(corners: Floats, inverses: Floats, face: Ints, nearest: Floats, barycentric: Floats) -> None:
    """Triangles: corners (F, 3, 2) in pixels, the inverses (F, 3) of their depths, all before the camera.

    Into `face` and `barycentric`, see `Fragments`, and `nearest` (H, W), the inverse of the depth.
    """
    height, width = face.shape
    for f in range(len(corners)):
        x0, y0 = corners[f, 0, 0], corners[f, 0, 1]
        x1, y1 = corners[f, 1, 0], corners[f, 1, 1]
        x2, y2 = corners[f, 2, 0], corners[f, 2, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area == ZERO:
            continue
        left, right = max(np.ceil(min(x0, x1, x2) - HALF), ZERO), np.floor(max(x0, x1, x2) - HALF)
        top, bottom = max(np.ceil(min(y0, y1, y2) - HALF), ZERO), np.floor(max(y0, y1, y2) - HALF)
        for row in range(int(top), min(int(bottom), height - 1) + 1):
            y = np.float32(row) + HALF
            for column in range(int(left), min(int(right), width - 1) + 1):
                x = np.float32(column) + HALF
                b = ((x2 - x) * (y0 - y) - (x0 - x) * (y2 - y)) / area
                c = ((x0 - x) * (y1 - y) - (x1 - x) * (y0 - y)) / area
                a = ONE - b - c
                if a < ZERO or b < ZERO or c < ZERO:
                    continue
                a, b, c = a * inverses[f, 0], b * inverses[f, 1], c * inverses[f, 2]
                inverse = a + b + c
                if inverse > nearest[row, column]:
                    nearest[row, column], face[row, column] = inverse, f
                    share = barycentric[row, column]
                    share[0], share[1], share[2] = a / inverse, b / inverse, c / inverse
