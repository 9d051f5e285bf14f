"""What a photo does to a face: a camera blurs, grains and compresses it; a hand or hair hangs before it.

Drawn by chance, and rough: a network is to learn what is not the head, not what hands look like.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from facelift.portrait.align import FACE_CENTRE, FACE_SIDE

OCCLUSION_PROBABILITY = 0.25  # that a hand or hair is before the face


def degrade(portrait: Tensor, noise: np.random.Generator) -> Tensor:
    """A portrait as it might come out of a photo.

    Args:
        portrait: (4, S, S) RGB in [0, 1] on white, and coverage.
        noise: what chooses.

    Returns:
        The same; what is before the face belongs to the person, and around both it is white.
    """
    layers = np.ascontiguousarray(portrait.movedim(0, -1).cpu().numpy())
    if noise.random() < OCCLUSION_PROBABILITY:
        draw = hand if noise.random() < 0.5 else strands
        layers = draw(layers, noise)
    color, alpha = layers[..., :3], layers[..., 3:]
    color = np.where(alpha > 0, camera(color, noise), 1.0)
    return torch.from_numpy(np.concatenate([color, alpha], axis=-1)).movedim(-1, 0).to(portrait)


def camera(photo: np.ndarray, noise: np.random.Generator) -> np.ndarray:
    """(H, W, 3) in [0, 1], blurred, noisy, compressed: each sometimes."""
    if noise.random() < 0.3:
        photo = cv2.GaussianBlur(photo, (0, 0), noise.uniform(0.3, 1.5))
    if noise.random() < 0.5:
        photo = photo + noise.normal(0, noise.uniform(0, 0.05), photo.shape)
    if noise.random() < 0.5:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(noise.integers(30, 95))]
        stored = cv2.imencode(".jpg", (255 * photo.clip(0, 1)).astype(np.uint8), quality)[1]
        photo = np.asarray(cv2.imdecode(stored, cv2.IMREAD_COLOR), np.float32) / 255
    return photo.clip(0, 1)


def hand(layers: np.ndarray, noise: np.random.Generator) -> np.ndarray:
    """Fingers on the lower half of the face and an arm that comes from below, in the face's own colour.

    Args:
        layers: (S, S, 4) a portrait, RGB on white and coverage.
        noise: what chooses.
    """
    centre, side = _face(layers)
    tip = centre + side * noise.uniform([-0.5, 0.0], [0.5, 0.5])
    angle = noise.uniform(0.15, 0.85) * np.pi  # of where the arm comes from, downwards
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    mask = np.zeros(layers.shape[:2], np.uint8)
    thick, spread = noise.uniform(0.09, 0.13) * side, noise.uniform(1.0, 1.5)
    knuckles = tip + 0.55 * side * along
    for finger in np.arange(4) - 1.5:
        bent = across * finger * thick
        length = 1 - 0.12 * abs(finger)
        _line(mask, [knuckles + bent, knuckles + bent * spread - along * 0.55 * side * length], thick)
    _line(mask, [knuckles + 0.2 * side * along, knuckles + 4 * side * along], 3.6 * thick)
    x, y = (centre + 0.1 * side).astype(int)
    skin = np.median(layers[y - 4 : y + 4, x - 4 : x + 4, :3], axis=(0, 1)) * noise.uniform(0.7, 1.1)
    light = cv2.GaussianBlur(mask / 255, (0, 0), 0.5 * thick)[..., None]  # darker towards the edges
    return _covered(layers, mask, skin * (0.6 + 0.4 * light))


def strands(layers: np.ndarray, noise: np.random.Generator) -> np.ndarray:
    """Hair that hangs from the top of the head over the face, in the colour of what is there.

    Args:
        layers: (S, S, 4) a portrait, RGB on white and coverage.
        noise: what chooses.
    """
    centre, side = _face(layers)
    mask = np.zeros(layers.shape[:2], np.uint8)
    root = centre + side * noise.uniform([-0.5, -0.8], [0.5, -0.6])
    end = centre + side * noise.uniform([-0.7, -0.1], [0.7, 0.6])
    for _ in range(int(noise.integers(4, 40))):
        a, b = root + side * noise.normal(0, 0.06, 2), end + side * noise.normal(0, 0.12, 2)
        middle = (a + b) / 2 + side * noise.normal(0, 0.08, 2)
        t = np.linspace(0, 1, 12)[:, None]
        _line(mask, (1 - t) ** 2 * a + 2 * t * (1 - t) * middle + t**2 * b, noise.uniform(0.5, 1.5))
    x, y = root.astype(int).clip(2, len(layers) - 3)
    hair = np.median(layers[y - 2 : y + 3, x - 2 : x + 3, :3], axis=(0, 1)) * noise.uniform(0.5, 1.1)
    return _covered(layers, mask, hair)


def _face(layers: np.ndarray) -> tuple[np.ndarray, float]:
    """Where the face of a portrait is, and how large."""
    return np.array(FACE_CENTRE) * len(layers), FACE_SIDE * len(layers)


def _line(mask: np.ndarray, points: np.ndarray | list[np.ndarray], width: float) -> None:
    """A line through points (N, 2), x and y in pixels, onto a mask of bytes."""
    places = np.rint(16 * np.asarray(points)).astype(np.int32)[:, None]  # OpenCV's fixed point, 4 bits
    cv2.polylines(mask, [places], False, 255, max(1, round(width)), cv2.LINE_AA, 4)


def _covered(layers: np.ndarray, mask: np.ndarray, color: np.ndarray) -> np.ndarray:
    share = cv2.GaussianBlur(mask / 255, (0, 0), 0.6)[..., None]
    rgb = layers[..., :3] + share * (color.clip(0, 1) - layers[..., :3])
    return np.concatenate([rgb, np.maximum(layers[..., 3:], share)], axis=-1).astype(np.float32)
