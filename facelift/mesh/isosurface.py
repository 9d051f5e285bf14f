"""A signed distance to its isosurface: one closed surface of at most so many triangles."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from facelift.errors import UserError
from facelift.mesh.fuse import Bools, Grid
from facelift.render.kernel import Floats, Ints

SMOOTHING_SIGMA = 0.8
"""Standard deviation of the Gaussian that smooths the field, voxels."""

ISO_LEVEL = 0.1
"""Value of the field at the surface, a little outside of 0: cameras that see past a soft outline, as that of
hair, make the inside too small. Pictures of the mesh are closest to those of the splats at 0.1 to 0.2."""

MIN_OFFSET = 1e-3
"""The field differs from ISO_LEVEL by this at least, so that no triangle has an area of 0."""


def closed_surface(field: Floats, grid: Grid, faces: int) -> tuple[Floats, Ints]:
    """Where a field is ISO_LEVEL, as one watertight mesh.

    Args:
        field: `grid.shape`, negative inside.
        grid: where its voxels are.
        faces: the most triangles that it may have.

    Returns:
        Vertices (V, 3), world units, and faces (F, 3), counter-clockwise as seen from outside.

    Raises:
        UserError: nothing is inside, or less than half of it is connected.
    """
    import fast_simplification
    from skimage.measure import marching_cubes

    field = ndimage.gaussian_filter(field, SMOOTHING_SIGMA, mode="nearest") - np.float32(ISO_LEVEL)
    field = np.pad(field, 1, constant_values=1.0)
    solid = largest_component(field < 0)
    field = np.where(solid, np.minimum(field, -MIN_OFFSET), np.maximum(field, MIN_OFFSET))
    vertices, triangles, _, _ = marching_cubes(field, 0.0, allow_degenerate=False)
    vertices = (vertices - 1).astype(np.float32) * np.float32(grid.voxel) + grid.origin
    triangles = np.ascontiguousarray(triangles, np.int32)
    if len(triangles) > faces:
        vertices, triangles = fast_simplification.simplify(vertices, triangles, target_count=faces)
    return to_manifold(vertices, triangles)


def largest_component(solid: Bools) -> Bools:
    """The largest connected part of what is solid, its cavities filled; booleans.

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


def to_manifold(vertices: Floats, faces: Ints) -> tuple[Floats, Ints]:
    """The same mesh with two triangles at each edge; decimation may leave edges with four."""
    import manifold3d

    solid = manifold3d.Manifold(manifold3d.Mesh(vertices.astype(np.float32), faces.astype(np.uint32)))
    mesh = max(solid.decompose(), key=lambda part: part.num_tri()).to_mesh()
    return np.ascontiguousarray(mesh.vert_properties[:, :3], np.float32), mesh.tri_verts.astype(np.int32)
