"""A draft of the six views: what the portrait alone tells of them, by geometry.

Ours, not in the paper. GS-LRM is given just the front view, and what it makes of that is drawn from all six
cameras: the face lies where each camera sees it, what the front camera looks past is empty, and the rest is
marked as unknown. A small view generator that is shown the draft need not learn how pixels move when a head
turns, nor where its outline can be, only what is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from facelift.cameras import Cameras, canonical_rig
from facelift.devices import resident
from facelift.gaussians import Gaussians
from facelift.reconstruct.carve import nearest_matter
from facelift.reconstruct.gslrm import GSLRM
from facelift.reconstruct.surface import closed, neighbours, not_white
from facelift.render import render
from facelift.views.generator import ViewGenerator

UNKNOWN = (0.4, 0.5, 0.7)  # a colour for what the portrait does not tell, which few people wear
NEIGHBOURHOOD = 5  # pixels
DENSE, LOOSE = 0.95, 0.8  # opacity around a pixel at which a surface is known, and at which it is not
SEEN = 0.1  # opacity from which the front camera sees a surface
SLACK, TOLERANCE = 0.03, 0.1  # of depths, in world units: what may be there already, what counts as there


@dataclass(frozen=True)
class Draft:
    """Attributes:
    images: (6, 3, S, S) RGB in [0, 1] on white, in the order of VIEW_NAMES; the first is the portrait itself.
        UNKNOWN shows through wherever something may be.
    coverage: (6, 1, S, S) in [0, 1], of what is drawn; of the portrait, what is not white.
    known: (6, 1, S, S) in [0, 1], where the draft may stand as it is: in the front view everywhere; in the
        others where nothing can be, and where Gaussians lie close with nothing before them.
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
def imagine(generator: ViewGenerator, reconstructor: GSLRM, portrait: Tensor, **sampling: Any) -> Imagined:
    """Stage 1: the six views of a portrait, from a draft of them if the generator works from one.

    Args:
        portrait: (3, S, S) RGB in [0, 1] on white.
        sampling: as `ViewGenerator.generate` takes it.
    """
    drafts = draft(reconstructor, portrait) if generator.config.drafts else None
    drawn = None if drafts is None else drafts.images
    layers = generator.generate(portrait, drafts=drawn, **sampling).float()
    images, coverage = layers[:, :3], layers[:, 3:] if generator.config.matte else not_white(layers)
    if drafts is None:
        known = torch.zeros_like(coverage)
        known[0] = 1
        return Imagined(images, coverage, known)
    images = torch.lerp(images, drafts.images, drafts.known)
    return Imagined(images, torch.lerp(coverage, drafts.coverage, drafts.known), drafts.known)


@torch.no_grad()
def draft(reconstructor: GSLRM, portrait: Tensor) -> Draft:
    """Draw the front view's own Gaussians from the canonical cameras.

    Args:
        reconstructor: one that was trained to be given the front view alone, too.
        portrait: (3, S, S) RGB in [0, 1] on white.
    """
    rig = canonical_rig(portrait.shape[-1]).to(portrait.device)
    with resident(reconstructor, portrait.device):
        gaussians = reconstructor.reconstruct(portrait[None], rig[[0]])
    surface = closed(gaussians, neighbours(gaussians)[1])  # else it has gaps when seen from aside
    drawn = render(surface, rig[1:], background=0.0)
    nearest = nearest_matter(_front(gaussians, rig[[0]]), rig[[0]], rig[1:])
    empty = nearest.isinf()
    behind = torch.where(empty, 1.0, portrait.new_tensor(UNKNOWN)[:, None, None])
    images = (drawn.image + (1 - drawn.alpha) * behind).clamp(0, 1)

    dense = ((_around(drawn.alpha) - LOOSE) / (DENSE - LOOSE)).clamp(0, 1)
    before = drawn.mean_depth > nearest + TOLERANCE
    alone = empty & (drawn.alpha < SEEN)
    known = torch.where(alone, 1.0, dense * ~before)
    known = known * (2 * _around(known) - 1).clamp(0, 1)  # a pixel is as sure as those around it
    return Draft(
        images=torch.cat([portrait[None], images]),
        coverage=torch.cat([not_white(portrait[None]), drawn.alpha]),
        known=torch.cat([torch.ones_like(known[:1]), known]),
    )


def _front(gaussians: Gaussians, camera: Cameras) -> Tensor:
    """(S, S) z-depth of the nearest that the camera sees around a pixel; infinite where nothing is."""
    front = render(gaussians, camera)
    depth = torch.where(front.alpha > SEEN, front.mean_depth, torch.inf)
    return -F.max_pool2d(-depth, NEIGHBOURHOOD, 1, NEIGHBOURHOOD // 2)[0, 0] - SLACK


def _around(values: Tensor) -> Tensor:
    """The mean of a pixel's neighbourhood."""
    return F.avg_pool2d(values, NEIGHBOURHOOD, 1, NEIGHBOURHOOD // 2, count_include_pad=False)
