"""Gaussians to a mesh: depths from many cameras, fused to a surface, unwrapped and painted.

The way of 2D Gaussian Splatting's meshes (Huang et al. 2024): median depths, truncated signed distances
(Curless and Levoy 1996), marching cubes. Then quadric decimation, and a texture from pictures of the splats.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from facelift.cameras import FOV_DEGREES, RADIUS, Cameras, canonical_rig, orbit, orbit_rig
from facelift.errors import UserError
from facelift.formats.frames import METRES_PER_UNIT, rotation
from facelift.gaussians import Gaussians
from facelift.isolation import isolated
from facelift.mesh.fuse import Grid, fuse
from facelift.mesh.isosurface import closed_surface
from facelift.mesh.mesh import DEFAULT_FACES, DEFAULT_TEXTURE_SIZE, Mesh, vertex_normals
from facelift.mesh.texture import bake, pictures_of, unwrap
from facelift.render.median import median_depth

VOXEL_SIZE = 0.01
"""Side of a voxel, world units: 2 mm."""

TRUNCATION = 0.04
"""Distance from a surface at which the signed distance is cut off, world units."""

LOWEST_Z = -RADIUS * math.tan(math.radians(FOV_DEGREES / 2))
"""The bust is cut by a plane at this height, the lowest that a canonical camera sees at the origin."""

EXTRA_CAMERAS = ((0, 120, 240, 0, 315, 45), (60, 60, 60, -25, -25, -25))
"""Azimuths and elevations of the cameras that add to the canonical ones: the crown, and beneath the chin."""

CAMERA_WEIGHTS = (4.0, 1.5, 1.5, 1.5, 1.5, 1.5, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3)
"""Weights of the canonical cameras and of EXTRA_CAMERAS in the texture; the photo's own view comes first."""

MIN_OPACITY = 0.3
"""Of the Gaussians that say where the head is."""


@isolated()
def mesh_from_gaussians(
    gaussians: Gaussians, faces: int = DEFAULT_FACES, texture_size: int = DEFAULT_TEXTURE_SIZE
) -> Mesh:
    """One watertight surface with a texture; needs the extra `mesh`; computed on the CPU.

    Args:
        gaussians: of a head in the world's frame.
        faces: how many triangles at most, 500 to 200,000.
        texture_size: side of the texture in pixels, 64 to 8192.

    Raises:
        UserError: the numbers are out of range; the Gaussians are none, too faint, scattered or no head; the
            extra is not installed.
    """
    _check(faces, texture_size)
    gaussians = gaussians.to("cpu")
    gaussians.check()
    grid = grid_around(gaussians)
    # From further below they would see into the bust, from further above through gaps in the crown.
    around = orbit_rig(48, 384, (-25.0, 25.0), fov=60.0)
    depths = median_depth(gaussians, around)[:, 0].numpy()
    depths = np.stack(
        [cv2.medianBlur(depth, 5) for depth in depths]
    )  # without the specks of single Gaussians
    vertices, triangles = closed_surface(fuse(depths, around, grid, TRUNCATION), grid, faces)
    normals = vertex_normals(vertices, triangles)
    uv, uv_faces = unwrap(vertices, triangles, texture_size)
    cameras = texture_cameras(texture_size)
    pictures = pictures_of(gaussians, cameras)
    weights = np.array(CAMERA_WEIGHTS, np.float32)
    colors = bake(vertices, normals, triangles, uv, uv_faces, pictures, cameras, weights, texture_size)
    turn = rotation("RUB").numpy()
    return Mesh(
        vertices=np.float32(METRES_PER_UNIT) * vertices @ turn.T,
        faces=triangles,
        normals=normals @ turn.T,
        uv=uv,
        uv_faces=uv_faces,
        texture=np.rint(255 * colors.clip(0, 1)).astype(np.uint8),
    )


def grid_around(gaussians: Gaussians) -> Grid:
    """Voxels where the opaque Gaussians are, a few far ones left out.

    Raises:
        UserError: there are none, or they are not where a head is and as large.
    """
    means = gaussians.means[gaussians.opacities >= MIN_OPACITY].numpy()
    if len(means) == 0:
        raise UserError("A mesh needs Gaussians that are opaque: these are none, or all transparent.")
    low, high = np.quantile(means, (0.0005, 0.9995), axis=0)
    reach = max(high.max(), -low.min())
    if reach > 2.0:
        raise UserError(
            f"These Gaussians reach {reach:.3g} units from the origin, and those of a head about 1.4: "
            "crop them and scale them to the size of a head, see docs/conventions.md."
        )
    low, high = low - TRUNCATION, high + TRUNCATION
    low[2] = max(low[2] + TRUNCATION, LOWEST_Z)
    if (high - low).min() < 0.3:
        raise UserError(
            "These Gaussians lie within less than 0.3 units: scale them to the size of a head, about 1."
        )
    shape = tuple(math.ceil(n) for n in (high - low) / VOXEL_SIZE)
    return Grid(low.astype(np.float32), VOXEL_SIZE, (shape[0], shape[1], shape[2]))


def texture_cameras(texture_size: int) -> Cameras:
    """The cameras whose pictures a texture of that size is made from, in the order of CAMERA_WEIGHTS."""
    size = min(max(3 * texture_size // 4, 256), 1536)
    return Cameras.concatenate([canonical_rig(size), orbit(*EXTRA_CAMERAS, size)])


def _check(faces: int, texture_size: int) -> None:
    if not 500 <= faces <= 200_000:
        raise UserError(f"A mesh has 500 to 200,000 faces, not {faces:,}.")
    if not 64 <= texture_size <= 8192:
        raise UserError(f"The side of a texture is 64 to 8192 pixels, not {texture_size}.")
    try:
        import fast_simplification  # noqa: F401
        import manifold3d  # noqa: F401
        import skimage  # noqa: F401
        import trimesh  # noqa: F401
        import xatlas  # noqa: F401
    except ImportError as error:
        raise UserError(f"Meshes need {error.name}: pip install 'facelift[mesh]'.") from None
