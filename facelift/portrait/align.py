"""A photo becomes the centred square portrait on white that every later stage expects.

The crop comes before the matte: in the canonical square the head has a known place and size, so the matte
costs the same for every photo and knows where to look.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

import cv2
import numpy as np
import torch
from torch import Tensor

from facelift.choices import Matting
from facelift.errors import UserError
from facelift.images import WHITE
from facelift.portrait.alpha import composite_rgba_on_white, fill_transparent, is_matte
from facelift.portrait.find import Face
from facelift.portrait.framing import Framing
from facelift.portrait.load import Photo, load_photo, photo_name
from facelift.portrait.matte import remove_background, unmix
from facelift.portrait.network import PortraitNetwork
from facelift.portrait.quality import PhotoWarning, photo_warnings
from facelift.portrait.search import search_faces, turn
from facelift.portrait.square import FACE_CENTRE as FACE_CENTRE
from facelift.portrait.square import FACE_SIDE as FACE_SIDE
from facelift.portrait.square import (
    LANDMARK_SIDE,
    network_input,
    rescaled,
    square_around,
    visible_part,
    warp,
)

MAX_MIRRORED = 0.08  # share of the square's height by which the body is mirrored below the end of the photo
MAX_ZOOM, MAX_SHIFT = 0.25, 0.1  # by which landmarks may correct a box: logarithm, and share of the side
MIN_FACE = 24  # pixels; the models see faces of 85 pixels, and fewer than 24 show too few features
MIN_MATTING_SIDE = 512  # pixels; below it there are no hairs to find


@dataclass(frozen=True)
class Portrait:
    """A head on white, framed as the synthetic heads are.

    Attributes:
        image: `(3, S, S)` float32 RGB in [0, 1], composited on white.
        alpha: `(1, S, S)` float32 in [0, 1]; 1 wherever a prepared portrait without an alpha channel is not
            white.
        faces: how many faces the photo has (0: a prepared portrait, in which none was looked for).
        box: the face that was used, in pixels of the upright photo; None for a prepared portrait.
        warnings: what may spoil the head, and what to do about it.
        boxes: all faces, in pixels of the upright photo: the one that is used if nobody says which comes
            first, then the others by size.
        turns: quarter turns clockwise that made the photo upright.
    """

    image: Tensor
    alpha: Tensor
    faces: int = 0
    box: Face | None = None
    warnings: tuple[PhotoWarning, ...] = ()
    boxes: tuple[Face, ...] = ()
    turns: int = 0


def prepare_portrait(
    photo: Photo,
    size: int | None = 512,
    matting: Matting = "auto",
    prepared: bool = False,
    network: PortraitNetwork | None = None,
    framing: Framing | None = None,
) -> Portrait:
    """Turns a photo upright, moves its largest face to the canonical place, and removes the background.

    Args:
        photo: a path, bytes, a file object, a PIL image, an array or a tensor, see `load_photo`.
        size: side of the portrait, pixels; None leaves a prepared one as large as it is.
        matting: `auto` takes the photo's own alpha channel if it is a matte, and otherwise what the
            network says, or GrabCut without one; `grabcut` cuts by colours alone; `rembg` is that
            package's network; `none` keeps the background. An alpha channel that only frames the photo,
            such as rounded corners, bounds the result of each.
        prepared: the photo is a finished square portrait already, on white or with alpha: only resize it.
        network: the model's own, on the CPU, which also frames the face; None if it has none.
        framing: another face, a tilt, a zoom or a shift; not for prepared portraits.

    Raises:
        UserError: no readable photo, no face, not the chosen one or too small a one, a prepared portrait
            that is not square, an unknown `matting`, or rembg is missing.
    """
    if matting not in get_args(Matting):
        raise UserError(f"There is no matting {matting!r}: choose {', '.join(get_args(Matting))}.")
    image = load_photo(photo)
    if prepared:
        if framing is not None:
            raise UserError("A prepared portrait is framed already: leave face, tilt, zoom and shift out.")
        h, w = image.shape[:2]
        if h != w:
            raise UserError(f"{photo_name(photo)} is {w} x {h}: a prepared portrait must be square.")
        size = size or w
        rgb, alpha = warp(image, size / w, 0.0, 0.0, size)
        portrait = _portrait(rgb, alpha, size)
        if image.shape[2] == 4:
            return portrait
        return replace(portrait, alpha=(portrait.image.amin(dim=0, keepdim=True) <= WHITE).float())

    if size is None:
        raise ValueError("only a prepared portrait has a size of its own")
    framing = framing or Framing()
    search = search_faces(composite_rgba_on_white(image), network)
    if not search.faces:
        raise UserError(
            f"No face was found in {photo_name(photo)}: it may be turned aside, covered by a mask or a "
            "hand, or too small; use a photo that shows it large, uncovered and from the front."
        )
    boxes = tuple(search.faces)
    search = framing.chosen(search)
    image, box = turn(image, search.turns), search.faces[0]
    if box.side < MIN_FACE:
        raise UserError(
            f"The face in {photo_name(photo)} is {box.side:.0f} pixels wide, and at least {MIN_FACE} are "
            "needed: use a larger or closer photo."
        )
    own_matte = image.shape[2] == 4 and is_matte(image[..., 3])
    if framing.tilt:
        image, face = framing.straightened(image, box)
        search = replace(search, faces=[face, *search.faces[1:]])
    face = search.faces[0]
    side = max(size, MIN_MATTING_SIDE)
    move = scale, dx, dy = framing.corrected(locate_square(image, face, side, network), side)
    rgb, alpha = warp(image, scale, dx, dy, side)
    x0, y0, x1, y1 = visible_part(image, scale, dx, dy, side)
    if matting in ("grabcut", "rembg") or (matting == "auto" and not own_matte):
        # Only what the photo shows is matted; white paper around it would teach a wrong background.
        shown = fill_transparent(rgb[y0:y1, x0:x1], alpha[y0:y1, x0:x1])
        method: Literal["grabcut", "rembg"] = "rembg" if matting == "rembg" else "grabcut"
        advised = network if matting == "auto" else None
        matte = remove_background(shown, face.moved(scale, dx - x0, dy - y0), method, advised)
        rgb[y0:y1, x0:x1] = unmix(shown, matte)
        alpha *= np.pad(matte, ((y0, side - y1), (x0, side - x1)))
    if matting != "none" and side * (1 - MAX_MIRRORED) <= y1 < side:
        # The body goes on below the photo. The models were not trained on white there, so it is mirrored.
        end, missing = y1 - 1, side - (y1 - 1)
        rgb[end:], alpha[end:] = rgb[end - missing : end][::-1], alpha[end - missing : end][::-1]
    person = None if matting == "none" else alpha
    return replace(
        _portrait(rgb, alpha, size),
        faces=len(boxes),
        box=box,
        warnings=photo_warnings(image, search, move, side, person, network, framing.face is not None),
        boxes=boxes,
        turns=search.turns,
    )


def locate_square(
    image: np.ndarray, face: Face, side: int, network: PortraitNetwork | None
) -> tuple[float, float, float]:
    """The move `p -> scale * p + (dx, dy)` from a photo's pixels to those of its canonical square.

    First by the face's box; then, where there is a network that finds landmarks, by these.

    Args:
        image: (H, W, 3 or 4) uint8.
        face: one that was found in it.
        side: of the square, pixels.
        network: None if there is none.
    """
    scale, dx, dy = square_around(face, side)
    if network is None:
        return scale, dx, dy
    found = network.predict(*network_input(image, face, rescaled((scale, dx, dy), side, LANDMARK_SIDE)))
    x, y, width = (network.framing(found.points[0]) / LANDMARK_SIDE).tolist()  # as shares of the first square
    likely = abs(math.log(width)) <= MAX_ZOOM and math.hypot(x - 0.5, y - 0.5) <= MAX_SHIFT
    if not likely:
        return scale, dx, dy
    return scale / width, (dx - x * side) / width + side / 2, (dy - y * side) / width + side / 2


def _portrait(rgb: np.ndarray, alpha: np.ndarray, size: int) -> Portrait:
    image = rgb * alpha[..., None] + (1 - alpha[..., None])
    image, alpha = (cv2.resize(a, (size, size), interpolation=cv2.INTER_AREA) for a in (image, alpha))
    return Portrait(
        image=torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1), np.float32)),
        alpha=torch.from_numpy(np.ascontiguousarray(alpha[None], np.float32)),
    )
