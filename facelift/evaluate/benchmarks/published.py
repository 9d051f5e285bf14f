"""Figures that papers publish, to stand beside ours."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One row of a paper's table.

    Attributes:
        method: whose.
        source: the paper.
        benchmark: on which, a key of `sample.BENCHMARKS`.
        psnr, ssim, lpips, dreamsim, arcface: the columns, the last a distance: less is better.
    """

    method: str
    source: str
    benchmark: str
    psnr: float
    ssim: float
    lpips: float
    dreamsim: float
    arcface: float


PUBLISHED = (Published("FaceLift", "arXiv 2412.17812v1", "Cafca", 16.61, 0.797, 0.269, 0.110, 0.157),)
