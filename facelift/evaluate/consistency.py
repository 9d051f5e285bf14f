"""Whether views of one prediction show one head: each view of an orbit against its neighbour, by depth.

A view's neighbour is the view whose camera is nearest. Every covered pixel is lifted into the world by its
own depth and projected into the neighbour; where the neighbour sees the same point (its depth there agrees),
the two colours are compared. Highlights and strands of hair lower the score of the true views as well, which
is reported beside; Gaussians that hang in front of the head or shine through it cost more.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from facelift.cameras import Cameras
from facelift.evaluate.metrics import (
    MAX_PSNR,
    MIN_COVERAGE,
    Measure,
    Prediction,
    Target,
    peak_signal_noise_ratio,
)

MAX_DEPTH_DIFFERENCE = 0.02  # of two views of one point, world units


def neighbor_psnr(prediction: Prediction, target: Target) -> Tensor | None:
    """PSNR in dB of each view against its neighbour, over the points that both see; NaN if there are none."""
    cameras = target.truth.cameras
    if prediction.alpha is None or prediction.depth is None or len(cameras) < 2:
        return None
    distances = torch.cdist(cameras.positions, cameras.positions).fill_diagonal_(torch.inf)
    values = []
    for i, j in enumerate(distances.argmin(1).tolist()):
        warped, seen = reproject(prediction, cameras, i, j)
        own = prediction.images[i][:, seen]
        values.append(
            peak_signal_noise_ratio(warped[:, seen], own, data_range=1.0).clamp_max(MAX_PSNR)
            if seen.any()
            else torch.tensor(torch.nan)
        )
    return torch.stack(values)


def reproject(prediction: Prediction, cameras: Cameras, i: int, j: int) -> tuple[Tensor, Tensor]:
    """View j's colours where view i sees their points.

    Returns:
        (3, S, S) colours, and (S, S) bool: which of view i's pixels show a point that view j sees as well.
    """
    assert prediction.alpha is not None and prediction.depth is not None
    origins, directions = cameras[i].rays()
    along = prediction.depth[i] / cameras[i].depth_along_rays()[0]
    points = origins[0] + directions[0] * along[..., None]
    pixels, distance = cameras[j].project(points)
    places = pixels / pixels.new_tensor([cameras.width, cameras.height]) * 2 - 1
    colors = F.grid_sample(prediction.images[j][None], places, align_corners=False)[0]
    # Depths of two surfaces must not be blended, hence the nearest pixel's.
    layers = torch.stack([prediction.depth[j], prediction.alpha[j, 0]])[None]
    depth, alpha = F.grid_sample(layers, places, mode="nearest", align_corners=False)[0]
    seen = (
        (prediction.alpha[i, 0] > MIN_COVERAGE)
        & (alpha > MIN_COVERAGE)
        & ((depth - distance[0]).abs() < MAX_DEPTH_DIFFERENCE)
    )
    return colors, seen


NEIGHBOR_CONSISTENCY = Measure(
    "neighbours", "neighbours, dB", True, 2, neighbor_psnr, absolute=True, orbit_only=True
)
