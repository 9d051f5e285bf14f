"""The Gaussians as one surface: nearest neighbours, gaps filled, and colours taken from the views.

Ours, not in the paper. GS-LRM's Gaussians are as wide as the pixel each comes from. Where a surface runs
along its view they lie apart, and the background shines through; where views disagree, Gaussians of either
colour lie side by side. A fit to six views does not correct that for the views between them.
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
from facelift.refine.config import RefineConfig
from facelift.render import render


def neighbors(gaussians: Gaussians, count: int) -> tuple[Tensor, Tensor]:
    """The nearest other Gaussians of each.

    Args:
        gaussians: N of them.
        count: K, how many neighbours.

    Returns:
        Indices (N, K), nearest first, and distances (N, K) in world units, infinite where there are fewer
        than K others.
    """
    means = gaussians.means.cpu().numpy()
    distances, indices = KDTree(means).query(means, range(2, count + 2))  # the nearest is itself
    valid = torch.from_numpy(indices).clamp_max(max(0, len(gaussians) - 1))
    return valid.to(gaussians.means.device), torch.from_numpy(distances).to(gaussians.means)


def normals(means: Tensor, indices: Tensor) -> Tensor:
    """Normals of the planes through each Gaussian's neighbours.

    Args:
        means: (N, 3) centres.
        indices: (N, K) of the `neighbors`.

    Returns:
        (N, 3) unit vectors of either sign.
    """
    near = means[indices]
    offsets = near - near.mean(dim=1, keepdim=True)
    return torch.linalg.eigh(offsets.mT @ offsets).eigenvectors[..., 0]


def fill_gaps(gaussians: Gaussians, distances: Tensor, config: RefineConfig) -> Gaussians:
    """Widen Gaussians that lie apart until they reach their neighbours; their thickness stays.

    Args:
        gaussians: N of them; returned as they are where there are too few to have neighbours.
        distances: (N, K) to their `neighbors`.
        config: `gap_growth`, `gap_scale` and `smoothness_neighbors`.
    """
    if len(gaussians) <= config.smoothness_neighbors:
        return gaussians
    middle = gaussians.scales.median(dim=-1, keepdim=True).values
    reach = distances[:, config.smoothness_neighbors - 1, None]
    wider = gaussians.scales * (reach / middle).clamp(1, config.gap_growth)
    thickness = F.one_hot(gaussians.scales.argmin(dim=-1), 3).bool()
    wider = wider.clamp_max(config.gap_scale).masked_fill(thickness, 0.0)
    return replace(gaussians, scales=torch.maximum(gaussians.scales, wider))


def erode(mask: Tensor, width: int) -> Tensor:
    """(V, 1, H, W) masks of 0 and 1 without a border of `width` // 2 pixels."""
    return -F.max_pool2d(-mask, width, 1, width // 2)


def boundary_band(coverage: Tensor, config: RefineConfig) -> Tensor:
    """1 about the outlines, where coverage is partial and a few pixels on either side; 0 elsewhere.

    Args:
        coverage: (V, 1, H, W) in [0, 1].
        config: `boundary` and `opaque`.
    """
    some, full = (coverage > 1 - config.opaque).float(), (coverage > config.opaque).float()
    dilated = F.max_pool2d(some, config.boundary, 1, config.boundary // 2)
    return dilated - erode(full, config.boundary)


@torch.no_grad()
def recolor_from_views(
    gaussians: Gaussians, views: Tensor, cameras: Cameras, confidence: Tensor, config: RefineConfig
) -> Gaussians:
    """Give Gaussians the colours of the views that see them, above all of what the photo shows.

    Args:
        gaussians: N of them.
        views: (V, 3, H, W) RGB in [0, 1] on white.
        cameras: of the views.
        confidence: (V, 1, H, W) in [0, 1], 1 where the views are true and not generated.
        config: `recolor_*`, `occlusion_*` and `boundary`.
    """
    depths = render(gaussians, cameras).mean_depth
    trusted = erode(not_white(views), config.boundary) * (config.recolor_generated + confidence.square())
    pixels, distance = cameras.project(gaussians.means)
    places = pixels / views.new_tensor([cameras.width, cameras.height]) * 2 - 1
    layers = torch.cat([views, depths, trusted], dim=1)
    sampled = F.grid_sample(layers, places[:, None], align_corners=False)[:, :, 0].mT  # (V, N, 5)
    color, depth, trust = sampled.split([3, 1, 1], dim=-1)
    before = depth + config.occlusion_depth - distance[..., None]
    weight = trust * (before / config.occlusion_softness).sigmoid()
    colors, total = (weight * color).sum(dim=0), weight.sum(dim=0)
    sh0 = (colors / total.clamp_min(1e-6) - 0.5) / SH_C0
    return replace(gaussians, sh0=torch.lerp(gaussians.sh0, sh0, total / (total + config.recolor_half)))
