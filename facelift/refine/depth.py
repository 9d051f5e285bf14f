"""Depth without its noise: planes fitted to the neighbourhood of each cell.

Moving least squares (Lancaster and Salkauskas, 1981), reweighted so that what lies far from a plane, beyond
an edge or by mistake, counts less (Fleishman et al., 2005).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

CELL = 2  # pixels along the side of the cells that planes are fitted at
RADIUS, SIGMA = 4, 2.0  # of the neighbourhood, cells
TOLERANCE = 0.03  # distance from a plane at which a cell counts a quarter, world units
ITERATIONS = 3
MIN_COVERAGE = 0.5  # coverage from which a pixel counts
RIDGE = 1e-4  # keeps planes level where a neighbourhood is too narrow to tilt them


def smooth_distance(distance: Tensor, coverage: Tensor, size: int) -> Tensor:
    """The distances that one view's pixels have, smooth and at another resolution.

    Args:
        distance: (S, S) along the pixels' rays, world units; NaN where nothing is known.
        coverage: (1, S, S) in [0, 1].
        size: T, of the result.

    Returns:
        (T, T), smooth but for its edges, and continued a little beyond what is known; NaN farther away.
    """
    known = distance.isfinite() & (coverage[0] > MIN_COVERAGE)
    layers = torch.stack([known.float(), torch.where(known, distance, 0.0)])
    weight, total = F.avg_pool2d(layers, CELL)
    smooth = _local_planes(total / weight.clamp_min(1e-6), weight)
    return F.interpolate(smooth[None, None], (size, size), mode="bicubic", align_corners=False)[0, 0]


def _local_planes(values: Tensor, weight: Tensor) -> Tensor:
    """(h, w) heights of the planes through the neighbourhoods of (h, w) values; NaN where there is none."""
    steps = torch.arange(-RADIUS, RADIUS + 1, device=values.device, dtype=values.dtype)
    y, x = (grid.flatten() for grid in torch.meshgrid(steps, steps, indexing="ij"))
    basis = torch.stack([torch.ones_like(x), x, y], dim=1)  # (K, 3)
    near, share = (F.unfold(F.pad(a[None, None], (RADIUS,) * 4), 2 * RADIUS + 1)[0] for a in (values, weight))
    share = share * torch.exp(-(x.square() + y.square()) / (2 * SIGMA**2))[:, None]  # (K, h * w)
    ridge = torch.diag(values.new_tensor([1e-8, RIDGE, RIDGE]))
    counted = share
    for _ in range(ITERATIONS):
        weighted = counted.T[..., None] * basis  # (h * w, K, 3)
        plane = torch.linalg.solve(weighted.mT @ basis + ridge, (weighted.mT @ near.T[..., None])[..., 0])
        residual = near - basis @ plane.T
        counted = share / (1 + (residual / TOLERANCE).square()).square()
    return torch.where(share.sum(dim=0) > 1e-3, plane[:, 0], torch.nan).view_as(values)
