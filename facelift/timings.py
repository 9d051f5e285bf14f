"""How long each stage of the work takes."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Timings:
    """Seconds by stage, in the order of first use; a stage that comes again adds up.

    `with timings("matting"): ...` measures a block. Where nobody asked for timings, a fresh `Timings()`
    that nobody reads stands in: `timings = timings or Timings()`.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Measure a block as part of a stage."""
        start = _now()
        try:
            yield
        finally:
            self._seconds[stage] = self._seconds.get(stage, 0.0) + _now() - start

    def rows(self) -> list[tuple[str, float]]:
        """(stage, seconds), in the order of first use."""
        return list(self._seconds.items())


def _now() -> float:
    """The clock, once the GPU has finished what was asked of it so far."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()
