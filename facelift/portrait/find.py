"""Faces in a photo, with dlib's HOG detector: nothing to download, some 0.1 s a photo.

The detector (Dalal and Triggs, CVPR 2005, with Felzenszwalb's features, as dlib has it) slides a window of
fixed size over an image pyramid. It is reliable, but its boxes jump in steps: 20% in size, one cell in
place. Hence two passes: where the faces are, and then, for each, the mean of many detections at slightly
different scales and shifts. `facelift.portrait.search` looks more thoroughly for what this search misses,
with a second detector, too, that was trained on half-covered faces (benchmarks/train_masked_faces.py).
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import dlib
import numpy as np

SEARCH_SIDES = (800, 1600)  # longer side of the searched image, pixels; the second if the first finds none
REFINEMENT_RUNS = 12  # detections of each face in the second pass
REFINEMENT_SIDE = 100.0  # side of the face in the smallest of them, pixels; the detector's window is 80
PYRAMID_STEP = 1.2  # ratio between two levels of the detector's pyramid
MASKED_FACES = Path(__file__).parents[1] / "pretrained/masked_faces.svm"
MIN_RUNS_FOUND = 0.5  # share of them that must find the face again; false detections are not that stable


@dataclass(frozen=True)
class Face:
    """A face box in pixels of the photo, upper left corner first; it may reach beyond the photo."""

    x0: float
    y0: float
    x1: float
    y1: float
    score: float = 1.0  # the detector's mean score, about 0 (doubtful) to 2

    @property
    def side(self) -> float:
        """Mean of width and height, pixels."""
        return (self.x1 - self.x0 + self.y1 - self.y0) / 2

    @property
    def centre(self) -> tuple[float, float]:
        """`(x, y)`, pixels."""
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2

    def moved(self, scale: float, dx: float, dy: float) -> "Face":
        """The box after `p -> scale * p + (dx, dy)`."""
        x0, x1 = scale * self.x0 + dx, scale * self.x1 + dx
        y0, y1 = scale * self.y0 + dy, scale * self.y1 + dy
        return Face(x0, y0, x1, y1, self.score)


def find_faces(rgb: np.ndarray) -> list[Face]:
    """All frontal faces in `rgb` `(H, W, 3)` uint8, the largest first; an empty list if there is none.

    Any number of threads may call this at once.
    """
    return find_in_grey(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))


def find_in_grey(grey: np.ndarray) -> list[Face]:
    """As `find_faces`, in `grey` `(H, W)` uint8."""
    for side in SEARCH_SIDES:
        # A face that fills the photo is missed at the edge, so the photo gets a margin in the first search.
        margin = max(grey.shape) // 8 if side == SEARCH_SIDES[0] else 0
        padded = cv2.copyMakeBorder(grey, *(margin,) * 4, borderType=cv2.BORDER_REPLICATE)
        scale = side / max(padded.shape)
        seen = [face.moved(1, -margin, -margin) for face in detect(padded, scale)]
        faces = non_maximum_suppression(
            [better for face in seen if (better := refine_box(grey, face)) is not None]
        )
        if faces:
            return sorted(faces, key=lambda face: -face.side)
    return []


def detect(
    grey: np.ndarray,
    scale: float,
    shift: tuple[float, float] = (0, 0),
    threshold: float = 0.0,
    masked: bool = False,
) -> list[Face]:
    """One run of the detector on `grey`, scaled and then shifted; boxes in pixels of `grey`.

    Args:
        grey: `(H, W)` uint8.
        scale: ratio of the searched image's size to that of `grey`.
        shift: x and y, pixels of the searched image.
        threshold: score from which a window counts as a face.
        masked: whether to use the detector of faces whose lower half is covered.
    """
    h, w = (max(1, round(n * scale)) for n in grey.shape)
    if scale < 1:
        small = cv2.resize(grey, (w, h), interpolation=cv2.INTER_AREA)
    else:
        small = cv2.resize(grey, (w, h), interpolation=cv2.INTER_LINEAR)
    dx, dy = shift
    if dx or dy:
        move = np.array([[1, 0, dx], [0, 1, dy]], np.float64)
        small = cv2.warpAffine(small, move, (w, h), borderMode=cv2.BORDER_REPLICATE)
    with borrow_detector(masked) as detector:
        boxes, scores, _ = detector.run(small, 0, threshold)
    return [
        Face(box.left() - dx, box.top() - dy, box.right() + 1 - dx, box.bottom() + 1 - dy, score).moved(
            1 / scale, 0, 0
        )
        for box, score in zip(boxes, scores, strict=True)
    ]


def refine_box(grey: np.ndarray, face: Face, threshold: float = 0.0, masked: bool = False) -> Face | None:
    """The mean box of `REFINEMENT_RUNS` detections within one pyramid step; None if too few find the face.

    Args:
        grey: `(H, W)` uint8.
        face: where a first search saw it, pixels of `grey`.
        threshold: as `detect` takes it.
        masked: as `detect` takes it.
    """
    x, y = (int(c) for c in face.centre)
    r = int(1.1 * face.side)
    h, w = grey.shape
    crop = grey[max(y - r, 0) : y + r, max(x - r, 0) : x + r]
    # Replicated edges keep the face inside where it touches the edge of the photo.
    top, bottom, left, right = max(r - y, 0), max(y + r - h, 0), max(r - x, 0), max(x + r - w, 0)
    crop = cv2.copyMakeBorder(crop, top, bottom, left, right, borderType=cv2.BORDER_REPLICATE)
    found = []
    for run in range(REFINEMENT_RUNS):
        scale = REFINEMENT_SIDE / face.side * PYRAMID_STEP ** (run / REFINEMENT_RUNS)
        shift = (run * 3 % 8, run * 5 % 8)  # pixels: all places within a HOG cell of 8
        seen = detect(crop, scale, shift, threshold, masked)
        near = [f for f in seen if iou(f, face.moved(1, r - x, r - y)) > 0.3]
        found += sorted(near, key=lambda f: -f.score)[:1]
    if len(found) < MIN_RUNS_FOUND * REFINEMENT_RUNS:
        return None
    mean = np.mean([(f.x0, f.y0, f.x1, f.y1, f.score) for f in found], axis=0)
    return Face(*(float(v) for v in mean)).moved(1, x - r, y - r)


def iou(a: Face, b: Face) -> float:
    """Intersection over union of two boxes."""
    w = min(a.x1, b.x1) - max(a.x0, b.x0)
    h = min(a.y1, b.y1) - max(a.y0, b.y0)
    if w <= 0 or h <= 0:
        return 0.0
    union = (a.x1 - a.x0) * (a.y1 - a.y0) + (b.x1 - b.x0) * (b.y1 - b.y0) - w * h
    return w * h / union


def non_maximum_suppression(faces: list[Face]) -> list[Face]:
    """Of boxes on the same face only the one with the best score."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda f: -f.score):
        if all(iou(face, other) < 0.3 for other in kept):
            kept.append(face)
    return kept


_idle: dict[bool, deque[dlib.fhog_object_detector]] = {False: deque(), True: deque()}


@contextmanager
def borrow_detector(masked: bool = False) -> Iterator[dlib.fhog_object_detector]:
    """A detector for the caller alone: one that two threads share gives wrong boxes or crashes."""
    try:
        detector = _idle[masked].pop()  # atomic
    except IndexError:
        if masked:
            detector = dlib.fhog_object_detector(str(MASKED_FACES))
        else:
            detector = dlib.get_frontal_face_detector()
    try:
        yield detector
    finally:
        _idle[masked].append(detector)
