"""The canonical square: where it lies around a face, and how a photo is moved into it.

A move `(scale, dx, dy)` takes a photo's pixels to those of its square: `p -> scale * p + (dx, dy)`.
"""

import math

import cv2
import numpy as np
import torch
from torch import Tensor

from facelift.portrait.find import Face
from facelift.portrait.matte import prior

# The face box in the canonical square, as shares of its side. FaceLift's own constants, 194.275 and
# (251.833, 280.013) of 512, are for MTCNN's boxes; these are for ours. They are medians over the front views
# of 533 synthetic heads at 256, measured with benchmarks/calibrate_face_box.py; half of the heads lie within
# 3% of the side, and within 1% of the square of the centre.
FACE_SIDE = 0.3310
FACE_CENTRE = (0.4946, 0.5568)

LANDMARK_SIDE = 256  # of the square in which the network finds landmarks, pixels

Move = tuple[float, float, float]


def square_around(face: Face, side: int) -> Move:
    """The move into the square in which a face's box has its canonical size and place.

    Args:
        face: in pixels of the photo.
        side: of the square, pixels.
    """
    scale = FACE_SIDE * side / face.side
    dx, dy = (side * c - scale * f for c, f in zip(FACE_CENTRE, face.centre, strict=True))
    return scale, dx, dy


def canonical_face(size: int) -> Face:
    """Where the face's box is in a portrait of `size` pixels."""
    (x, y), half = (share * size for share in FACE_CENTRE), FACE_SIDE * size / 2
    return Face(x - half, y - half, x + half, y + half)


def rescaled(move: Move, side: int, other: int) -> Move:
    """The move into a square of the `other` side, from one into a square of that side."""
    scale, dx, dy = move
    return scale * other / side, dx * other / side, dy * other / side


def network_input(image: np.ndarray, face: Face, move: Move) -> tuple[Tensor, Tensor]:
    """What a `PortraitNetwork` takes: colours of the square, `(3, S, S)`, and log odds, `(S, S)`.

    S is LANDMARK_SIDE.

    Args:
        image: (H, W, 3 or 4) uint8.
        face: in pixels of it.
        move: into a square of that side.
    """
    rgb, alpha = warp(image, *move, LANDMARK_SIDE)
    x0, y0, x1, y1 = visible_part(image, *move, LANDMARK_SIDE)
    part = (rgb * alpha[..., None] + (1 - alpha[..., None]))[y0:y1, x0:x1]
    rgb = cv2.copyMakeBorder(part, y0, LANDMARK_SIDE - y1, x0, LANDMARK_SIDE - x1, cv2.BORDER_REPLICATE)
    prior_logits = prior((LANDMARK_SIDE, LANDMARK_SIDE), face.moved(*move))
    return torch.from_numpy(rgb).movedim(-1, 0), torch.from_numpy(prior_logits)


def brighten(rgb: Tensor) -> Tensor:
    """Colours of a dark square, `(3, S, S)`, made so bright that networks see them; others as they are."""
    white = float(rgb.flatten().quantile(0.98))
    return (rgb * min(max(0.5 / max(white, 0.01), 1.0), 10.0)).clamp(0, 1)


def visible_part(
    image: np.ndarray, scale: float, dx: float, dy: float, side: int
) -> tuple[int, int, int, int]:
    """What a photo shows of its square: left, top, right and bottom, pixels of the square."""
    h, w = image.shape[:2]
    x0, y0 = (min(max(math.ceil(v), 0), side) for v in (dx, dy))
    x1, y1 = (min(max(math.floor(v), 0), side) for v in (dx + scale * w, dy + scale * h))
    return x0, y0, x1, y1


def warp(image: np.ndarray, scale: float, dx: float, dy: float, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Moves `image` by `p -> scale * p + (dx, dy)` into a square of side `size`.

    Returns straight colour `(S, S, 3)` and alpha `(S, S)`, float32 in [0, 1]; beyond the photo alpha is 0.
    """
    # Crop first, with a rim for the filter, so that large photos cost no more memory than they must.
    rim = 4 * max(1, 1 / scale)
    h, w = image.shape[:2]
    x0, x1 = (int(np.clip(v, 0, w)) for v in ((0 - dx) / scale - rim, (size - dx) / scale + rim + 1))
    y0, y1 = (int(np.clip(v, 0, h)) for v in ((0 - dy) / scale - rim, (size - dy) / scale + rim + 1))
    part: np.ndarray = image[y0:y1, x0:x1].astype(np.float32) / 255
    if part.shape[2] == 3:
        part = np.dstack([part, np.ones(part.shape[:2], np.float32)])
    part[..., :3] *= part[..., 3:]  # filters must not see the colour of transparent pixels
    # Pixel centres are at +0.5: the move above is of edges, cv2's of centres.
    shift = np.array([dx + scale * x0, dy + scale * y0])
    if scale < 1:  # area averaging to the final scale, so that only a sub-pixel shift is left
        h, w = (max(1, round(n * scale)) for n in part.shape[:2])
        rest = scale * np.array([part.shape[1] / w, part.shape[0] / h])
        part = cv2.resize(part, (w, h), interpolation=cv2.INTER_AREA)
    else:
        rest = np.array([scale, scale])
    offset = shift + rest * 0.5 - 0.5
    move = np.array([[rest[0], 0, offset[0]], [0, rest[1], offset[1]]])
    # Linear interpolation would blur the photo that everything else is made from; cubic does not.
    part = cv2.warpAffine(part, move, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT)
    rgb = part[..., :3] / np.maximum(part[..., 3:], 1e-4)  # both overshoot alike at the edge of the photo
    return rgb.clip(0, 1), part[..., 3].clip(0, 1)
