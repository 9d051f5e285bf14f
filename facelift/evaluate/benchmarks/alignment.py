"""Similarities between the frames of heads: by a camera, or by the landmarks of a face.

A similarity is the most that can be asked of an answer from one photo, whose scale and distance no photo
tells. Every report states the one that was used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from facelift.gaussians import Gaussians

Floats = np.ndarray  # of float64

MIN_VIEWS = 3  # in which a landmark must be seen to be placed in space
MAX_ERROR = 0.02  # of the face's width, root mean square, by which a placed landmark may miss its views


@dataclass(frozen=True)
class Similarity:
    """x -> scale * rotation @ x + translation.

    Attributes:
        scale: at least 0.
        rotation: (3, 3).
        translation: (3,).
    """

    scale: float
    rotation: Floats
    translation: Floats

    def __call__(self, points: Floats) -> Floats:
        """(N, 3) points, moved."""
        return self.scale * points @ self.rotation.T + self.translation

    def inverse(self) -> Similarity:
        """The way back."""
        rotation = self.rotation.T
        return Similarity(1 / self.scale, rotation, -rotation @ self.translation / self.scale)

    def after(self, first: Similarity) -> Similarity:
        """`first`, and then this one."""
        return Similarity(
            self.scale * first.scale, self.rotation @ first.rotation, self(first.translation[None])[0]
        )

    def move(self, gaussians: Gaussians) -> Gaussians:
        """Gaussians, moved."""
        rotation, translation = (torch.from_numpy(x).float() for x in (self.rotation, self.translation))
        return gaussians.transformed(rotation, translation, self.scale)

    def camera(self, w2c: Floats) -> Floats:
        """(4, 4) from where points are moved to, to a camera that saw the points as they were.

        Lengths along the camera's axes change with the scale, and so pixels stay.
        """
        back = self.inverse()
        moved = np.eye(4)
        moved[:3, :3] = w2c[:3, :3] @ back.rotation
        moved[:3, 3] = (w2c[:3, :3] @ back.translation + w2c[:3, 3]) * self.scale
        return moved

    @property
    def degrees(self) -> float:
        """The angle of the rotation."""
        return math.degrees(math.acos(min(1.0, max(-1.0, (float(np.trace(self.rotation)) - 1) / 2))))


IDENTITY = Similarity(1.0, np.eye(3), np.zeros(3))


def fit_similarity(source: Floats, target: Floats) -> Similarity:
    """The similarity with the least squared error from (N, 3) points to others (Umeyama, PAMI 1991)."""
    middles = source.mean(0), target.mean(0)
    a, b = source - middles[0], target - middles[1]
    u, spread, vt = np.linalg.svd(b.T @ a)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * signs) @ vt
    scale = float((spread * signs).sum() / (a * a).sum())
    return Similarity(scale, rotation, middles[1] - scale * rotation @ middles[0])


def triangulate(points: Floats, projections: Floats) -> tuple[Floats, Floats]:
    """Points in space from where several cameras see them (Hartley and Zisserman, 12.2).

    Args:
        points: (V, P, 2) pixels; NaN where a view does not see a point.
        projections: (V, 3, 4) from the world to pixels.

    Returns:
        (P, 3) points, NaN for those that fewer than MIN_VIEWS cameras see, and (P,) their root mean square
        error in pixels.
    """
    seen = np.asarray(np.isfinite(points).all(-1))
    placed = np.full((points.shape[1], 3), np.nan)
    errors = np.full(points.shape[1], np.nan)
    for i in range(points.shape[1]):
        views = seen[:, i]
        if views.sum() < MIN_VIEWS:
            continue
        rows = points[views, i, :, None] * projections[views, 2:] - projections[views, :2]
        rows = rows.reshape(-1, 4)
        rows /= np.linalg.norm(rows[:, :3], axis=1, keepdims=True)
        solution = np.linalg.lstsq(rows[:, :3], -rows[:, 3], rcond=None)[0]
        pixels = np.append(solution, 1) @ projections[views].swapaxes(1, 2)
        misses = pixels[:, :2] / pixels[:, 2:] - points[views, i]
        placed[i], errors[i] = solution, math.sqrt((misses**2).sum(-1).mean())
    return placed, errors


def reliable(points: Floats, errors: Floats, widths: Sequence[float]) -> Floats:
    """(P, 3) landmarks, NaN where their error in pixels is more than MAX_ERROR of a face's width."""
    with np.errstate(invalid="ignore"):
        good = errors < MAX_ERROR * float(np.median(widths))
    return np.where(good[:, None], points, np.nan)
