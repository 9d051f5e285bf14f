"""Changes that a photo may show and a synthetic head does not."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def random_photometry(
    rng: torch.Generator, exposure: float = 0.35, balance: float = 0.12
) -> Callable[[Tensor], Tensor]:
    """One change of exposure, contrast and white balance, to apply to all views of a head; white stays white.

    Args:
        exposure: largest change of the exponent of a power law, as a logarithm.
        balance: the same for each channel on its own.

    Returns:
        A function from images (V, 3, H, W) in [0, 1] to the same.
    """
    shared = (torch.rand(1, generator=rng) * 2 - 1) * exposure
    each = (torch.rand(3, generator=rng) * 2 - 1) * balance
    exponent = (shared + each).exp().view(1, 3, 1, 1)
    return lambda images: images.clamp(0, 1) ** exponent
