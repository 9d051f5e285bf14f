"""The views of a capture in one frame: undistorted squares around the head, at one size.

The frame is that of FaceLift's canonical cameras. The portrait that is cut from the input view says how large
a unit is and where the head's axis is: a camera in front, at a distance of 2.7 with a field of view of 50
degrees, sees the portrait. Every other view is cut to the same size in units around the same point.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor

from facelift.cameras import FOV_DEGREES, RADIUS, Cameras, canonical_rig
from facelift.data.reader import Views
from facelift.evaluate.benchmarks.alignment import Floats, Similarity
from facelift.evaluate.benchmarks.capture import Capture, Lens, Picture
from facelift.portrait.matte import unmix

CutOut = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""From (3, S, S) RGB, and (1, S, S) which of it the photo shows, to RGB on white and (1, S, S) coverage."""

SIDE = 2 * RADIUS * math.tan(math.radians(FOV_DEGREES / 2))  # of what the portrait shows, units
MAX_OVERSAMPLING = 8


def head_frame(lens: Lens, centre: Floats, middle: Floats, side: float) -> Similarity:
    """From units of the canonical frame to the capture's world, so that the input camera is the front one.

    Args:
        lens: of the input view.
        centre: (3,) of the head in the world; its distance is what counts.
        middle: (2,) of the portrait's square, pixels without distortion.
        side: of that square, pixels.
    """
    ray = np.linalg.inv(lens.matrix) @ np.array([*middle, 1.0])
    ray /= np.linalg.norm(ray)
    toward = lens.w2c[:3, :3].T @ ray
    distance = float((centre - lens.position) @ toward)
    # The least turn of the camera that looks along the ray, the axes of a camera in front of a head.
    turned = _least_turn(np.array([0.0, 0.0, 1.0]), ray) @ _front_axes()
    unit = distance * float(ray[2]) * side / SIDE / math.sqrt(lens.matrix[0, 0] * lens.matrix[1, 1])
    return Similarity(unit, lens.w2c[:3, :3].T @ turned, lens.position + distance * toward)


def views_in_frame(
    capture: Capture, names: list[str], frame: Similarity, size: int, cut_out: CutOut
) -> tuple[Views, Tensor]:
    """The views of some cameras, cut to `size` pixels.

    Args:
        capture: whose they are.
        names: of the cameras.
        frame: from units to the world, of `head_frame`.
        size: of the squares.
        cut_out: finds the coverage of squares of pictures that come without.

    Returns:
        The views, their cameras in the canonical frame, and (V, 1, S, S) bool: which pixels the images show.
    """
    w2c, intrinsics, images, alphas, shown = [], [], [], [], []
    for name in names:
        picture = capture.read(name)
        lens = capture.lenses[name].resized(picture.rgb.shape[1::-1])
        depth = float((lens.w2c[:3, :3] @ frame.translation + lens.w2c[:3, 3])[2])
        middle = lens.project(frame.translation[None])[0]
        side = SIDE * frame.scale * math.sqrt(lens.matrix[0, 0] * lens.matrix[1, 1]) / depth
        image, alpha, seen, pinhole = cut_square(picture, lens, middle, side, size)
        if picture.alpha is None:
            image, alpha = cut_out(image, seen)
        images.append(image)
        alphas.append(alpha)
        shown.append(seen)
        intrinsics.append(pinhole)
        w2c.append(torch.from_numpy(frame.inverse().camera(lens.w2c)).float())
    cameras = Cameras(torch.stack(w2c), torch.stack(intrinsics), size, size)
    return Views(torch.stack(images), torch.stack(alphas), None, cameras), torch.stack(shown)


def cut_square(
    picture: Picture, lens: Lens, middle: Floats, side: float, size: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A square of an image, without distortion.

    Args:
        picture: the image.
        lens: of this image's size.
        middle: (2,) of the square, pixels without distortion, centres at whole numbers.
        side: of the square, such pixels.
        size: of the result.

    Returns:
        (3, S, S) RGB on white, (1, S, S) coverage, 1 all over for a picture without; (1, S, S) bool, where
        the image reaches to; and (4,) fx, fy, cx, cy with pixel centres at +0.5.
    """
    times = min(max(1, round(side / size)), MAX_OVERSAMPLING)  # area means of several samples a pixel
    scale = size * times / side
    corner = middle + 0.5 - side / 2  # of the square, in pixels with centres at +0.5
    matrix = lens.matrix.copy()
    matrix[:2, 2] += 0.5
    matrix[:2, 2] = (matrix[:2, 2] - corner) * scale
    matrix[:2, :2] *= scale
    pinhole = torch.tensor([matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]]).float() / times
    matrix[:2, 2] -= 0.5
    place = cv2.initUndistortRectifyMap(
        lens.matrix, np.array(lens.distortion or (0.0,) * 4), None, matrix, (size * times,) * 2, cv2.CV_32FC1
    )
    alpha = np.ones(picture.rgb.shape[:2], np.float32) if picture.alpha is None else picture.alpha
    filtering = cv2.INTER_LINEAR if times > 1 else cv2.INTER_CUBIC

    def moved(layer: np.ndarray) -> np.ndarray:
        warped = cv2.remap(layer, *place, filtering, borderMode=cv2.BORDER_REPLICATE)
        return cv2.resize(warped, (size, size), interpolation=cv2.INTER_AREA).clip(0, 1)

    color, coverage = moved(picture.rgb.astype(np.float32) / 255), moved(alpha)
    height, width = alpha.shape
    inside = (place[0] > -0.5) & (place[0] < width - 0.5) & (place[1] > -0.5) & (place[1] < height - 0.5)
    seen = cv2.resize(inside.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA) > 0.999
    coverage = coverage * seen
    if picture.alpha is not None:
        color = unmix(color, coverage)
    image = color * coverage[..., None] + 1 - coverage[..., None]
    return (
        torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1), np.float32)).clamp(0, 1),
        torch.from_numpy(coverage[None].astype(np.float32)),
        torch.from_numpy(seen[None]),
        pinhole,
    )


def _front_axes() -> Floats:
    """(3, 3) from the canonical world to its front camera."""
    return canonical_rig()[0].w2c[0, :3, :3].double().numpy()


def _least_turn(start: Floats, end: Floats) -> Floats:
    """(3, 3) the rotation by the least angle from one unit vector to another."""
    across, along = np.cross(start, end), float(start @ end)
    skew = np.array([[0, -across[2], across[1]], [across[2], 0, -across[0]], [-across[1], across[0], 0]])
    return np.eye(3) + skew + skew @ skew / (1 + along)
