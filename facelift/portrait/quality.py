"""What may spoil the head that a photo gives, and what its owner can do about it.

Each threshold lies beyond what 80 real and 60 synthetic portraits without that fault show: precision before
recall. Shut eyes are not reported: a face of 85 pixels shows too little of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from facelift.portrait.find import Face
from facelift.portrait.network import PortraitNetwork
from facelift.portrait.search import Search, tilt_of
from facelift.portrait.square import (
    FACE_SIDE,
    LANDMARK_SIDE,
    Move,
    brighten,
    network_input,
    rescaled,
    visible_part,
)

SMALL_FACE = 64  # pixels; below it the head is visibly blurred
MIN_SHARPNESS = 0.45  # fine over coarse contrast; sharp: 0.57 and more, blurred by 1.5 pixels: 0.37 or less
MAX_NOSE_OFFSET = 0.27  # from the middle of the eyes, over their width; at 45 degrees half of all have 0.4
HIDDEN_ENTROPY = 2.6  # of the places of nose or mouth, nats; bare faces: 1.7 or less, most masks: 4 and more
VISIBLE_ENTROPY = 2.3  # of eyes and brows, nats, below which they are visible; most tilted heads have more
MIN_EYE_CONTRAST = 0.12  # over the cheek's brightness; eyes: 0.28 and more
MIN_CUT_LENGTH = 0.1  # over the face's width, along which the person touches the edge of the photo

Kind = Literal["turned", "several", "small", "cut", "aside", "tilted", "blurred", "covered"]

TURNS = {1: "a quarter turn clockwise", 2: "half a turn", 3: "a quarter turn anticlockwise"}
EYES_AND_BROWS = [*range(17, 27), *range(36, 48)]  # of the 68 landmarks
NOSE, MOUTH, LEFT_EYE, RIGHT_EYE = slice(27, 36), slice(48, 68), slice(36, 42), slice(42, 48)


@dataclass(frozen=True)
class PhotoWarning:
    """What may keep a photo from becoming a good head.

    Attributes:
        kind: one word, for programs.
        text: a sentence, for people.
    """

    kind: Kind
    text: str

    def __str__(self) -> str:
        return self.text


def photo_warnings(
    image: np.ndarray,
    search: Search,
    move: Move,
    side: int,
    alpha: np.ndarray | None,
    network: PortraitNetwork | None,
    chosen: bool = False,
) -> tuple[PhotoWarning, ...]:
    """The warnings for a photo.

    Args:
        image: (H, W, 3 or 4) uint8, the upright photo.
        search: what was found in it; its first face is used.
        move: from the photo's pixels to those of its square.
        side: of the square, pixels.
        alpha: (side, side) coverage of the person; None if the background was kept.
        network: it finds landmarks; without it, there are fewer warnings.
        chosen: whether somebody said which face to use.
    """
    warnings = [*_of_search(search, chosen)]
    if alpha is not None and _is_cut(alpha, visible_part(image, *move, side)):
        text = "the head is cut by the end of the photo: use one that shows it whole."
        warnings.append(PhotoWarning("cut", text))
    rgb, prior_logits = network_input(image, search.faces[0], rescaled(move, side, LANDMARK_SIDE))
    rgb = brighten(rgb)
    if network is not None:
        found = network.predict(rgb, prior_logits)
        points, entropy = found.points[0].numpy(), found.entropy[0].numpy()
        grey = cv2.cvtColor(rgb.movedim(0, -1).numpy(), cv2.COLOR_RGB2GRAY)
        tilted = float(entropy[EYES_AND_BROWS].mean()) > VISIBLE_ENTROPY and _of_tilt(image, search.faces[0])
        warnings += tilted or _of_face(grey, points, entropy)
    return tuple(warnings)


def _of_search(search: Search, chosen: bool) -> Iterator[PhotoWarning]:
    face = search.faces[0]
    if search.turns:
        how = TURNS[search.turns]
        yield PhotoWarning("turned", f"the photo was turned by {how}, as the face in it stands.")
    if len(search.faces) > 1 and not chosen:
        which = "the largest" if face.side == max(f.side for f in search.faces) else "the wearer's"
        text = (
            f"{len(search.faces)} faces found; used {which}: crop the photo or choose another by its number."
        )
        yield PhotoWarning("several", text)
    if face.side < SMALL_FACE:
        text = f"the face is {face.side:.0f} pixels wide: with {SMALL_FACE} or more the head is sharper."
        yield PhotoWarning("small", text)


def _of_tilt(image: np.ndarray, face: Face) -> list[PhotoWarning]:
    tilt = tilt_of(cv2.cvtColor(image[..., :3], cv2.COLOR_RGB2GRAY), face)
    if not tilt:
        return []
    way = "anticlockwise" if tilt > 0 else "clockwise"
    text = f"the head is tilted: turn the photo {way} by some {abs(tilt):.0f} degrees."
    return [PhotoWarning("tilted", text)]


def _of_face(grey: np.ndarray, points: np.ndarray, entropy: np.ndarray) -> Iterator[PhotoWarning]:
    if _sharpness(grey, points) < MIN_SHARPNESS:  # then finer features cannot be judged
        yield PhotoWarning("blurred", "the face is blurred: use a sharper photo.")
        return
    if (
        entropy[EYES_AND_BROWS].mean() < VISIBLE_ENTROPY
        and max(entropy[NOSE].mean(), entropy[MOUTH].mean()) > HIDDEN_ENTROPY
    ):
        yield PhotoWarning("covered", "something covers nose or mouth: it becomes a part of the head.")
    elif abs(_nose_offset(points)) > MAX_NOSE_OFFSET:
        text = "the face is turned aside by about 40 degrees or more: use a frontal photo."
        yield PhotoWarning("aside", text)
    elif max(_eye_contrast(grey, points[eye]) for eye in (LEFT_EYE, RIGHT_EYE)) < MIN_EYE_CONTRAST:
        yield PhotoWarning("covered", "something dark covers the eyes: it becomes a part of the head.")


def _is_cut(alpha: np.ndarray, shown: tuple[int, int, int, int]) -> bool:
    """Whether the person touches the photo's upper end, or one at the side above the shoulders."""
    side = len(alpha)
    x0, y0, x1, y1 = shown
    chin = min(y1, round(0.7 * side))
    ends = [alpha[y0 + 1, x0:x1]] if y0 > 0 else []
    ends += [alpha[y0:chin, x0 + 1]] if x0 > 0 else []
    ends += [alpha[y0:chin, x1 - 2]] if x1 < side else []
    return y1 < chin or any((end > 0.5).sum() > MIN_CUT_LENGTH * FACE_SIDE * side for end in ends)


def _sharpness(grey: np.ndarray, points: np.ndarray) -> float:
    """Contrast of what is as fine as a pixel over that of what is as coarse as an eye."""
    (x0, y0), (x1, y1) = points[17:].min(0).astype(int) - 4, points[17:].max(0).astype(int) + 4
    part = grey[max(y0, 0) : y1, max(x0, 0) : x1]
    fine, middle, coarse = (cv2.GaussianBlur(part, (0, 0), sigma) for sigma in (1, 2, 4))
    return float((part - fine).std() / max((middle - coarse).std(), 1e-6))


def _nose_offset(points: np.ndarray) -> float:
    """How far the tip of the nose is from the middle of the eyes, along their line and in its length."""
    line = points[45] - points[36]
    return float((points[30] - (points[36] + points[45]) / 2) @ line / max(float(line @ line), 1e-6))


def _eye_contrast(grey: np.ndarray, eye: np.ndarray) -> float:
    """Range of brightness within an eye, over the brightness of the cheek beneath; `eye` is (6, 2)."""
    line = eye[3] - eye[0]
    scale, angle = 32 / max(float(np.hypot(*line)), 1.0), math.degrees(math.atan2(line[1], line[0]))
    move = cv2.getRotationMatrix2D(eye.mean(0).tolist(), angle, scale)
    move[:, 2] += 32 - eye.mean(0)  # the eye is 32 pixels wide and in the middle of 64
    part = cv2.warpAffine(grey, move, (64, 96), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    low, high = np.percentile(part[27:38, 16:48], [10, 90])
    return float((high - low) / max(float(np.median(part[58:72, 22:42])), 1e-6))
