"""A head of a few thousand Gaussians that looks different from every side, and pictures compared."""

import math

import numpy as np
import torch

from facelift.gaussians import SH_C0, Gaussians

SKIN, HAIR, WHITE, DARK, RED, GREEN = (
    torch.tensor(color)
    for color in (
        (0.85, 0.65, 0.55),
        (0.25, 0.16, 0.1),
        (0.95, 0.95, 0.95),
        (0.1, 0.2, 0.4),
        (0.75, 0.25, 0.3),
        (0.2, 0.6, 0.3),
    )
)


def painted_head(count: int = 4000) -> Gaussians:
    """An egg with hair above and behind, two eyes, a mouth, and a green ear on the subject's left, at +x."""
    i = torch.arange(count) + 0.5
    z = 1 - 2 * i / count
    angle = math.pi * (1 + 5**0.5) * i  # evenly over a sphere
    flat = (1 - z * z).sqrt()
    unit = torch.stack([flat * angle.cos(), flat * angle.sin(), z], dim=-1)
    colors = torch.where((unit[:, 1:2] > 0.1) | (unit[:, 2:] > 0.55), HAIR, SKIN)
    spots = (
        ((0.38, -0.9, 0.2), 0.2, WHITE),
        ((0.38, -0.9, 0.2), 0.1, DARK),
        ((-0.38, -0.9, 0.2), 0.2, WHITE),
        ((-0.38, -0.9, 0.2), 0.1, DARK),
        ((0.0, -0.9, -0.4), 0.22, RED),
        ((1.0, 0.0, 0.0), 0.25, GREEN),
    )
    for middle, size, color in spots:
        middle = torch.tensor(middle) / torch.tensor(middle).norm()
        colors[(unit - middle).norm(dim=-1) < size] = color
    return Gaussians(
        means=unit * torch.tensor([0.45, 0.5, 0.62]),
        quats=torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(count, 1),
        scales=torch.full((count, 3), 1.0 / count**0.5),
        opacities=torch.full((count,), 0.95),
        sh0=(colors - 0.5) / SH_C0,
    )


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """In dB, of pictures in [0, 1]."""
    return float(-10 * np.log10(max(((one - other) ** 2).mean(), 1e-12)))


def aligned_psnr(one: np.ndarray, other: np.ndarray, reach: int = 2) -> float:
    """The best of (H, W, 3) pictures shifted against each other by up to `reach` pixels."""
    inner = slice(reach, -reach)
    shifts = range(-reach, reach + 1)
    moved = (np.roll(one, (y, x), axis=(0, 1)) for y in shifts for x in shifts)
    return max(psnr(picture[inner, inner], other[inner, inner]) for picture in moved)
