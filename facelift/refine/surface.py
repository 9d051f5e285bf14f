"""The Gaussians as one surface, before they are fitted: without holes, in the colours of what sees it.

Ours, not in the paper. GS-LRM's Gaussians are as wide as the pixel each comes from. Where a surface runs
along its view they lie apart, and the background shines through; where views disagree, Gaussians of either
colour lie side by side. No fit to six views mends that for the views between them.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from scipy.spatial import KDTree
from torch import Tensor
from torch.nn import functional as F

from facelift.cameras import Cameras
from facelift.gaussians import SH_C0, Gaussians
from facelift.images import not_white
from facelift.render import render

NEIGHBOURS = 4
AROUND = 16  # neighbours that tell how the surface lies about a Gaussian
GROWTH, LARGEST = 3.0, 0.03  # the most that one widens, and up to which standard deviation (world units)
RIM = 5  # pixels around an outline whose colours are mixed with what is behind
OPAQUE = 0.9  # coverage from which a pixel shows the person alone
DEEP, SOFT = 0.03, 0.01  # how far behind the surface a Gaussian is hidden, and how gradually (world units)
FAITH = 0.02  # in the colours that are imagined, where 1 is that in the photo's
ENOUGH = 0.005  # of faith, for half the new colour


def neighbours(gaussians: Gaussians) -> tuple[Tensor, Tensor]:
    """Indices of the AROUND nearest of each of N Gaussians, and their distances; (N, AROUND) each.

    Nearest first; where there are not so many, the distance is infinite.
    """
    means = gaussians.means.cpu().numpy()
    distances, indices = KDTree(means).query(means, range(2, AROUND + 2))  # the nearest is itself
    there = torch.from_numpy(indices).clamp_max(max(0, len(gaussians) - 1))
    return there.to(gaussians.means.device), torch.from_numpy(distances).to(gaussians.means)


def normals(means: Tensor, around: Tensor) -> Tensor:
    """(N, 3) unit normals, of either sign, of the planes through what lies around each of (N, 3) means.

    Args:
        around: (N, AROUND) indices of their `neighbours`.
    """
    near = means[around]
    offsets = near - near.mean(dim=1, keepdim=True)
    return torch.linalg.eigh(offsets.mT @ offsets).eigenvectors[..., 0]


def fill_gaps(gaussians: Gaussians, distances: Tensor) -> Gaussians:
    """Widen Gaussians that stand apart until they reach their neighbours; thickness is left alone.

    Args:
        gaussians: N of them; when there are no neighbours to reach they are returned as they are.
        distances: (N, AROUND) to their `neighbours`.
    """
    if len(gaussians) <= NEIGHBOURS:
        return gaussians
    middle = gaussians.scales.median(dim=-1, keepdim=True).values
    wider = gaussians.scales * (distances[:, NEIGHBOURS - 1, None] / middle).clamp(1, GROWTH)
    thickness = F.one_hot(gaussians.scales.argmin(dim=-1), 3).bool()
    wider = wider.clamp_max(LARGEST).masked_fill(thickness, 0.0)
    return replace(gaussians, scales=torch.maximum(gaussians.scales, wider))


def eroded(covered: Tensor) -> Tensor:
    """What of (V, 1, H, W), 0 or 1, is left without its rim."""
    return -F.max_pool2d(-covered, RIM, 1, RIM // 2)


def boundary_band(coverage: Tensor) -> Tensor:
    """(V, 1, H, W), 1 about the outlines: where coverage is partial, and a few pixels on either side."""
    there, full = (coverage > 1 - OPAQUE).float(), (coverage > OPAQUE).float()
    return F.max_pool2d(there, RIM, 1, RIM // 2) - eroded(full)


@torch.no_grad()
def recolour_from_views(
    gaussians: Gaussians, views: Tensor, cameras: Cameras, confidence: Tensor
) -> Gaussians:
    """Give Gaussians the colours of the views that see them, above all of what the photo shows.

    Args:
        gaussians: N of them.
        views: (V, 3, H, W) RGB in [0, 1] on white.
        cameras: of the views.
        confidence: (V, 1, H, W) in [0, 1], 1 where the views are true and not imagined.
    """
    depths = render(gaussians, cameras).mean_depth
    trusted = eroded(not_white(views)) * (FAITH + confidence.square())
    pixels, distance = cameras.project(gaussians.means)
    places = pixels / views.new_tensor([cameras.width, cameras.height]) * 2 - 1
    layers = torch.cat([views, depths, trusted], dim=1)
    seen = F.grid_sample(layers, places[:, None], align_corners=False)[:, :, 0].mT  # (V, N, 5)
    color, depth, trust = seen.split([3, 1, 1], dim=-1)
    weight = trust * ((depth + DEEP - distance[..., None]) / SOFT).sigmoid()
    colors, faith = (weight * color).sum(dim=0), weight.sum(dim=0)
    sh0 = (colors / faith.clamp_min(1e-6) - 0.5) / SH_C0
    return replace(gaussians, sh0=torch.lerp(gaussians.sh0, sh0, faith / (faith + ENOUGH)))
