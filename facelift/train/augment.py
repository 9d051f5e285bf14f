"""Changes that a photo may show and a synthetic head does not."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from facelift.cameras import VIEW_NAMES

# The views go around the head from the front: a mirror image has them in the other order.
MIRRORED_VIEWS = [0, *range(len(VIEW_NAMES) - 1, 0, -1)]


def augment(images: Tensor, rng: torch.Generator) -> Tensor:
    """The six canonical images of a head in another light, framing and perhaps mirrored.

    Args:
        images: (6, C, H, W) RGB in [0, 1] on white; channels after these, such as coverage, only move along.
        rng: what chooses.
    """
    lit = random_photometry(rng)(images[:, :3])
    return random_mirror(rng)(random_framing(rng)(torch.cat([lit, images[:, 3:]], dim=1)))


def random_photometry(
    rng: torch.Generator, exposure: float = 0.35, balance: float = 0.12
) -> Callable[[Tensor], Tensor]:
    """One change of exposure, contrast and white balance, to apply to all views of a head; white stays white.

    Args:
        rng: what chooses.
        exposure: largest change of the exponent of a power law, as a logarithm.
        balance: the same for each channel on its own.

    Returns:
        A function from images (V, 3, H, W) in [0, 1] to the same.
    """
    shared = (torch.rand(1, generator=rng) * 2 - 1) * exposure
    each = (torch.rand(3, generator=rng) * 2 - 1) * balance
    exponent = (shared + each).exp().view(1, 3, 1, 1)
    return lambda images: images.clamp(0, 1) ** exponent.to(images)


def random_framing(
    rng: torch.Generator, zoom: float = 0.06, shift: float = 0.03
) -> Callable[[Tensor], Tensor]:
    """One zoom and one vertical shift for all views of a head, for no finder frames a face exactly.

    About what a larger or higher head looks like from all six sides at once; a sideways shift would not be.

    Args:
        rng: what chooses.
        zoom: largest, as a logarithm.
        shift: largest, as a fraction of the image.

    Returns:
        A function from images (V, 3, H, W) to the same; what comes in at the border is what was there.
    """
    factor, offset = ((torch.rand(2, generator=rng) * 2 - 1) * torch.tensor([zoom, 2 * shift])).tolist()
    matrix = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, offset]]) * torch.tensor(
        [[math.exp(factor)] * 2 + [1.0]]
    )

    def frame(images: Tensor) -> Tensor:
        grid = F.affine_grid(
            matrix.to(images).expand(len(images), 2, 3), list(images.shape), align_corners=False
        )
        return F.grid_sample(images, grid, padding_mode="border", align_corners=False)

    return frame


def random_mirror(rng: torch.Generator) -> Callable[[Tensor], Tensor]:
    """Every other time the mirror image of a head, whose left views are the first head's right ones.

    Returns:
        A function from the six canonical images (6, 3, H, W) to the same.
    """
    if torch.rand(1, generator=rng) < 0.5:
        return lambda images: images
    return lambda images: images[MIRRORED_VIEWS].flip(-1)
