"""The photo's own pixels: what it shows clearly is drawn finer than the views are.

Ours, not in the paper. The views have few pixels, and the photo has many. Where it shows a surface well,
discs as small as its pixels take the place of the Gaussians there. They lie at the distances that the views
were made from, smoothed; their colours are the photo's, corrected for what neighbouring discs blur. Towards
outlines, and where the surface turns away, they fade: what is beyond is generated, and a seam would show.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from facelift.cameras import Cameras
from facelift.checks import check_images
from facelift.gaussians import SH_C0, Gaussians
from facelift.isolation import isolated
from facelift.refine.config import RefineConfig
from facelift.refine.depth import smooth_distance
from facelift.refine.fields import activated, adam, raw_fields
from facelift.refine.losses import image_loss
from facelift.render import render
from facelift.surfels import facing, surfels

PLAIN = 0.08  # difference of colour in four pixels, and the four on each side, up to which they are one disc
SIGMA = 0.6  # standard deviation of a pixel's disc, pixels: narrower ones let through what is behind
PLAIN_SIGMA = 1.4  # of one for four pixels, pixels
SOLID = 0.95  # coverage from which a pixel shows the person alone
RIM = 8  # pixels from an outline over which discs fade
MIN_SOLID, FULL_SOLID = 0.6, 0.95  # mean of solid pixels around one at which discs begin, and are whole
MIN_FACING, FULL_FACING = 0.3, 0.55  # the same for the share of a surface's width that the camera sees
MIN_OPACITY = 0.02  # of what is kept
DEPTH_TOLERANCE = 0.03  # how far behind the discs what they replace may lie, world units
BAND = 12  # pixels to either side of outlines that are fitted


@isolated()
def add_detail(
    gaussians: Gaussians,
    portrait: Tensor,
    coverage: Tensor,
    distance: Tensor,
    camera: Cameras,
    config: RefineConfig,
) -> Gaussians:
    """Draw what a portrait shows with its own pixels; elsewhere the Gaussians stay as they are.

    Args:
        gaussians: a head, as fitted to its views.
        portrait: (3, T, T) RGB in [0, 1] on white, T even.
        coverage: (1, T, T) its matte in [0, 1].
        distance: (S, S) along the rays of the same view at any even size S, world units; NaN where nothing is
            known. From whatever knows it best.
        camera: the one camera of the portrait.
        config: the settings, those that begin with `detail` and the rates of Adam.

    Raises:
        UserError: Gaussians, camera or portrait are not as they must be, or not on one device.
    """
    gaussians.check()
    camera.check()
    device, size = gaussians.means.device, (camera.height, camera.width)
    check_images(portrait, "portrait", (3, *size), device)
    check_images(coverage, "coverage", (1, *size), device)
    gaussians, camera = gaussians.map(Tensor.detach), camera.to(device)
    if config.steps == 0 or not config.detail:
        return gaussians
    matte = F.interpolate(coverage[None], distance.shape, mode="area")[0]
    surface = smooth_distance(distance, matte, camera.width)
    trust = _trust(surface, coverage, camera)
    discs = _discs(surface, portrait, coverage * (trust > MIN_OPACITY), camera)
    discs = replace(discs, opacities=discs.opacities * _sample(trust, discs, camera)[:, 0])
    if gaussians.shN is not None:  # the photo shows its colours from one side
        discs = replace(discs, shN=gaussians.shN.new_zeros(len(discs), *gaussians.shN.shape[1:]))
    rest = _faded(gaussians, surface, trust, camera)
    count = len(discs)
    fitted = _fit_outline(_join(discs, rest), portrait, coverage, camera, config)
    return _match_colors(fitted, count, portrait, camera, config)


def _trust(surface: Tensor, coverage: Tensor, camera: Cameras) -> Tensor:
    """(1, T, T) in [0, 1], how opaque the discs are: less near outlines and where the surface turns away."""
    solid = F.pad((coverage > SOLID).float()[None], (RIM,) * 4, mode="replicate")
    inside = _ramp(F.avg_pool2d(solid, 2 * RIM + 1, 1)[0], MIN_SOLID, FULL_SOLID)
    straight = F.avg_pool2d(facing(surface, camera)[None], RIM + 1, 1, RIM // 2, count_include_pad=False)
    return inside * _ramp(straight, MIN_FACING, FULL_FACING)


def _discs(surface: Tensor, portrait: Tensor, coverage: Tensor, camera: Cameras) -> Gaussians:
    """The portrait's surfels: one for each pixel, or for four where these are alike."""
    small = camera.resized(camera.width // 2)
    layers = torch.cat([portrait, coverage, surface[None]])
    means = F.avg_pool2d(layers, 2)
    spread = (layers[:4] - F.interpolate(means[None, :4], scale_factor=2)[0]).abs().amax(dim=0, keepdim=True)
    plain = F.max_pool2d(F.max_pool2d(spread, 2), 3, 1, 1) < PLAIN
    fine = coverage * ~F.interpolate(plain[None].float(), scale_factor=2)[0].bool()
    by_pixel, _ = surfels(surface, portrait, fine, camera, SIGMA)
    by_four, _ = surfels(means[4], means[:3], means[3:4] * plain, small, PLAIN_SIGMA / 2)
    return _join(by_pixel, by_four)


def _faded(gaussians: Gaussians, surface: Tensor, trust: Tensor, camera: Cameras) -> Gaussians:
    """What is left of the Gaussians where discs stand for them: those on their surface and before it go."""
    known = surface.isfinite().float()
    layers = torch.stack([surface.nan_to_num(0.0), known, trust[0]])
    at, known, trusted = _sample(layers, gaussians, camera).unbind(-1)
    far = (gaussians.means - camera.positions).norm(dim=-1)
    replaced = (known > 0) & (far < at / known.clamp_min(1e-6) + DEPTH_TOLERANCE)
    opacities = gaussians.opacities * (1 - trusted * replaced)
    kept = opacities > MIN_OPACITY
    return replace(gaussians, opacities=opacities)[kept]


def _fit_outline(
    gaussians: Gaussians, portrait: Tensor, coverage: Tensor, camera: Cameras, config: RefineConfig
) -> Gaussians:
    """Fit what lies near the outlines, or beyond them, to the portrait's sharper ones."""
    weight = F.max_pool2d((coverage < SOLID).float(), 2 * BAND + 1, 1, BAND)  # and in the background
    near = (_sample(weight, gaussians, camera)[:, 0] > 0).nonzero()[:, 0]
    with torch.enable_grad():
        raw = raw_fields(gaussians[near])
        optimizer = adam(raw, config)
        for _ in range(config.detail_steps):
            drawn = render(activated(raw), camera)
            loss = image_loss(drawn.image, drawn.alpha, portrait[None], coverage[None], weight[None])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    fitted = activated({name: field.detach() for name, field in raw.items()}).tensors()
    fields = gaussians.tensors()
    return Gaussians(**{name: field.index_copy(0, near, fitted[name]) for name, field in fields.items()})


def _match_colors(
    gaussians: Gaussians, count: int, portrait: Tensor, camera: Cameras, config: RefineConfig
) -> Gaussians:
    """Correct the colours of the first `count` by what the render lacks (Van Cittert's deconvolution)."""
    sh0 = gaussians.sh0.clone()
    discs = gaussians[:count]
    for _ in range(config.detail_color_steps):
        lacking = portrait - render(replace(gaussians, sh0=sh0), camera).image[0]
        share = discs.opacities[:, None]  # faint ones must not make up for what shows through them
        colors = 0.5 + SH_C0 * sh0[:count] + share * _sample(lacking, discs, camera)
        sh0[:count] = (colors.clamp(0, 1) - 0.5) / SH_C0
    return replace(gaussians, sh0=sh0)


def _sample(layers: Tensor, gaussians: Gaussians, camera: Cameras) -> Tensor:
    """(N, C) of layers (C, H, W) where the Gaussians' centres are; zeros outside."""
    pixels, _ = camera.project(gaussians.means)
    places = pixels / pixels.new_tensor([camera.width, camera.height]) * 2 - 1
    return F.grid_sample(layers[None], places[:, None], align_corners=False)[0, :, 0].mT


def _ramp(values: Tensor, low: float, high: float) -> Tensor:
    return ((values - low) / (high - low)).clamp(0, 1)


def _join(*parts: Gaussians) -> Gaussians:
    fields = [part.tensors() for part in parts]
    return Gaussians(**{name: torch.cat([part[name] for part in fields]) for name in fields[0]})
