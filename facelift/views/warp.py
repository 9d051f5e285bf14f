"""Warped views: the portrait's pixels, placed in space and seen from all six cameras.

Ours, not in the paper. GS-LRM is given the front view alone and estimates how far each of its pixels is. The
pixels are drawn from there as surfels; space that the front camera looks through is marked as empty, and the
rest as unknown. A small view generator with these as its condition need not learn how pixels move when a head
turns, nor where its outline can be, only what is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from facelift.cameras import Cameras, canonical_rig
from facelift.devices import geometry_device
from facelift.gaussians import SH_C0
from facelift.images import not_white
from facelift.render import render
from facelift.surfels import surfels
from facelift.views.generator import ViewGenerator
from facelift.views.visibility import nearest_possible_depth

SurfaceDistances = Callable[[Tensor, Cameras], Tensor]
"""From (3, S, S) RGB and its camera to (>= S, S) distances along the pixels' rays: `GSLRM.distances`."""

UNKNOWN_COLOR = (0.4, 0.5, 0.7)  # RGB of what the portrait does not show; few people wear this colour
WINDOW = 5  # pixels along the side of the window over which opacity and confidence are averaged
# Mean opacity around a pixel from which confidence rises above 0, and at which it reaches 1.
MIN_OPACITY, FULL_OPACITY = 0.8, 0.95
# The same for the cosine between a surface's normal and the front camera's view.
MIN_COSINE, FULL_COSINE = 0.2, 0.45
MIN_ALPHA = 0.1  # coverage in the front view, and opacity in the others, from which a pixel shows a surface
DEPTH_MARGIN = 0.03  # by which the surface may lie before its estimate, world units
DEPTH_TOLERANCE = 0.1  # by which it may lie behind what is possible and still count as seen, world units


def mean_distances(*estimates: SurfaceDistances) -> SurfaceDistances:
    """The mean of several estimates, known where all are; their errors differ, and cancel in part."""

    def distances(image: Tensor, camera: Cameras) -> Tensor:
        found = [estimate(image, camera).float() for estimate in estimates]
        rows = min(map(len, found))  # they may go on below the picture for different lengths
        return torch.stack([distance[:rows] for distance in found]).mean(0)

    return distances


@dataclass(frozen=True)
class WarpedViews:
    """What the portrait shows of each of the six views; of several portraits, B comes before all shapes.

    Attributes:
        images: (6, 3, S, S) RGB in [0, 1] on white, in the order of VIEW_NAMES; the first is the portrait
            itself. UNKNOWN_COLOR shows through wherever something may be.
        coverage: (6, 1, S, S) in [0, 1].
        confidence: (6, 1, S, S) in [0, 1], how likely a pixel is right as it is: 1 all over the front view;
            in the others high where nothing can be, and where a surface lies that the front camera sees well,
            with nothing before it.
        distance: (S, S) along the rays of the front view's pixels, world units; NaN where nothing is known.
    """

    images: Tensor
    coverage: Tensor
    confidence: Tensor
    distance: Tensor


@dataclass(frozen=True)
class GeneratedViews:
    """The six views of stage 1, the photo's own pixels and generated ones; B may come before all shapes.

    Attributes:
        images: (6, 3, S, S) RGB in [0, 1] on white, in the order of VIEW_NAMES.
        coverage: (6, 1, S, S) in [0, 1]; for a model without a matte, 1 where it is not white.
        confidence: (6, 1, S, S) in [0, 1], the share of the warped view in each pixel; the rest is generated.
            1 where the pixel is the photo's or proven background, 0 where the photo does not show it.
        distance: (S, S) of the front view's pixels, see `WarpedViews`; None where there are no warped views.
    """

    images: Tensor
    coverage: Tensor
    confidence: Tensor
    distance: Tensor | None = None


@torch.no_grad()
def generate_views(
    generator: ViewGenerator,
    distances: SurfaceDistances,
    portrait: Tensor,
    coverage: Tensor,
    **sampling: Any,
) -> GeneratedViews:
    """Stage 1: the six views of a portrait, from warped views if the generator is conditioned on them.

    Args:
        generator: the model.
        distances: the depth estimate that warping needs.
        portrait: (3, S, S) RGB in [0, 1] on white, or (B, 3, S, S), several at once.
        coverage: (1, S, S) its matte in [0, 1], or (B, 1, S, S).
        sampling: as `ViewGenerator.generate` takes it.
    """
    warped = warp_views(distances, portrait, coverage) if generator.config.warped_views else None
    layers = generator.generate(
        portrait, warped=None if warped is None else warped.images, **sampling
    ).float()
    images, matte = (
        layers[..., :3, :, :],
        layers[..., 3:, :, :] if generator.config.matte else not_white(layers),
    )
    if warped is None:
        confidence = torch.zeros_like(matte)
        confidence[..., 0, :, :, :] = 1
        return GeneratedViews(images, matte, confidence)
    images = torch.lerp(images, warped.images, warped.confidence)
    matte = torch.lerp(matte, warped.coverage, warped.confidence)
    return GeneratedViews(images, matte, warped.confidence, warped.distance)


@torch.no_grad()
def warp_views(distances: SurfaceDistances, portrait: Tensor, coverage: Tensor) -> WarpedViews:
    """The pixels of the front view as the canonical cameras see them.

    Args:
        distances: of a model that was trained to be given the front view alone, too.
        portrait: (3, S, S) RGB in [0, 1] on white, or (B, 3, S, S).
        coverage: (1, S, S) its matte in [0, 1], or (B, 1, S, S).
    """
    if portrait.ndim == 4:  # one by one: it is little work
        each = [warp_views(distances, *one) for one in zip(portrait, coverage, strict=True)]
        return WarpedViews(*(torch.stack([getattr(x, f.name) for x in each]) for f in fields(WarpedViews)))
    rig = canonical_rig(portrait.shape[-1]).to(portrait.device)
    distance = distances(portrait, rig[[0]])
    place = geometry_device(portrait.device)
    distance, rig = distance.to(place), rig.to(place)
    with torch.autocast(place.type, enabled=False):  # bfloat16's 8 bits are too few for geometry
        warped = _warp(distance, portrait.to(place), coverage.to(place), rig)
    return WarpedViews(*(getattr(warped, field.name).to(portrait.device) for field in fields(warped)))


def _warp(distance: Tensor, portrait: Tensor, coverage: Tensor, rig: Cameras) -> WarpedViews:
    """The same from (S + padding, S) distances along the rays of the front view's pixels."""
    front = rig[[0]]
    below = (0, 0, 0, len(distance) - portrait.shape[-1])  # the padding repeats the last row
    image, matte = (F.pad(x[None], below, mode="replicate")[0] for x in (portrait, coverage))
    surface, cosine = surfels(distance, image, matte, replace(front, height=len(distance)))
    drawn = render(surface, rig[1:], background=0.0)
    cosines = replace(surface, sh0=((cosine - 0.5) / SH_C0)[:, None].expand(-1, 3))
    cosine = render(cosines, rig[1:], background=0.0).image[:, :1] / drawn.alpha.clamp_min(1e-6)

    possible = nearest_possible_depth(_front_depth(distance, coverage, front), front, rig[1:])
    empty = possible.isinf()
    behind = torch.where(empty, 1.0, portrait.new_tensor(UNKNOWN_COLOR)[:, None, None])
    images = (drawn.image + (1 - drawn.alpha) * behind).clamp(0, 1)

    confidence = _ramp(_window_mean(drawn.alpha), MIN_OPACITY, FULL_OPACITY)
    confidence = confidence * _ramp(cosine, MIN_COSINE, FULL_COSINE)
    occluded = drawn.mean_depth > possible + DEPTH_TOLERANCE
    background = empty & (drawn.alpha < MIN_ALPHA)
    confidence = torch.where(background, 1.0, confidence * ~occluded)
    # Isolated confident pixels among unsure ones are lowered, too.
    confidence = confidence * (2 * _window_mean(confidence) - 1).clamp(0, 1)
    return WarpedViews(
        images=torch.cat([portrait[None], images]),
        coverage=torch.cat([coverage[None], drawn.alpha]),
        confidence=torch.cat([torch.ones_like(confidence[:1]), confidence]),
        distance=distance[: portrait.shape[-1]],
    )


def _front_depth(distance: Tensor, coverage: Tensor, camera: Cameras) -> Tensor:
    """(S, S) z-depth of the nearest that the camera sees around a pixel; infinite where nothing is."""
    depth = distance[: camera.height] * camera.depth_along_rays()[0]
    depth = torch.where(coverage[0] > MIN_ALPHA, depth.nan_to_num(0), torch.inf)
    return -F.max_pool2d(-depth[None], WINDOW, 1, WINDOW // 2)[0] - DEPTH_MARGIN


def _window_mean(values: Tensor) -> Tensor:
    return F.avg_pool2d(values, WINDOW, 1, WINDOW // 2, count_include_pad=False)


def _ramp(values: Tensor, low: float, high: float) -> Tensor:
    """0 up to `low`, 1 from `high` on, linear between."""
    return ((values - low) / (high - low)).clamp(0, 1)
