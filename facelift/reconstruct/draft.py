"""A draft of the six views: what the portrait alone tells of them, by geometry.

Ours, not in the paper. GS-LRM is given just the front view, and what it makes of that is drawn from all six
cameras: the face lies where each camera sees it, and what the portrait does not show is missing. A small view
generator that is shown the draft need not learn how pixels move when a head turns, only what is missing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from facelift.cameras import canonical_rig
from facelift.devices import resident
from facelift.reconstruct.gslrm import GSLRM
from facelift.render import render


@torch.no_grad()
def draft(reconstructor: GSLRM, portrait: Tensor) -> Tensor:
    """Draw the front view's own Gaussians from the canonical cameras.

    Args:
        reconstructor: one that was trained to be given the front view alone, too.
        portrait: (3, S, S) RGB in [0, 1] on white.

    Returns:
        (6, 3, S, S) RGB in [0, 1] on white; the first is the portrait itself.
    """
    rig = canonical_rig(portrait.shape[-1]).to(portrait.device)
    with resident(reconstructor, portrait.device):
        gaussians = reconstructor.reconstruct(portrait[None], rig[[0]])
    return torch.cat([portrait[None], render(gaussians, rig[1:]).image.clamp(0, 1)])
