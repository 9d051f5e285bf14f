"""How sure a mean over people is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95% confidence interval, `mean` ± `margin`; None from a single value."""

    mean: float
    margin: float | None

    def text(self, digits: int = 2) -> str:
        return f"{self.mean:.{digits}f}" + ("" if self.margin is None else f" ± {self.margin:.{digits}f}")


def estimate(values: Sequence[float]) -> Estimate:
    """The mean over people, with Student's t interval."""
    n = len(values)
    margin = _t975(n - 1) * stdev(values) / math.sqrt(n) if n > 1 else None
    return Estimate(fmean(values), margin)


def _t975(freedom: int) -> float:
    """97.5% quantile of Student's t: exact for one and two degrees of freedom, within 1% beyond.

    Source: Abramowitz & Stegun 26.7.5.
    """
    if freedom <= 2:
        return (12.7062, 4.30265)[freedom - 1]
    z = NormalDist().inv_cdf(0.975)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return sum(term / freedom**i for i, term in enumerate(terms))
