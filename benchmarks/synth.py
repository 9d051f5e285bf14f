"""How long the generator takes for a head: python benchmarks/synth.py

A head from its seed to its files, six views of 256 x 256 with depth, drawn by OpenGL and by Cycles.
MakeHuman's data folder is where FACELIFT_ASSETS says.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO

import timing
from timing import ASSETS, Row

from facelift.errors import UserError
from facelift.synth.dataset import synthesize

TITLE = "The generator of heads"
SIZE = 256


def measure(quick: bool) -> Iterator[Row]:
    size = 64 if quick else SIZE
    ours = seconds_per_head("opengl", size, 1 if quick else 5)
    what = f"one head, six views at {size}², OpenGL"
    try:
        traced = seconds_per_head("cycles", size, 1)
    except UserError as reason:
        yield Row(what, ours, f"Cycles not measured: {reason}")
    else:
        yield Row(what, ours, "Cycles, 16 paths a pixel", traced)


def seconds_per_head(renderer: str, size: int, heads: int) -> float:
    """What `heads` more heads add to a run of one: assets and the renderer are opened once."""
    return (_run(renderer, size, 1 + heads) - _run(renderer, size, 1)) / heads


def _run(renderer: str, size: int, heads: int) -> float:
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()):
        synthesize(folder, ASSETS, heads, size, 1000, "canonical", renderer=renderer)
    return time.perf_counter() - start


if __name__ == "__main__":
    timing.main(TITLE, measure)
