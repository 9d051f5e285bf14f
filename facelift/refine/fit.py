"""Fitting a head to its views: some seconds of gradient descent through the rasteriser.

Ours, not in the paper. GS-LRM places Gaussians in one pass, and a small one blurs. From so good a start, some
dozen steps of what 3D Gaussian Splatting does from scratch (Kerbl et al. 2023, section 5) bring out what the
views show.
"""

from __future__ import annotations

from dataclasses import fields
from itertools import cycle, islice

import torch
from torch import Tensor

from facelift.cameras import Cameras
from facelift.gaussians import SH_C0, Gaussians
from facelift.images import not_white
from facelift.refine.surface import (
    NEIGHBOURS,
    boundary_band,
    fill_gaps,
    neighbours,
    normals,
    recolour_from_views,
)
from facelift.render import render

RATES = {"means": 2e-3, "quats": 0.01, "scales": 0.02, "opacities": 0.1, "sh0": 0.04}  # of Adam
EPS = 0.02  # about the gradient of a Gaussian in plain sight: what is hardly seen hardly moves
IMAGINED = 0.3  # weight of what is imagined beside what the photo shows
CAUTION = 0.3  # on the rates of shape and place then: imagined views disagree, and what chases them all frays
ALIKE = 0.5  # pull to the colours of neighbours: seen between the views, who differs from them is a speck
DOUBT = 3.0  # times as much where views are imagined: they differ more
NEAR = 0.03  # up to which distance they are neighbours (world units)
FLAT = 200.0  # pull into the surface of more of them: seen from aside, those that stand out are its outline
WIDE = 0.06  # up to which distance these are neighbours
ANCHOR = 0.3  # pull back to the first colours: who shows little of a view must not turn black to mend much


def refine(
    gaussians: Gaussians,
    views: Tensor,
    cameras: Cameras,
    steps: int,
    coverage: Tensor | None = None,
    confidence: Tensor | None = None,
) -> Gaussians:
    """Close the surface of the Gaussians, then fit every field of them to an even number of views.

    Args:
        gaussians: the head to improve.
        views: (V, 3, H, W) RGB in [0, 1] on white.
        cameras: of the views.
        steps: of Adam; each renders two of the views, in turn.
        coverage: (V, 1, H, W) in [0, 1] of the views; None is unknown wherever they are not white.
        confidence: (V, 1, H, W) in [0, 1], 1 where the views are true; what is imagined counts less, and each
            step renders the first view, which is all true, and one of the others. None is true everywhere.
    """
    if steps == 0:
        return gaussians
    present = not_white(views)
    around, distances = neighbours(gaussians)
    nearest, near = around[:, :NEIGHBOURS], (distances[:, :NEIGHBOURS] < NEAR).float()[..., None]
    upright = normals(gaussians.means, around) * (distances[:, -1:] < WIDE)
    gaussians = fill_gaps(gaussians, distances)
    if confidence is None:
        pairs = [[i, i + 1] for i in range(0, len(views), 2)]
        weights, caution, alike = torch.ones_like(present), 1.0, ALIKE
    else:
        # What a photo shows about its outline is mixed with what was behind: seen from aside, specks.
        confidence = confidence * (1 - boundary_band(present if coverage is None else coverage))
        gaussians = recolour_from_views(gaussians, views, cameras, confidence)
        pairs = [[0, i] for i in range(1, len(views))]
        weights, caution, alike = IMAGINED + (1 - IMAGINED) * confidence, CAUTION, ALIKE * DOUBT
    with torch.enable_grad():
        raw = {name: x.clone().requires_grad_() for name, x in _raw(gaussians).items()}
        careful = {name: caution for name in ("means", "quats", "scales")}
        optimizer = torch.optim.Adam(
            [{"params": raw[name], "lr": rate * careful.get(name, 1.0)} for name, rate in RATES.items()],
            eps=EPS,
        )
        for shown in islice(cycle(pairs), steps):
            drawn = render(_activated(raw), cameras[shown])
            # What hangs over the outline must vanish, not turn white; a rim in the view's colours must not
            # be the white behind it.
            wanted = present[shown] * drawn.alpha if coverage is None else coverage[shown]
            uncovered = drawn.alpha - wanted
            error = weights[shown] * ((drawn.image - views[shown]).square() + uncovered.square())
            colors, means = SH_C0 * raw["sh0"], raw["means"]
            moved = (colors - SH_C0 * gaussians.sh0).square().sum()
            # Detached, for the gradient of a gather adds up in any order, and runs must be alike.
            unlike = (near * (colors[:, None] - colors.detach()[nearest]).square()).sum() / NEIGHBOURS
            above = ((means - means.detach()[around].mean(dim=1)) * upright).sum(dim=-1)
            optimizer.zero_grad()
            (error.sum() + ANCHOR * moved + alike * unlike + FLAT * above.square().sum()).backward()
            optimizer.step()
    return _activated({name: x.detach() for name, x in raw.items()})


def _raw(gaussians: Gaussians) -> dict[str, Tensor]:
    """The fields before activation: logarithms of scales, logits of opacities."""
    raw = {field.name: getattr(gaussians, field.name) for field in fields(gaussians)}
    logits = gaussians.opacities.clamp(1e-4, 1 - 1e-4).logit()
    return raw | {"scales": gaussians.scales.log(), "opacities": logits}


def _activated(raw: dict[str, Tensor]) -> Gaussians:
    return Gaussians(**(raw | {"scales": raw["scales"].exp(), "opacities": raw["opacities"].sigmoid()}))
