"""A ball of flat discs: a head that needs no model, closed and with known normals."""

import math

import torch

from facelift.gaussians import SH_C0, Gaussians, quaternions_of

RADIUS = 0.4


def shell(count=3000, center=(0.0, 0.0, 0.0)):
    """Opaque discs on a sphere of RADIUS, red where x > 0 and blue elsewhere."""
    turns = math.pi * (3 - math.sqrt(5)) * torch.arange(count)
    heights = 2 * (torch.arange(count) + 0.5) / count - 1
    rings = (1 - heights**2).sqrt()
    normals = torch.stack([rings * turns.cos(), rings * turns.sin(), heights], -1)
    aside = torch.linalg.cross(normals, torch.tensor([0.3, 0.5, 0.8]).expand_as(normals))
    aside = aside / aside.norm(dim=-1, keepdim=True)
    rotations = torch.stack([aside, torch.linalg.cross(normals, aside), normals], dim=-1)
    red = (normals[:, :1] > 0).float()
    colors = torch.cat([0.1 + 0.8 * red, torch.full_like(red, 0.2), 0.9 - 0.8 * red], -1)
    return Gaussians(
        means=RADIUS * normals + torch.tensor(center),
        quats=quaternions_of(rotations),
        scales=torch.tensor([0.025, 0.025, 0.001]).repeat(count, 1),
        opacities=torch.full((count,), 0.95),
        sh0=(colors - 0.5) / SH_C0,
    )
