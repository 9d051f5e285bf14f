"""A draft of the six views: what the portrait alone tells of them, by geometry.

Ours, not in the paper. GS-LRM is given just the front view, and what it makes of that is drawn from all six
cameras: the face lies where each camera sees it, and what the portrait does not show is missing. A small view
generator that is shown the draft need not learn how pixels move when a head turns, only what is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from facelift.cameras import VIEW_NAMES, canonical_rig
from facelift.devices import resident
from facelift.reconstruct.gslrm import GSLRM
from facelift.render import render
from facelift.views.generator import ViewGenerator

SHOWN = [VIEW_NAMES.index(name) for name in ("front_right", "front_left")]
NEIGHBOURHOOD = 5  # pixels
CLOSED, LOOSE = 0.95, 0.9  # opacity around a pixel at which a surface is known, and at which it is not


@dataclass(frozen=True)
class Draft:
    """Attributes:
    images: (6, 3, S, S) RGB in [0, 1] on white, in the order of VIEW_NAMES; the first is the portrait itself.
    known: (6, 1, S, S) in [0, 1], where the draft may stand as it is: in the front view everywhere, and in
        the two half-profiles where Gaussians lie close. Farther round, it is seen through from behind.
    """

    images: Tensor
    known: Tensor


@torch.no_grad()
def imagine(generator: ViewGenerator, reconstructor: GSLRM, portrait: Tensor, **sampling: Any) -> Tensor:
    """Stage 1: the six views of a portrait, from a draft of them if the generator works from one.

    Args:
        portrait: (3, S, S) RGB in [0, 1] on white.
        sampling: as `ViewGenerator.generate` takes it.

    Returns:
        (6, 3, S, S) RGB in [0, 1], in the order of VIEW_NAMES.
    """
    if not generator.config.drafts:
        return generator.generate(portrait, **sampling).float()
    drafts = draft(reconstructor, portrait)
    views = generator.generate(portrait, drafts=drafts.images, **sampling).float()
    return torch.lerp(views, drafts.images, drafts.known)  # what the photo shows need not be imagined


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
    drawn = render(gaussians, rig[1:])
    images = torch.cat([portrait[None], drawn.image.clamp(0, 1)])
    opacity = F.avg_pool2d(drawn.alpha, NEIGHBOURHOOD, 1, NEIGHBOURHOOD // 2, count_include_pad=False)
    closed = ((opacity - LOOSE) / (CLOSED - LOOSE)).clamp(0, 1)
    known = torch.zeros_like(images[:, :1])
    known[0] = 1
    known[SHOWN] = closed[[i - 1 for i in SHOWN]]
    return Draft(images, known)
