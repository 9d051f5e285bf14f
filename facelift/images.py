"""What is known of any image on a white background."""

from __future__ import annotations

from torch import Tensor

WHITE = 0.98
"""A pixel whose every channel is brighter shows the background."""


def not_white(images: Tensor) -> Tensor:
    """The coverage of images on white, estimated from their colours.

    Args:
        images: (..., 3, H, W) RGB in [0, 1].

    Returns:
        (..., 1, H, W), 0 where the background shows and 1 elsewhere.
    """
    return (images.amin(dim=-3, keepdim=True) <= WHITE).float()
