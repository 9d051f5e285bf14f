"""A photo becomes the centred square portrait on white that every later stage expects.

The crop comes before the matte: in the canonical square the head has a known place and size, so the matte
costs the same for every photo and knows where to look.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
import torch
from torch import Tensor

from facelift.choices import Matting
from facelift.errors import UserError
from facelift.images import WHITE
from facelift.portrait.alpha import filled, is_matte, on_white
from facelift.portrait.find import Face, find_faces
from facelift.portrait.load import Photo, load_photo, photo_name
from facelift.portrait.matte import prior, remove_background, unmix
from facelift.portrait.segment import Segmenter

# The face box in the canonical square, as shares of its side. FaceLift's own constants, 194.275 and
# (251.833, 280.013) of 512, are for MTCNN's boxes; these are for ours. They are medians over the front views
# of 533 synthetic heads at 256, measured with benchmarks/calibrate_face_box.py; half of the heads lie within
# 3% of the side, and within 1% of the square of the centre.
FACE_SIDE = 0.3310
FACE_CENTRE = (0.4946, 0.5568)

MAX_HEM = 0.08  # share of the square's height by which a body is continued below the end of the photo
LOOK_SIDE = 256  # pixels of the square in which landmarks are looked for
UNLIKELY_SIZE, UNLIKELY_SHIFT = 0.25, 0.1  # logarithm, and share of the side: no box is so far off
WORK_SIDE = 512  # matting is done at this side at least: in fewer pixels there are no hairs to find


@dataclass(frozen=True)
class Portrait:
    """A head on white, framed as the synthetic heads are.

    Attributes:
        image: `(3, S, S)` float32 RGB in [0, 1], composited on white.
        alpha: `(1, S, S)` float32 in [0, 1]; 1 wherever a prepared portrait without an alpha channel is not
            white.
        faces: how many faces the photo has (0: a prepared portrait, in which none was looked for).
        box: the face that was used, in pixels of the upright photo; None for a prepared portrait.
    """

    image: Tensor
    alpha: Tensor
    faces: int = 0
    box: Face | None = None


def prepare_portrait(
    photo: Photo,
    size: int | None = 512,
    matting: Matting = "auto",
    prepared: bool = False,
    segmenter: Segmenter | None = None,
) -> Portrait:
    """Finds the largest face, moves it to the canonical place and size, and removes the background.

    Args:
        photo: a path, bytes, a file object, a PIL image, an array or a tensor, see `load_photo`.
        size: side of the portrait, pixels; None leaves a prepared one as large as it is.
        matting: `auto` takes the photo's own alpha channel if it is a matte, and otherwise GrabCut with the
            advice of the segmenter, if there is one; `grabcut` cuts by colours alone; `rembg` is that
            package's network; `none` keeps the background. An alpha channel that only frames the photo,
            such as rounded corners, bounds the result of each.
        prepared: the photo is a finished square portrait already, on white or with alpha: only resize it.
        segmenter: the model's own, on the CPU, which also frames the face; None if it has none.

    Raises:
        UserError: no readable photo, no face, a prepared portrait that is not square, or rembg is missing.
    """
    image = load_photo(photo)
    if prepared:
        h, w = image.shape[:2]
        if h != w:
            raise UserError(f"{photo_name(photo)} is {w} x {h}: a prepared portrait must be square.")
        size = size or w
        rgb, alpha = _warp(image, size / w, 0.0, 0.0, size)
        portrait = _portrait(rgb, alpha, size)
        if image.shape[2] == 4:
            return portrait
        return replace(portrait, alpha=(portrait.image.amin(dim=0, keepdim=True) <= WHITE).float())

    if size is None:
        raise ValueError("only a prepared portrait has a size of its own")
    faces = find_faces(on_white(image))
    if not faces:
        name = photo_name(photo)
        raise UserError(
            f"No face was found in {name}: use a photo that shows one face from the front, upright."
        )
    face = faces[0]
    side = max(size, WORK_SIDE)
    scale, dx, dy = locate_square(image, face, side, segmenter)
    rgb, alpha = _warp(image, scale, dx, dy, side)
    x0, y0, x1, y1 = _shown(image, scale, dx, dy, side)
    own_matte = image.shape[2] == 4 and is_matte(image[..., 3])
    if matting in ("grabcut", "rembg") or (matting == "auto" and not own_matte):
        # Only what the photo shows is matted; white paper around it would teach a wrong background.
        shown = filled(rgb[y0:y1, x0:x1], alpha[y0:y1, x0:x1])
        method: Literal["grabcut", "rembg"] = "rembg" if matting == "rembg" else "grabcut"
        advice = segmenter if matting == "auto" else None
        matte = remove_background(shown, face.moved(scale, dx - x0, dy - y0), method, advice)
        rgb[y0:y1, x0:x1] = unmix(shown, matte)
        alpha *= np.pad(matte, ((y0, side - y1), (x0, side - x1)))
    if matting != "none" and side * (1 - MAX_HEM) <= y1 < side:
        # A body goes on where the photo ends, and no model has seen a hem of white below one: mirror it.
        end, hem = y1 - 1, side - (y1 - 1)
        rgb[end:], alpha[end:] = rgb[end - hem : end][::-1], alpha[end - hem : end][::-1]
    return _portrait(rgb, alpha, size, len(faces), face)


def locate_square(
    image: np.ndarray, face: Face, side: int, segmenter: Segmenter | None
) -> tuple[float, float, float]:
    """The move `p -> scale * p + (dx, dy)` from a photo's pixels to those of its canonical square.

    First by the face's box; then, where there is a network that finds landmarks, by these.

    Args:
        image: (H, W, 3 or 4) uint8.
        face: one that was found in it.
        side: of the square, pixels.
        segmenter: the network; None if there is none.
    """
    scale = FACE_SIDE * side / face.side
    dx, dy = (side * c - scale * f for c, f in zip(FACE_CENTRE, face.centre, strict=True))
    if segmenter is None:
        return scale, dx, dy
    look = (scale * LOOK_SIDE / side, dx * LOOK_SIDE / side, dy * LOOK_SIDE / side)
    rgb, alpha = _warp(image, *look, LOOK_SIDE)
    x0, y0, x1, y1 = _shown(image, *look, LOOK_SIDE)
    shown = (rgb * alpha[..., None] + (1 - alpha[..., None]))[y0:y1, x0:x1]
    rgb = cv2.copyMakeBorder(shown, y0, LOOK_SIDE - y1, x0, LOOK_SIDE - x1, cv2.BORDER_REPLICATE)
    odds = prior((LOOK_SIDE, LOOK_SIDE), face.moved(*look))
    found = segmenter.square(torch.from_numpy(rgb).movedim(-1, 0), torch.from_numpy(odds))
    if found is None:
        return scale, dx, dy
    x, y, width = (found / LOOK_SIDE).tolist()  # as shares of the first square
    likely = abs(math.log(width)) <= UNLIKELY_SIZE and math.hypot(x - 0.5, y - 0.5) <= UNLIKELY_SHIFT
    if not likely:
        return scale, dx, dy
    return scale / width, (dx - x * side) / width + side / 2, (dy - y * side) / width + side / 2


def _shown(image: np.ndarray, scale: float, dx: float, dy: float, side: int) -> tuple[int, int, int, int]:
    """What a photo shows of its square: left, top, right and bottom, pixels of the square."""
    h, w = image.shape[:2]
    x0, y0 = (min(max(math.ceil(v), 0), side) for v in (dx, dy))
    x1, y1 = (min(max(math.floor(v), 0), side) for v in (dx + scale * w, dy + scale * h))
    return x0, y0, x1, y1


def _portrait(
    rgb: np.ndarray, alpha: np.ndarray, size: int, faces: int = 0, box: Face | None = None
) -> Portrait:
    image = rgb * alpha[..., None] + (1 - alpha[..., None])
    image, alpha = (cv2.resize(a, (size, size), interpolation=cv2.INTER_AREA) for a in (image, alpha))
    return Portrait(
        image=torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1), np.float32)),
        alpha=torch.from_numpy(np.ascontiguousarray(alpha[None], np.float32)),
        faces=faces,
        box=box,
    )


def _warp(image: np.ndarray, scale: float, dx: float, dy: float, size: int) -> tuple[np.ndarray, np.ndarray]:
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
