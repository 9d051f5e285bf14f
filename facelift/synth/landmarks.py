"""Landmarks of a synthetic face: the 68 points of iBUG 300-W, the pupils and the centres of the eyeballs.

The 68 are vertices of MakeHuman's base mesh, found by `benchmarks/place_landmarks.py`: where dlib's predictor
sees them in the front views of 120 people. Those of the jaw that it puts on an ear are on the cheek beside
it. Rows are the 68 in iBUG's order (jaw 0-16, brows 17-26, nose 27-35, eyes 36-47, mouth 48-67, each from
the subject's right to the left), the right and left pupil, the centres of the right and left eyeball.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facelift.cameras import Cameras
from facelift.synth.scene import Floats

# fmt: off
VERTICES = np.array(
    [
        210, 259, 5176, 5206, 735, 915, 916, 918, 732,
        7620, 7618, 7617, 7455, 11817, 11788, 7028, 6985,
        261, 225, 204, 177, 209, 6984, 6953, 6979, 6999, 7030,
        133, 131, 201, 294, 334, 313, 317, 7076, 7096,
        24, 6757, 1073, 6765, 47, 6777, 13361, 7765, 13353, 6808, 13373, 6831,
        422, 447, 457, 466, 7216, 7207, 7182, 7166, 7245, 496, 490, 406,
        428, 514, 520, 7261, 7188, 7279, 540, 534,
    ]
)
# fmt: on
"""Vertex of the base mesh of each of the 68 points."""

# The balls that the eyes hang on, the subject's right one first, and the vertices around each one's front.
EYEBALLS = np.stack([np.arange(14670, 14742), np.arange(14598, 14670)])
EYE_FRONTS = EYEBALLS[:, [0, 9, 18, 27, 36, 45, 54, 63]]
# The iris lies behind the front of the ball: its distance from the centre, as a share of the front's.
IRIS_DEPTH = 0.846

VISIBILITY_TOLERANCE = 0.02
"""World units between a visible landmark and the surface that is seen within a pixel of it: about 5 mm."""


@dataclass(frozen=True)
class Landmarks:
    """72 landmarks, seen by N cameras.

    Attributes:
        world: (72, 3) float32, world units.
        pixels: (N, 72, 2) float32, x and y; pixel centres are at +0.5, as everywhere.
        visible: (N, 72) bool: on the surface that is seen there. Eyeballs' centres never are.
    """

    world: Floats
    pixels: Floats
    visible: NDArray[np.bool_]


def locate(base: Floats) -> Floats:
    """The (72, 3) landmarks of a posed base mesh (19158, 3), in its units."""
    centres = base[EYEBALLS].mean(axis=1)
    pupils = centres + IRIS_DEPTH * (base[EYE_FRONTS].mean(axis=1) - centres)
    return np.concatenate([base[VERTICES], pupils, centres])


def see(points: Floats, cameras: Cameras, depth: Floats) -> Landmarks:
    """What N cameras see of world points (72, 3), given the depth (N, H, W) of the scene."""
    w2c = cameras.w2c.numpy()
    at = np.einsum("nij,pj->npi", w2c[:, :3, :3], points) + w2c[:, None, :3, 3]
    focal, centre = np.split(cameras.intrinsics.numpy()[:, None], 2, axis=-1)
    pixels = at[..., :2] / at[..., 2:] * focal + centre
    return Landmarks(points, pixels, _gap(depth, pixels, at[..., 2]) <= VISIBILITY_TOLERANCE)


def _gap(depth: Floats, pixels: Floats, z: Floats) -> Floats:
    """(N, P) how far points at z-depth (N, P) are from the nearest surface in the 3 x 3 pixels around them.

    Infinity outside the picture and where nothing is.
    """
    height, width = depth.shape[1:]
    column, row = np.floor(np.moveaxis(pixels, -1, 0)).astype(int)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    near = np.pad(np.where(depth > 0, depth, np.inf), ((0, 0), (1, 1), (1, 1)), constant_values=np.inf)
    view = np.arange(len(depth))[:, None]
    row, column = row.clip(0, height - 1), column.clip(0, width - 1)
    gaps = [np.abs(near[view, row + i, column + j] - z) for i in range(3) for j in range(3)]
    return np.where(inside, np.min(gaps, axis=0), np.inf).astype(np.float32)
