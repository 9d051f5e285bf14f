"""The surface that one view shows, a disc for each pixel (Pfister et al., "Surfels", 2000).

Ours, not in the paper. GS-LRM estimates the distance of each pixel's surface well from one view alone. The
size and orientation of the discs follow from the positions of neighbouring pixels; their colours are the
view's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from facelift.cameras import Cameras
from facelift.gaussians import SH_C0, Gaussians, quaternions_of

DISC_SIGMA = 0.5  # standard deviation of a disc in pixels, so that neighbouring discs leave no gaps
DISC_THICKNESS = 0.15  # standard deviation along the normal, in pixels
MAX_STRETCH = 2.5  # largest size of a disc on a slanted surface, in widths of a pixel
MIN_COVERAGE = 0.5  # coverage from which a pixel has a disc


def surfels(
    distance: Tensor, image: Tensor, coverage: Tensor, camera: Cameras, sigma: float = DISC_SIGMA
) -> tuple[Gaussians, Tensor]:
    """The discs of one view.

    Args:
        distance: (H, W) along the unit ray of each pixel, world units; NaN where nothing is known.
        image: (3, H, W) RGB in [0, 1] on white.
        coverage: (1, H, W) in [0, 1].
        camera: the one camera, of H x W pixels.
        sigma: standard deviation of a disc, pixels.

    Returns:
        N of them, one for each covered pixel whose neighbours' places are known, and (N,) how straight each
        faces the camera, see `facing`.
    """
    points, across, down, width = _pixel_grid(distance, camera)
    kept = (coverage[0] > MIN_COVERAGE) & across.isfinite().all(-1) & down.isfinite().all(-1)
    points, across, down, width = (x[kept] for x in (points, across, down, width))

    sides = torch.stack([_limited(side, MAX_STRETCH * width) for side in (across, down)], dim=1)
    variances, axes = torch.linalg.eigh(sides.mT @ sides)
    axes = axes * torch.linalg.det(axes).sign()[:, None, None]  # rotations, not mirrors
    scales = (sigma * variances.clamp_min(0).sqrt()).maximum(DISC_THICKNESS * width)
    share = coverage[:, kept]
    colors = ((image[:, kept] - 1) / share + 1).clamp(0, 1).mT  # without the white behind them
    gaussians = Gaussians(points, quaternions_of(axes), scales, share[0], (colors - 0.5) / SH_C0)
    return gaussians, _facing(across, down, width)


def facing(distance: Tensor, camera: Cameras) -> Tensor:
    """How straight the surface of each pixel faces its camera.

    Args:
        distance: (H, W) along the unit ray of each pixel, world units; NaN where nothing is known.
        camera: the one camera, of H x W pixels.

    Returns:
        (H, W), the share of the surface's width that the camera sees: 1 from before, 0 from aside or where
        nothing is known.
    """
    _, *sides = _pixel_grid(distance, camera)
    return _facing(*sides).nan_to_num(0.0)


def _pixel_grid(distance: Tensor, camera: Cameras) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(H, W, 3) the pixels' places, and vectors to a neighbour in each direction; (H, W, 1) their widths."""
    origins, directions = camera.rays()
    points = origins[0] + distance[..., None] * directions[0]
    width = (distance / camera.intrinsics[0, 0])[..., None]  # of a pixel, at the surface
    return points, _to_neighbour(points, 1), _to_neighbour(points, 0), width


def _facing(across: Tensor, down: Tensor, width: Tensor) -> Tensor:
    return (width[..., 0].square() / torch.linalg.cross(across, down, dim=-1).norm(dim=-1)).clamp_max(1)


def _to_neighbour(points: Tensor, dim: int) -> Tensor:
    """From each of (H, W, 3) points to the next along `dim`, or from the last: whichever is nearer.

    Not finite where neither is known.
    """
    steps = points.diff(dim=dim)
    steps = torch.where(steps.isfinite(), steps, torch.inf)
    end = torch.full_like(points.narrow(dim, 0, 1), torch.inf)
    to_next, from_last = torch.cat([steps, end], dim), torch.cat([end, steps], dim)
    nearer = to_next.norm(dim=-1, keepdim=True) < from_last.norm(dim=-1, keepdim=True)
    return torch.where(nearer, to_next, from_last)


def _limited(vectors: Tensor, length: Tensor) -> Tensor:
    norms = vectors.norm(dim=-1, keepdim=True)
    return vectors * (length / norms.clamp_min(1e-9)).clamp_max(1)
