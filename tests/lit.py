"""A map of light for tests, and assets that have it."""

import cv2
import numpy as np

from facelift.synth.assets import Assets
from facelift.synth.scans import Scans


def landscape(rows=64):
    """As a file has it: a red mark in the middle, a green one to its right, a sun above, ground below."""
    picture = np.full((rows, 2 * rows, 3), 0.5, np.float32)
    picture[rows // 2 :] = 0.2
    middle = slice(rows // 2 - 4, rows // 2 + 4)
    picture[middle, rows - 4 : rows + 4] = [1, 0, 0]
    picture[middle, rows * 3 // 2 - 4 : rows * 3 // 2 + 4] = [0, 1, 0]
    picture[rows // 4, rows // 2] = [4000, 3000, 2000]
    return picture


def assets_with_map(makehuman_data, beside):
    """MakeHuman's assets with scans that move nothing and one map of light, both in the folder `beside`."""
    (beside / "hdri").mkdir(parents=True)
    nothing = np.zeros((2, 3, 3), np.float32)
    Scans(np.arange(3, dtype=np.int32), nothing, ("jawOpen", "jawLeft"), nothing).write(beside / "scans.npz")
    cv2.imwrite(str(beside / "hdri/land.hdr"), landscape()[..., ::-1])
    return Assets((makehuman_data, beside))
