"""Where a viewer's camera begins, and what it circles."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from facelift.cameras import FOV_DEGREES, RADIUS, Cameras
from facelift.errors import UserError
from facelift.gaussians import Gaussians

_ELEVATION = math.radians(10.0)  # of the first view of a scene


@dataclass(frozen=True)
class Viewpoint:
    """A camera that looks at a target, with z up.

    Attributes:
        position: of the camera in the world.
        target: what it looks at and circles.
        fov: the field of view of the picture's shorter side, in degrees.
    """

    position: tuple[float, float, float]
    target: tuple[float, float, float]
    fov: float = FOV_DEGREES

    @classmethod
    def of_camera(cls, camera: Cameras, gaussians: Gaussians) -> Viewpoint:
        """That of one camera, which circles the point of its axis nearest to the middle of the Gaussians.

        A viewer keeps the horizon level and its target in the middle of the picture: a camera's roll and the
        place of its principal point are left out.

        Raises:
            UserError: these are several cameras or none, or no camera, see `Cameras.check`.
        """
        camera.check()
        if len(camera) != 1:
            raise UserError(f"A photo has one camera, not {len(camera)}: pass cameras[0].")
        position = _array(camera.positions[0])
        forward = _array(camera.w2c[0, 2, :3])
        offset = _middle(gaussians) - position
        distance = max(float(offset @ forward), 0.1 * float(np.linalg.norm(offset)), 1e-6)
        fx, fy = (float(focal) for focal in camera.intrinsics[0, :2])
        fov = 2 * math.degrees(math.atan(min(camera.width / fx, camera.height / fy) / 2))
        return cls(_triple(position), _triple(position + distance * forward), fov)

    @classmethod
    def framing(cls, gaussians: Gaussians) -> Viewpoint:
        """A view of the whole, however large it is: from the front, a little from above.

        What lies twice as far out as half of the Gaussians does not count: a scene has a sky, and floaters
        around it.
        """
        middle = _middle(gaussians)
        distances = np.linalg.norm(_array(gaussians.means) - middle, axis=-1)
        if len(distances) == 0:
            return FRONT
        half, most = (float(part) for part in np.quantile(distances, [0.5, 0.95]))
        radius = max(min(most, 2 * half), 1e-6)
        away = 1.15 * radius / math.sin(math.radians(FOV_DEGREES) / 2)
        front = np.array([0.0, -math.cos(_ELEVATION), math.sin(_ELEVATION)])
        return cls(_triple(middle + away * front), _triple(middle))


FRONT = Viewpoint((0.0, -RADIUS, 0.0), (0.0, 0.0, 0.0))
"""FaceLift's front camera, which the portrait is seen from."""


def _middle(gaussians: Gaussians) -> NDArray[np.float64]:
    """(3,) the median of the centres, which few that lie far away do not move."""
    means = _array(gaussians.means)
    return np.median(means, axis=0) if len(means) else np.zeros(3)


def _array(tensor: Tensor) -> NDArray[np.float64]:
    return tensor.detach().cpu().double().numpy()


def _triple(vector: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in vector)
    return x, y, z
