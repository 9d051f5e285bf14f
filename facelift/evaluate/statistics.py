"""How sure a mean over people is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy.stats import t as student_t


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95% confidence interval, `mean` ± `margin`; None from a single value."""

    mean: float
    margin: float | None

    def text(self, digits: int = 2) -> str:
        """As it stands in tables: `27.49 ± 0.69`."""
        return f"{self.mean:.{digits}f}" + ("" if self.margin is None else f" ± {self.margin:.{digits}f}")


def estimate(values: Sequence[float]) -> Estimate:
    """The mean over people, with Student's t interval."""
    n = len(values)
    margin = float(student_t.ppf(0.975, n - 1)) * stdev(values) / math.sqrt(n) if n > 1 else None
    return Estimate(fmean(values), margin)
