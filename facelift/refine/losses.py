"""The terms of the fit's loss; each is a sum, over pixels or over Gaussians.

Neighbours' values are detached: the gradient of a gather adds up in any order, and runs must be alike.
"""

from __future__ import annotations

from torch import Tensor


def image_loss(image: Tensor, alpha: Tensor, view: Tensor, coverage: Tensor, weight: Tensor) -> Tensor:
    """L2 of colours and of coverage.

    Args:
        image: (V, 3, H, W) RGB in [0, 1] on white, rendered.
        alpha: (V, 1, H, W) in [0, 1], rendered.
        view: (V, 3, H, W), the colours that are wanted.
        coverage: (V, 1, H, W), the coverage that is wanted.
        weight: (V, 1, H, W) of each pixel.
    """
    return (weight * ((image - view).square() + (alpha - coverage).square())).sum()


def color_smoothness(colors: Tensor, indices: Tensor, near: Tensor) -> Tensor:
    """Squared differences of colour to the neighbours, the mean over these.

    Args:
        colors: (N, 3).
        indices: (N, K) of each Gaussian's neighbours.
        near: (N, K, 1), 1 for those that are near enough to count, else 0.
    """
    return (near * (colors[:, None] - colors.detach()[indices]).square()).sum() / indices.shape[1]


def color_prior(colors: Tensor, first: Tensor) -> Tensor:
    """L2 prior to the first colours (N, 3): weakly observed Gaussians must not compensate for others."""
    return (colors - first).square().sum()


def flatness(means: Tensor, indices: Tensor, normals: Tensor) -> Tensor:
    """Squared distances along the normal from the middle of the neighbours.

    Args:
        means: (N, 3).
        indices: (N, K) of each Gaussian's neighbours.
        normals: (N, 3), zero where neighbours are too far to define a surface.
    """
    height = ((means - means.detach()[indices].mean(dim=1)) * normals).sum(dim=-1)
    return height.square().sum()
