"""A photo of a synthetic person: a camera of its own before the face, and what lies behind the person.

Photos are taken from arm's length to many metres, a little from above or aside, with the face anywhere in
the frame; then they are cut as FaceLift frames portraits. So the focal length follows from the distance,
and the principal point is seldom in the middle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from facelift.cameras import RADIUS, Cameras, orbit
from facelift.data.backgrounds import random_background
from facelift.formats.frames import METRES_PER_UNIT
from facelift.synth.assets import Assets
from facelift.synth.develop import develop
from facelift.synth.framing import FACE_BOX_X, FACE_BOX_Y, FOCAL, face_box_center
from facelift.synth.hdri import Hdri
from facelift.synth.priors import PHOTO_DISTANCES, PHOTO_DRAWN_SHARE
from facelift.synth.scene import Floats
from facelift.synth.values import pair


@dataclass(frozen=True)
class Photo:
    """Where the camera is, and what is behind the person.

    Attributes:
        distance: from the camera to the middle of the face, world units (20 cm).
        azimuth, elevation: of the camera, seen from the face, degrees; as in `facelift.cameras.orbit`.
        roll: of the camera about the line of sight, degrees, clockwise as the photographer sees it.
        off_axis: how far to the right of the camera's axis the face is, and how far below it, degrees.
        background: the map that is seen behind the person, out of focus; None for what is drawn by chance.
        background_seed: of what is drawn.
        blur: of the map, standard deviation as a share of the picture's side.
    """

    distance: float
    azimuth: float
    elevation: float
    roll: float
    off_axis: tuple[float, float]
    background: Hdri | None
    background_seed: int
    blur: float

    def camera(self, middle: Floats, size: int) -> Cameras:
        """The camera, with the face box where FaceLift has it.

        Args:
            middle: (3,) of the face box in the world.
            size: side of the picture in pixels.
        """
        place = orbit([self.azimuth], [self.elevation], size, self.distance, target=middle.tolist())
        w2c = place.w2c[0].double().numpy()
        w2c = _turned(w2c, *(math.radians(angle) for angle in (self.roll, *self.off_axis)))
        seen = w2c[:3, :3] @ middle + w2c[:3, 3]
        # The face is as large as in the canonical front view, which looks along y from FaceLift's distance.
        factor = size / 512 * FOCAL * seen[2] / _canonical_depth(middle)
        x, y = (size / 512 * at - factor * seen[i] / seen[2] for i, at in enumerate((FACE_BOX_X, FACE_BOX_Y)))
        intrinsics = torch.tensor([[factor, factor, x, y]], dtype=torch.float32)
        return Cameras(torch.from_numpy(w2c).float()[None], intrinsics, size, size)


def sample_photo(rng: np.random.Generator, surroundings: Hdri | None) -> Photo:
    """A random photo; `surroundings` are what may be seen behind the person."""
    shares = [share for share, _, _ in PHOTO_DISTANCES]
    _, near, far = PHOTO_DISTANCES[int(rng.choice(len(shares), p=shares))]
    metres = math.exp(rng.uniform(math.log(near), math.log(far)))
    azimuth, elevation, roll = rng.normal(0, [3.0, 3.5, 2.0]).clip([-8, -9, -6], [8, 9, 6])
    # Near faces fill the frame of a wide lens; far ones were cut out of a narrow one.
    off_axis = (rng.normal(0, [3.0, 5.0]) / max(metres, 0.5)).clip(-12, 12)
    drawn = rng.random() < PHOTO_DRAWN_SHARE
    return Photo(
        distance=round(metres / METRES_PER_UNIT, 3),
        azimuth=round(float(azimuth), 2),
        elevation=round(float(elevation), 2),
        roll=round(float(roll), 2),
        off_axis=pair(off_axis),
        background=None if drawn else surroundings,
        background_seed=int(rng.integers(2**31)),
        blur=round(math.exp(rng.uniform(math.log(0.003), math.log(0.03))), 4),
    )


def photo_camera(photo: Photo, base: Floats, assets: Assets, size: int) -> Cameras:
    """The camera before a person whose base mesh in the world is `base` (19158, 3)."""
    return photo.camera(face_box_center(base, assets), size)


def background(photo: Photo, camera: Cameras, assets: Assets) -> NDArray[np.uint8]:
    """(H, W, 3) sRGB of what is behind the person."""
    hdri = photo.background
    if hdri is None:
        image = random_background(np.random.default_rng(photo.background_seed), camera.width)
        return np.rint(255 * image).astype(np.uint8)
    radiance = hdri.surroundings(assets.hdri(hdri.name))
    rows, columns = radiance.shape[:2]
    towards = camera.rays()[1][0].numpy()
    azimuth = np.arctan2(towards[..., 1], towards[..., 0]) / (2 * math.pi) % 1
    polar = np.arccos(towards[..., 2].clip(-1, 1)) / math.pi
    # One column more at either side, since the map is round.
    wrapped = np.concatenate([radiance[:, -1:], radiance, radiance[:, :1]], axis=1)
    x, y = (azimuth * columns + 0.5).astype(np.float32), (polar * rows - 0.5).astype(np.float32)
    seen = cv2.remap(wrapped, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    # A lens blurs light, not its picture, so what is bright grows; and no pixel of the map shows as a square.
    texel = float(camera.intrinsics[0, 0]) * 2 * math.pi / columns
    seen = cv2.GaussianBlur(seen, (0, 0), math.hypot(photo.blur * camera.width, 0.6 * texel))
    return np.rint(255 * develop(hdri.exposure * seen)).astype(np.uint8)


def _canonical_depth(middle: Floats) -> float:
    return RADIUS + float(middle[1])


def _turned(w2c: NDArray[np.float64], roll: float, right: float, down: float) -> NDArray[np.float64]:
    """World to camera after the camera has rolled and looked away from what it saw in the middle."""
    (c, s), (cx, sx), (cy, sy) = ((math.cos(angle), math.sin(angle)) for angle in (roll, right, down))
    about_z = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1.0]])
    about_y = np.array([[cx, 0, sx], [0, 1, 0], [-sx, 0, cx]])
    about_x = np.array([[1, 0, 0], [0, cy, sy], [0, -sy, cy]])
    out = w2c.copy()
    out[:3] = about_z @ about_x @ about_y @ w2c[:3]
    return out
