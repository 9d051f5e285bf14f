"""Landmarks of a face in space, from the views that show it, by dlib's 68 points of iBUG 300-W."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import cv2
import dlib
import numpy as np
from torch import Tensor

from facelift.cameras import orbit
from facelift.evaluate.benchmarks.alignment import Floats, reliable, triangulate
from facelift.evaluate.benchmarks.capture import Capture
from facelift.evaluate.identity import find_face, model_file
from facelift.gaussians import Gaussians
from facelift.portrait.find import find_faces
from facelift.render import render

POINTS = 68
LOOK_AZIMUTHS = (-30.0, -20.0, -10.0, 0.0, 10.0, 20.0, 30.0)  # degrees from which answers are looked at
LOOK_SIDE = 512  # pixels of these renders
SEARCH_SIDE = 800  # pixels of the longer side of the images in which faces are looked for
EYES, MOUTH = (slice(36, 42), slice(42, 48)), slice(48, 60)
INNER = slice(17, POINTS)  # the outline of the jaw slides along the cheek when a head turns


@cache
def _predictor() -> Any:
    return dlib.shape_predictor(str(model_file("shape_predictor_68_face_landmarks.dat")))


def landmarks(rgb: np.ndarray) -> Floats | None:
    """(68, 2) of the largest face in (H, W, 3) uint8, pixels with centres at whole numbers; None without."""
    scale = min(1.0, SEARCH_SIDE / max(rgb.shape[:2]))
    small = np.ascontiguousarray(rgb)
    if scale < 1:
        small = cv2.resize(small, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    faces = find_faces(small)
    if not faces:
        return None
    face = faces[0]
    found = _points(small, (round(face.x0), round(face.y0), round(face.x1), round(face.y1)))
    return (found + 0.5) / scale - 0.5


def _points(image: np.ndarray, box: tuple[int, int, int, int]) -> Floats:
    return np.array([(p.x, p.y) for p in _predictor()(image, dlib.rectangle(*box)).parts()], np.float64)


def place(found: Sequence[Floats | None], projections: Floats) -> Floats:
    """(68, 3) landmarks in space; NaN for those that too few views show.

    Args:
        found: (68, 2) pixels without distortion in each view, or None where there is no face.
        projections: (V, 3, 4) from space to these pixels.
    """
    nowhere = np.full((POINTS, 2), np.nan)
    seen = np.stack([nowhere if points is None else points for points in found])
    widths = [float(np.ptp(points[:, 0])) for points in found if points is not None]
    if not widths:
        return np.full((POINTS, 3), np.nan)
    return reliable(*triangulate(seen, projections), widths)


def face_of_gaussians(gaussians: Gaussians) -> Floats:
    """(68, 3) landmarks of a head in the canonical frame, from renders around its front."""
    cameras = orbit(LOOK_AZIMUTHS, [0.0] * len(LOOK_AZIMUTHS), LOOK_SIDE)
    matrices = np.zeros((len(cameras), 3, 3))
    matrices[:, 2, 2] = 1
    focal, middle = cameras.intrinsics.double().numpy()[:, :2], cameras.intrinsics.double().numpy()[:, 2:]
    matrices[:, [0, 1], [0, 1]], matrices[:, :2, 2] = focal, middle - 0.5
    images = [as_pixels(image) for image in render(gaussians, cameras).image]
    found = [None if (box := find_face(image)) is None else _points(image, box) for image in images]
    return place(found, matrices @ cameras.w2c.double().numpy()[:, :3])


def face_of_capture(capture: Capture) -> Floats:
    """(68, 3) landmarks in the capture's world; its pictures are looked at one by one."""
    found, lenses = [], []
    for name, lens in capture.lenses.items():
        rgb = capture.read(name).rgb
        lenses.append(lens.resized(rgb.shape[1::-1]))
        found.append(landmarks(rgb))
    projections = np.stack([lens.matrix @ lens.w2c[:3] for lens in lenses])
    return place(
        [
            None if points is None else lens.undistort(points)
            for points, lens in zip(found, lenses, strict=True)
        ],
        projections,
    )


def facing(points: Floats) -> Floats | None:
    """(3,) unit direction in which a face looks, from its landmarks (68, 3); None if too few are known."""
    known = np.asarray(np.isfinite(points).all(-1))
    if not all(known[part].any() for part in (*EYES, MOUTH)):
        return None
    right, left, mouth = (np.nanmean(points[part], 0) for part in (*EYES, MOUTH))
    # The subject's right eye comes first; up x (from its right to its left) points out of the face.
    out = np.cross(left - right, (right + left) / 2 - mouth)
    return out / np.linalg.norm(out)


def as_pixels(image: Tensor) -> np.ndarray:
    """(H, W, 3) uint8 of (3, H, W) in [0, 1]."""
    return np.ascontiguousarray(image.clamp(0, 1).mul(255).round().byte().movedim(0, -1).cpu().numpy())
