"""Fitting a head to its views: some seconds of gradient descent through the rasteriser.

Ours, not in the paper. GS-LRM places Gaussians in one pass, and a small one blurs. From so good a start, some
dozen steps of what 3D Gaussian Splatting does from scratch (Kerbl et al. 2023, section 5) bring out what the
views show.
"""

from __future__ import annotations

import math
from itertools import cycle, islice

import torch
from torch import Tensor

from facelift.cameras import Cameras
from facelift.checks import check_images
from facelift.errors import UserError
from facelift.gaussians import SH_C0, Gaussians
from facelift.images import not_white
from facelift.isolation import isolated
from facelift.refine.config import RefineConfig
from facelift.refine.fields import activated, adam, raw_fields
from facelift.refine.losses import color_prior, color_smoothness, flatness, image_loss
from facelift.refine.surface import boundary_band, fill_gaps, neighbors, normals, recolor_from_views
from facelift.render import render


@isolated()
def refine(
    gaussians: Gaussians,
    views: Tensor,
    cameras: Cameras,
    config: RefineConfig,
    coverage: Tensor | None = None,
    confidence: Tensor | None = None,
) -> Gaussians:
    """Close the surface of the Gaussians, then fit every field of them to an even number of views.

    Args:
        gaussians: the head to improve.
        views: (V, 3, H, W) RGB in [0, 1] on white.
        cameras: of the views, on any device.
        config: the settings; each step renders two of the views, in turn.
        coverage: (V, 1, H, W) in [0, 1] of the views; None is unknown wherever they are not white.
        confidence: (V, 1, H, W) in [0, 1], 1 where the views are true; generated pixels count less, and each
            step renders the first view, which is all true, and one of the others. None is true everywhere.

    Raises:
        UserError: Gaussians, cameras or views are not as they must be, or the Gaussians and views not on one
            device.
    """
    gaussians.check()
    cameras.check()
    cameras = cameras.to(gaussians.means.device)
    size = (cameras.height, cameras.width)
    check_images(views, "views", (len(cameras), 3, *size), gaussians.means.device)
    for name, layer in (("coverage", coverage), ("confidence", confidence)):
        if layer is not None:
            check_images(layer, name, (len(cameras), 1, *size), gaussians.means.device)
    if confidence is None and len(views) % 2:
        raise UserError(f"Views are fitted in pairs: give an even number of them, not {len(views)}.")
    gaussians = gaussians.map(Tensor.detach)
    if config.steps == 0 or len(gaussians) == 0:
        return gaussians
    present = not_white(views)
    indices, distances = neighbors(gaussians, config.flatness_neighbors)
    nearest = indices[:, : config.smoothness_neighbors]
    near = (distances[:, : config.smoothness_neighbors] < config.smoothness_radius).float()[..., None]
    upright = normals(gaussians.means, indices) * (distances[:, -1:] < config.flatness_radius)
    gaussians = fill_gaps(gaussians, distances, config)
    steps, generated = config.steps, confidence is not None
    if confidence is None:
        pairs = [[i, i + 1] for i in range(0, len(views), 2)]
        weights = torch.ones_like(present)
    else:
        # The photo's colours at its outline are mixed with the background: from aside they are specks.
        confidence = confidence * (1 - boundary_band(present if coverage is None else coverage, config))
        steps = math.ceil(config.steps * config.generated_steps_factor)
        if config.recolor:
            gaussians = recolor_from_views(gaussians, views, cameras, confidence, config)
        pairs = [[0, i] for i in range(1, len(views))]
        weights = config.generated_weight + (1 - config.generated_weight) * confidence
    smoothness = config.color_smoothness * (config.generated_smoothness_factor if generated else 1.0)
    first = SH_C0 * gaussians.sh0
    with torch.enable_grad():
        raw = raw_fields(gaussians)
        optimizer = adam(raw, config, config.generated_lr_factor if generated else 1.0)
        for shown in islice(cycle(pairs), steps):
            drawn = render(activated(raw), cameras[shown])
            # Without a matte: what hangs over the outline must vanish, not turn white; a rim in the view's
            # colours must not be the white behind it.
            wanted = present[shown] * drawn.alpha if coverage is None else coverage[shown]
            colors = SH_C0 * raw["sh0"]
            error = image_loss(drawn.image, drawn.alpha, views[shown], wanted, weights[shown])
            loss = config.image_weight * error
            loss = loss + config.color_prior * color_prior(colors, first)
            loss = loss + smoothness * color_smoothness(colors, nearest, near)
            loss = loss + config.flatness * flatness(raw["means"], indices, upright)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return activated({name: x.detach() for name, x in raw.items()})
