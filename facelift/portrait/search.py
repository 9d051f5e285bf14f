"""A thorough search for the face of a photo: turned, small, dark, tilted or half covered.

The search of `find.py` is quick, and draws the boxes that portraits are framed by. Where it finds nothing, or
something doubtful, the photo is turned a quarter at a time. Then the detector, and a second one for faces
half covered, examine more pixels with a lower threshold, and keep what has a good mean score over many
detections. The network that finds landmarks adds to the score: above a mask it sees two clear eyes. A photo
that shows its face upright at once costs no more than the quick search.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np

from facelift.portrait.find import Face, detect, find_in_grey, non_maximum_suppression, refine_box
from facelift.portrait.network import PortraitNetwork
from facelift.portrait.square import LANDMARK_SIDE, brighten, network_input, square_around

UPRIGHT_SCORE = 0.6  # score of the quick search above which a face is upright; upside down, 0.5 is the most
CANDIDATE_SCORE = -0.7  # of the detector, above which a window is examined
LIKELY, CLEAR, CERTAIN = 0.2, 0.6, 1.3  # score of what may be a face, is one, and is one the right way up
UPRIGHT_BONUS = 0.3  # added to the score of the photo as it is, since most photos are upright
MIN_MASKED_SCORE = -0.3  # mean score of the detector of covered faces; false detections had -0.36 at most
MAX_CANDIDATES = 6  # examined in each orientation
CLOSE_SIDES = (1600, 4800)  # longer side of the image in the two thorough searches, pixels
WINDOW = 80  # side of the detector's, pixels
MAX_ENLARGEMENT = 4  # below 20 pixels, a face has no features to find
MIN_CONTRAST = 1.0  # standard deviation of a face's features, levels of 255; smooth walls have less
VISIBLE_ENTROPY = 2.8  # of the places of eyes and brows, nats, below which they raise the score; faces: 1.8
BROWS_AND_EYES = slice(17, 27), slice(36, 48)  # of the 68 landmarks
SMALL_FACE = 32  # pixels; below it many things look like a face, so only CERTAIN ones count
TILT, MIN_TILT_GAIN = 30.0, 0.25  # degrees that are tried, and by how much they must raise the score
MAX_PRINT_RATIO = 1.8  # largest size of a face printed on clothes, over the size of the wearer's


@dataclass(frozen=True)
class Search:
    """The faces found in a photo.

    Attributes:
        faces: in pixels of the photo after its turns; the one to use first, then the others by size.
        turns: quarter turns clockwise that make the photo upright.
    """

    faces: list[Face]
    turns: int = 0

    @property
    def score(self) -> float:
        """The best face's."""
        return max((face.score for face in self.faces), default=-np.inf)


def search_faces(rgb: np.ndarray, network: PortraitNetwork | None = None) -> Search:
    """All faces of a photo, whichever way up it is. Any number of threads may call this at once.

    Args:
        rgb: `(H, W, 3)` uint8.
        network: it sees whether there are eyes; without it, fewer faces behind masks are found.
    """
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    found = Search(find_in_grey(grey))
    if found.score < UPRIGHT_SCORE:
        other = _search_all_ways(rgb, grey, network)
        if other.turns or not found.faces:
            found = other
    return replace(found, faces=_wearer_first(found.faces))


def turn(image: np.ndarray, turns: int) -> np.ndarray:
    """`(H, W, ...)` after so many quarter turns clockwise."""
    return np.ascontiguousarray(np.rot90(image, -turns))


def _search_all_ways(rgb: np.ndarray, grey: np.ndarray, network: PortraitNetwork | None) -> Search:
    ways = [Search([], turns) for turns in range(4)]
    closely, more_closely = (partial(_look_closely, side=side) for side in CLOSE_SIDES)
    for look, enough in ((_look_quickly, CERTAIN), (closely, CLEAR), (more_closely, CLEAR)):
        for turns, way in enumerate(ways):
            if way.score < CLEAR:
                upright = np.rot90(rgb, -turns)
                rated = [_with_eyes(upright, face, network) for face in look(turn(grey, turns))]
                ways[turns] = max(way, Search(_plausible(rated), turns), key=_rank)
            if ways[turns].score > CERTAIN:
                return ways[turns]
        best = max(ways, key=_rank)
        # A chance likeness in a photo that is upright must not end the search for its small face.
        if best.score > (enough if best.turns == 0 else CERTAIN):
            break
    return best


def _rank(search: Search) -> float:
    return search.score + (UPRIGHT_BONUS if search.turns == 0 else 0.0)


def _look_quickly(grey: np.ndarray) -> list[Face]:
    """The faces of the quick search, with scores that windows below its threshold lower."""
    light = _lightened(grey)
    found = [(face, refine_box(light, face, threshold=-1.0)) for face in find_in_grey(grey)]
    return [replace(face, score=again.score) for face, again in found if again is not None]


def _look_closely(grey: np.ndarray, side: int) -> list[Face]:
    """What may be a face, in a photo scaled so that its longer side has so many pixels."""
    margin = (
        max(grey.shape) // 8 if side == CLOSE_SIDES[0] else 0
    )  # a face that fills the photo is missed at the edge
    padded = cv2.copyMakeBorder(_lightened(grey), *(margin,) * 4, borderType=cv2.BORDER_REPLICATE)
    scale = min(side / max(padded.shape), MAX_ENLARGEMENT)
    faces = []
    for masked in (False, True):
        candidates = detect(padded, scale, threshold=CANDIDATE_SCORE, masked=masked)
        best = sorted(
            (c for c in candidates if _contrast(padded, c) > MIN_CONTRAST), key=lambda face: -face.score
        )
        refined = [
            refine_box(padded, candidate, threshold=-1.0, masked=masked)
            for candidate in best[:MAX_CANDIDATES]
        ]
        least = MIN_MASKED_SCORE if masked else -np.inf
        faces += [face.moved(1, -margin, -margin) for face in refined if face and face.score > least]
    return non_maximum_suppression(faces)


def _lightened(grey: np.ndarray) -> np.ndarray:
    """The square root: what is dark gets more levels, and scaled down, the mean of pixels is finer still."""
    return cv2.LUT(grey, np.rint(np.sqrt(np.arange(256) * 255.0)).astype(np.uint8))


def _contrast(grey: np.ndarray, face: Face) -> float:
    """How much a face's box differs from itself without features."""
    x0, y0, x1, y1 = (max(int(v), 0) for v in (face.x0, face.y0, face.x1, face.y1))
    part = cv2.resize(grey[y0:y1, x0:x1], (WINDOW, WINDOW), interpolation=cv2.INTER_AREA).astype(np.float32)
    return float((part - cv2.GaussianBlur(part, (0, 0), WINDOW / 10)).std())


def _with_eyes(image: np.ndarray, face: Face, network: PortraitNetwork | None) -> Face:
    """The face with a score that its eyes and brows add to, as far as the network sees them clearly."""
    if network is None:
        return face
    rgb, prior_logits = network_input(image, face, square_around(face, LANDMARK_SIDE))
    seen = network.predict(brighten(rgb), prior_logits).entropy[0]
    entropy = float(np.mean([seen[part].mean() for part in BROWS_AND_EYES]))
    return replace(face, score=face.score + max(VISIBLE_ENTROPY - entropy, 0.0))


def _plausible(faces: list[Face]) -> list[Face]:
    """The largest first; where some are clear, no others."""
    faces = [face for face in faces if face.side > SMALL_FACE or face.score > CERTAIN]
    clear = [face for face in faces if face.score > CLEAR]
    return sorted(clear or [f for f in faces if f.score > LIKELY], key=lambda face: -face.side)


def tilt_of(grey: np.ndarray, face: Face) -> float:
    """By how many degrees clockwise a head leans, about: -TILT, 0 or TILT, as the detector likes it best.

    Args:
        grey: `(H, W)` uint8.
        face: in pixels of it.
    """
    light, (x, y), half = _lightened(grey), face.centre, round(1.5 * face.side)
    around = face.moved(1, half - x, half - y)
    scores = {}
    for tilt in (0.0, TILT, -TILT):
        move = cv2.getRotationMatrix2D((x, y), tilt, 1.0)
        move[:, 2] += half - np.array([x, y])
        crop = cv2.warpAffine(light, move, (2 * half, 2 * half), borderMode=cv2.BORDER_REPLICATE)
        seen = refine_box(crop, around, threshold=-1.0)
        scores[tilt] = -1.0 if seen is None else seen.score
    best = max(scores, key=lambda tilt: scores[tilt])
    return best if scores[best] > scores[0.0] + MIN_TILT_GAIN else 0.0


def _wearer_first(faces: list[Face]) -> list[Face]:
    """The largest face first, unless it is a picture on the clothes of someone whose face is above it."""
    first = next((face for face in faces[1:] if _wears(face, faces[0])), None)
    return faces if first is None else [first, *(face for face in faces if face is not first)]


def _wears(face: Face, picture: Face) -> bool:
    """Whether a picture of a face, on clothes, lies where the breast below `face` is."""
    aside = abs(picture.centre[0] - face.centre[0]) / face.side
    gap = (picture.y0 - face.y1) / face.side
    return picture.side < MAX_PRINT_RATIO * face.side and aside < 0.8 and 0 < gap < 1.5
