"""Paths of cameras for pictures and videos of a head: a still, a turntable, a spiral, a dolly.

Azimuth, elevation and distance are those of `facelift.cameras`; each path says how it varies them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import get_args

from facelift.cameras import FOV_DEGREES, RADIUS, Cameras, orbit
from facelift.checks import check_number, check_whole
from facelift.choices import CameraPath
from facelift.errors import UserError

TURNTABLE_ELEVATION = 20.0  # FaceLift's, degrees

_POLE = 89.99  # degrees; straight above, no direction would be up
_SWING, _NOD, _ZOOM = 20.0, 10.0, 0.1  # how far the spiral strays: degrees, degrees, of the distance
_DOLLY = 1.8  # times the distance, where the dolly begins


def camera_path(
    kind: CameraPath,
    frames: int = 150,
    size: int | tuple[int, int] = 512,
    azimuth: float = 0.0,
    elevation: float | None = None,
    distance: float = RADIUS,
    fov: float = FOV_DEGREES,
    target: Sequence[float] = (0.0, 0.0, 0.0),
) -> Cameras:
    """The cameras of a path, one a frame.

    - "still": one camera, whatever `frames` says.
    - "turntable": one turn at the same elevation. A loop: the last frame leads to the first.
    - "spiral": the one of LLFF and NeRF, a loop that stays in front: the camera circles twice around where a
      still would be, 20 degrees to the sides and 10 up and down, and comes nearer and goes away by a tenth.
    - "dolly": straight towards the head, from 1.8 times `distance` to it, gently at both ends.

    Args:
        kind: of the path.
        frames: how many.
        size: of the images in pixels, one side or width and height.
        azimuth: where the path starts, or what it is about; degrees, growing towards the subject's right.
        elevation: degrees, -90 to 90; None is 20 for the turntable and 0 for all others.
        distance: of the cameras from the target, world units.
        fov: across the shorter side of the image, degrees.
        target: the point that all cameras look at.

    Raises:
        UserError: there is no such path; a number is out of its range.
    """
    if kind not in get_args(CameraPath):
        raise UserError(f"There is no camera path {kind!r}: choose {', '.join(get_args(CameraPath))}.")
    if elevation is None:
        elevation = TURNTABLE_ELEVATION if kind == "turntable" else 0.0
    check_whole(frames, "number of frames", 1, 100_000, optional=False)
    for side in (size,) if isinstance(size, int) else size:
        check_whole(side, "size in pixels", 1, optional=False)
    check_number(azimuth, "azimuth", -1e6, 1e6)
    check_number(elevation, "elevation", -90, 90)
    check_number(distance, "distance", 1e-3, 1e6)
    check_number(fov, "field of view", 1, 170)
    for coordinate in target:
        check_number(coordinate, "target", -1e6, 1e6)

    times = [0.0] if kind == "still" else [i / frames for i in range(frames)]
    azimuths, elevations, distances = (
        [azimuth] * len(times),
        [elevation] * len(times),
        [distance] * len(times),
    )
    if kind == "turntable":
        azimuths = [azimuth + 360.0 * t for t in times]
    elif kind == "spiral":
        turns = [2.0 * math.pi * t for t in times]
        azimuths = [azimuth + _SWING * math.sin(2.0 * turn) for turn in turns]
        elevations = [elevation + _NOD * math.cos(2.0 * turn) for turn in turns]
        distances = [distance * (1.0 + _ZOOM * math.sin(turn)) for turn in turns]
    elif kind == "dolly":
        times = [1.0] if frames == 1 else [i / (frames - 1) for i in range(frames)]
        distances = [distance * _DOLLY ** (1.0 - t * t * (3.0 - 2.0 * t)) for t in times]
    elevations = [min(max(e, -_POLE), _POLE) for e in elevations]
    return orbit(azimuths, elevations, size, distances, fov, target)
