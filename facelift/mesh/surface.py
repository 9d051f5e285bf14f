"""A field to one closed surface of so many triangles."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from facelift.errors import UserError
from facelift.mesh.fuse import Bools, Grid
from facelift.render.kernel import Floats, Ints

SMOOTHNESS = 0.8
"""Standard deviation of the Gaussian that smooths the field, voxels."""

LEVEL = 0.1
"""Where the surface lies in the field, a little outside of 0: cameras that see past a soft outline, as that
of hair, have pulled it in. Pictures of the mesh are closest to those of the splats at 0.1 to 0.2."""

CLEAR = 1e-3
"""The field stays so far from LEVEL, lest triangles have no area."""


def closed_surface(field: Floats, grid: Grid, faces: int) -> tuple[Floats, Ints]:
    """Where a field is LEVEL, as one watertight mesh.

    Args:
        field: `grid.shape`, negative inside.
        grid: where its voxels are.
        faces: how many triangles to come down to.

    Returns:
        Vertices (V, 3), world units, and faces (F, 3), counter-clockwise as seen from outside.

    Raises:
        UserError: nothing is inside, or no part of it is most of it.
    """
    import fast_simplification
    from skimage.measure import marching_cubes

    field = ndimage.gaussian_filter(field, SMOOTHNESS, mode="nearest") - np.float32(LEVEL)
    field = np.pad(field, 1, constant_values=1.0)
    solid = one_body(field < 0)
    field = np.where(solid, np.minimum(field, -CLEAR), np.maximum(field, CLEAR))
    vertices, triangles, _, _ = marching_cubes(field, 0.0, allow_degenerate=False)
    vertices = (vertices - 1).astype(np.float32) * np.float32(grid.voxel) + grid.origin
    triangles = np.ascontiguousarray(triangles, np.int32)
    if len(triangles) > faces:
        vertices, triangles = fast_simplification.simplify(vertices, triangles, target_count=faces)
    return mended(vertices, triangles)


def one_body(solid: Bools) -> Bools:
    """The largest connected part of what is solid, without the cavities in it; booleans.

    Raises:
        UserError: nothing is solid, or less than half of it is connected.
    """
    labels, count = ndimage.label(solid)
    if count == 0:
        raise UserError("These Gaussians show no surface: a mesh needs a head that is not transparent.")
    sizes = np.bincount(labels.ravel())[1:]
    share = sizes.max() / sizes.sum()
    if share < 0.5:
        raise UserError(
            f"These Gaussians lie scattered, {100 * share:.0f} % of them in one body: a mesh needs one head."
        )
    return ndimage.binary_fill_holes(labels == 1 + sizes.argmax())


def mended(vertices: Floats, faces: Ints) -> tuple[Floats, Ints]:
    """The same mesh with each edge in two triangles: decimation may pinch the surface to an edge of four."""
    import manifold3d

    solid = manifold3d.Manifold(manifold3d.Mesh(vertices.astype(np.float32), faces.astype(np.uint32)))
    mesh = max(solid.decompose(), key=lambda part: part.num_tri()).to_mesh()
    return np.ascontiguousarray(mesh.vert_properties[:, :3], np.float32), mesh.tri_verts.astype(np.int32)
