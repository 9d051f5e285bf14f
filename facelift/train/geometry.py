"""Losses on the depth, opacity and colour of each ray, known for synthetic heads; nothing is rendered."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from facelift.data.reader import Views
from facelift.gaussians import SH_C0
from facelift.reconstruct import GaussianBatch, GSLRMConfig

SAME_SURFACE = 0.06  # largest difference of depths within a cell that are of one surface, world units


def geometry_losses(predicted: GaussianBatch, views: Views, config: GSLRMConfig) -> tuple[Tensor, Tensor]:
    """How far each Gaussian is from the surface that its ray meets, and its opacity from the coverage there.

    Of several surfaces in a cell the nearest counts. Nothing is known of the bottom padding.

    Returns:
        depth: mean smooth L1 of the distance along the ray, in world units, over covered cells, divided by
            its knee of 0.02 so that it is a plain L1 in knees beyond it.
        alpha: mean binary cross-entropy of the opacity.
    """
    assert views.depth is not None
    side = config.cell
    z = _pooled(views.depth, side)
    below = (0, 0, 0, config.bottom_padding // side)
    z = F.pad(z, below, value=float("inf"))
    coverage = F.pad(F.avg_pool2d(views.alpha, side), below, value=float("nan")).flatten()
    cells = replace(views.cameras.resized(z.shape[-1]), height=z.shape[-2])

    index = predicted.pixel
    truth = (z / cells.depth_along_rays()).flatten()[index]
    covered = truth.isfinite() & (coverage[index] > 0.25)
    depth = F.smooth_l1_loss(predicted.distance[covered], truth[covered], beta=0.02) / 0.02
    opacity = predicted.opacity_logits[predicted.learned :]
    target = coverage[index].clamp(0.0, 0.98)
    has_truth = target.isfinite()
    alpha = F.binary_cross_entropy_with_logits(opacity[has_truth], target[has_truth])
    return depth, alpha


def _pooled(depth: Tensor, side: int) -> Tensor:
    """(V, H, W) depth, 0 where nothing is -> that of the nearest surface in each cell of `side` pixels.

    Infinite where nothing is in the cell.
    1/z is linear over the image of a plane, so that its mean is exact at the middle of the cell. The nearest
    pixel's own would stand out in front of every surface that runs along the view.
    """
    inverse = (1 / depth).nan_to_num(posinf=0.0)[:, None]
    nearest = F.max_pool2d(inverse, side)
    margin = inverse.clamp_min(1e-6).reciprocal() - F.interpolate(nearest, scale_factor=side).reciprocal()
    surface = ((inverse > 0) & (margin < SAME_SURFACE)).float()
    mean = F.avg_pool2d(inverse * surface, side) / F.avg_pool2d(surface, side)
    return mean.reciprocal().nan_to_num(nan=float("inf"))[:, 0]


def overhead_color_loss(predicted: GaussianBatch, views: Views, heads: int, config: GSLRMConfig) -> Tensor:
    """Mean L1 between the colours of the overhead tokens' Gaussians and those of each head's last view."""
    side = config.cell
    layers = F.avg_pool2d(torch.cat([views.images, views.alpha], dim=1), side)
    layers = F.pad(layers, (0, 0, 0, config.bottom_padding // side)).unflatten(0, (heads, -1)).movedim(2, -1)
    *colors, covered = layers.flatten(0, 3)[predicted.pixel].unbind(-1)
    view = predicted.pixel // layers[0, 0, ..., 0].numel() % layers.shape[1]
    chosen = (view == layers.shape[1] - 1) & (covered > 0.99)
    error = 0.5 + SH_C0 * predicted.sh0[predicted.learned :] - torch.stack(colors, dim=-1)
    return error[chosen].abs().mean()
