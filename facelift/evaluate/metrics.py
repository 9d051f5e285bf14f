"""How alike two images are, and how sure a mean over people is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev

from torch import Tensor

SMALLEST_MSE = 1e-10  # so that identical images have 100 dB, not infinitely many


def psnr(images: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio of each image: -10 log10(MSE), of values clamped to [0, 1].

    Args:
        images, truth: (N, 3, H, W) RGB, sRGB in [0, 1].
        mask: (N, 1, H, W) bool, the pixels that count; None counts all. Each image needs at least one.

    Returns:
        (N,) dB. The MSE is over all counted pixels and the three channels of one image; average over images
        in dB. Identical images have 100 dB.
    """
    error = (images.clamp(0, 1) - truth.clamp(0, 1)).square().mean(1, keepdim=True)
    counted = error.new_ones(error.shape) if mask is None else mask.to(error)
    mse = (error * counted).flatten(1).sum(1) / counted.flatten(1).sum(1)
    return -10 * mse.clamp_min(SMALLEST_MSE).log10()


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95% confidence interval, `mean` ± `margin`; None from a single value."""

    mean: float
    margin: float | None

    def __str__(self) -> str:
        return f"{self.mean:.2f}" + ("" if self.margin is None else f" ± {self.margin:.2f}")


def estimate(values: Sequence[float]) -> Estimate:
    """The mean over people, with Student's t interval."""
    n = len(values)
    margin = _t975(n - 1) * stdev(values) / math.sqrt(n) if n > 1 else None
    return Estimate(fmean(values), margin)


def _t975(freedom: int) -> float:
    """97.5% quantile of Student's t (Abramowitz & Stegun 26.7.5), within 1% from two degrees on."""
    z = NormalDist().inv_cdf(0.975)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return sum(term / freedom**i for i, term in enumerate(terms))
