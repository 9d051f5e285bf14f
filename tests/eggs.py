"""A head whose shape and colours are known: thin Gaussians that lie on an egg."""

import math

import torch

from facelift.gaussians import SH_C0, Gaussians, quaternions_of

HEIGHT, WIDTH, DEPTH = 1.15, 0.8, 0.9
"""In world units; 23 cm, 16 cm and 18 cm."""

FACE, BACK, CROWN = (0.9, 0.2, 0.1), (0.1, 0.3, 0.8), (0.2, 0.7, 0.2)


def egg(count: int = 10_000, opacity: float = 0.97) -> Gaussians:
    """Upright, around the origin: the face (towards -y) is red, the back blue, the upper fifth green."""
    i = torch.arange(count) + 0.5
    z = 1 - 2 * i / count
    angle = i * math.pi * (3 - math.sqrt(5))
    around = (1 - z * z).sqrt()
    unit = torch.stack([around * angle.cos(), around * angle.sin(), z], dim=-1)
    colors = torch.where(unit[:, 1:2] < 0, torch.tensor(FACE), torch.tensor(BACK))
    colors = torch.where(unit[:, 2:] > 0.6, torch.tensor(CROWN), colors)
    axes = torch.tensor([WIDTH, DEPTH, HEIGHT]) / 2
    normal = torch.nn.functional.normalize(unit / axes, dim=-1)
    aside = torch.nn.functional.normalize(torch.linalg.cross(normal, torch.tensor([[0.6, 0.0, 0.8]])), dim=-1)
    return Gaussians(
        means=unit * axes,
        quats=quaternions_of(torch.stack([aside, torch.linalg.cross(normal, aside), normal], dim=-1)),
        scales=torch.tensor([1.3, 1.3, 0.06]).repeat(count, 1) / math.sqrt(count),
        opacities=torch.full((count,), opacity),
        sh0=(colors - 0.5) / SH_C0,
    )
