"""A draft of the six views: what the portrait alone tells of them, by geometry.

Ours, not in the paper. GS-LRM is given just the front view and tells how far each of its pixels is; these are
drawn from all six cameras: the face lies where each camera sees it, what the front camera looks past is
empty, and the rest is marked as unknown. A small view generator that is shown the draft need not learn how
pixels move when a head turns, nor where its outline can be, only what is missing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from facelift.cameras import Cameras, canonical_rig
from facelift.devices import resident
from facelift.gaussians import SH_C0
from facelift.reconstruct.carve import nearest_matter
from facelift.reconstruct.gslrm import GSLRM
from facelift.reconstruct.surface import not_white
from facelift.reconstruct.surfels import surfels
from facelift.render import render
from facelift.views.generator import ViewGenerator

UNKNOWN = (0.4, 0.5, 0.7)  # a colour for what the portrait does not tell, which few people wear
NEIGHBOURHOOD = 5  # pixels
DENSE, LOOSE = 0.95, 0.8  # opacity around a pixel at which a surface is known, and at which it is not
SEEN = 0.1  # coverage from which the front camera sees a surface, opacity from which others do
ASIDE, FACING = 0.2, 0.45  # how straight the front camera sees a surface too badly to be known, and well
SLACK, TOLERANCE = 0.03, 0.1  # of depths, in world units: what may be there already, what counts as there


@dataclass(frozen=True)
class Draft:
    """Attributes:
    images: (6, 3, S, S) RGB in [0, 1] on white, in the order of VIEW_NAMES; the first is the portrait itself.
        UNKNOWN shows through wherever something may be.
    coverage: (6, 1, S, S) in [0, 1].
    known: (6, 1, S, S) in [0, 1], where the draft may stand as it is: in the front view everywhere; in the
        others where nothing can be, and where a surface lies that the front camera sees well, with nothing
        before it.
    """

    images: Tensor
    coverage: Tensor
    known: Tensor


@dataclass(frozen=True)
class Imagined:
    """Attributes:
    images: (6, 3, S, S) RGB in [0, 1] on white, in the order of VIEW_NAMES.
    coverage: (6, 1, S, S) in [0, 1]; for a model without a matte, 1 where it is not white.
    known: (6, 1, S, S) in [0, 1], 1 where they are the photo's and not imagined.
    """

    images: Tensor
    coverage: Tensor
    known: Tensor


@torch.no_grad()
def imagine(
    generator: ViewGenerator, reconstructor: GSLRM, portrait: Tensor, coverage: Tensor, **sampling: Any
) -> Imagined:
    """Stage 1: the six views of a portrait, from a draft of them if the generator works from one.

    Args:
        portrait: (3, S, S) RGB in [0, 1] on white.
        coverage: (1, S, S) its matte in [0, 1].
        sampling: as `ViewGenerator.generate` takes it.
    """
    drafts = draft(reconstructor, portrait, coverage) if generator.config.drafts else None
    drawn = None if drafts is None else drafts.images
    layers = generator.generate(portrait, drafts=drawn, **sampling).float()
    images, matte = layers[:, :3], layers[:, 3:] if generator.config.matte else not_white(layers)
    if drafts is None:
        known = torch.zeros_like(matte)
        known[0] = 1
        return Imagined(images, matte, known)
    images = torch.lerp(images, drafts.images, drafts.known)
    return Imagined(images, torch.lerp(matte, drafts.coverage, drafts.known), drafts.known)


@torch.no_grad()
def draft(reconstructor: GSLRM, portrait: Tensor, coverage: Tensor) -> Draft:
    """Draw the pixels of the front view from the canonical cameras.

    Args:
        reconstructor: one that was trained to be given the front view alone, too.
        portrait: (3, S, S) RGB in [0, 1] on white.
        coverage: (1, S, S) its matte in [0, 1].
    """
    rig = canonical_rig(portrait.shape[-1]).to(portrait.device)
    with resident(reconstructor, portrait.device):
        distance = reconstructor.distances(portrait, rig[[0]])
    with torch.autocast(portrait.device.type, enabled=False):  # geometry wants more than bfloat16's 8 bits
        return _drawn(distance, portrait, coverage, rig)


def _drawn(distance: Tensor, portrait: Tensor, coverage: Tensor, rig: Cameras) -> Draft:
    """The draft for (S + margin, S) distances along the rays of the front view's pixels."""
    front = rig[[0]]
    below = (0, 0, 0, len(distance) - portrait.shape[-1])  # a margin goes on as the last row
    image, matte = (F.pad(x[None], below, mode="replicate")[0] for x in (portrait, coverage))
    surface, facing = surfels(distance, image, matte, replace(front, height=len(distance)))
    drawn = render(surface, rig[1:], background=0.0)
    told = replace(surface, sh0=((facing - 0.5) / SH_C0)[:, None].expand(-1, 3))
    straight = render(told, rig[1:], background=0.0).image[:, :1] / drawn.alpha.clamp_min(1e-6)

    nearest = nearest_matter(_seen(distance, coverage, front), front, rig[1:])
    empty = nearest.isinf()
    behind = torch.where(empty, 1.0, portrait.new_tensor(UNKNOWN)[:, None, None])
    images = (drawn.image + (1 - drawn.alpha) * behind).clamp(0, 1)

    dense = ((_around(drawn.alpha) - LOOSE) / (DENSE - LOOSE)).clamp(0, 1)
    dense = dense * ((straight - ASIDE) / (FACING - ASIDE)).clamp(0, 1)
    before = drawn.mean_depth > nearest + TOLERANCE
    alone = empty & (drawn.alpha < SEEN)
    known = torch.where(alone, 1.0, dense * ~before)
    known = known * (2 * _around(known) - 1).clamp(0, 1)  # a pixel is as sure as those around it
    return Draft(
        images=torch.cat([portrait[None], images]),
        coverage=torch.cat([coverage[None], drawn.alpha]),
        known=torch.cat([torch.ones_like(known[:1]), known]),
    )


def _seen(distance: Tensor, coverage: Tensor, camera: Cameras) -> Tensor:
    """(S, S) z-depth of the nearest that the camera sees around a pixel; infinite where nothing is."""
    depth = distance[: camera.height] * camera.depth_along_rays()[0]
    depth = torch.where(coverage[0] > SEEN, depth.nan_to_num(0), torch.inf)
    return -F.max_pool2d(-depth[None], NEIGHBOURHOOD, 1, NEIGHBOURHOOD // 2)[0] - SLACK


def _around(values: Tensor) -> Tensor:
    """The mean of a pixel's neighbourhood."""
    return F.avg_pool2d(values, NEIGHBOURHOOD, 1, NEIGHBOURHOOD // 2, count_include_pad=False)
