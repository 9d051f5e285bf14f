"""How fast a photo becomes a head: python benchmarks/pipeline.py

The whole command in a process of its own, first cold (nothing compiled, no bytecode) and then warm; then each
stage in one process, as it is and in float32.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import timing
from timing import Row, run

from facelift.pipeline import FaceLift
from facelift.results import write_results
from facelift.timings import Timings

TITLE = "One photo: the whole command, and its stages"
PHOTO = Path(__file__).resolve().parents[1] / "examples/portrait.jpg"


def measure(quick: bool) -> Iterator[Row]:
    yield from whole_command(quick)
    yield from stages(quick)


def whole_command(quick: bool) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        caches = {
            "NUMBA_CACHE_DIR": f"{folder}/numba",
            "PYTHONPYCACHEPREFIX": f"{folder}/bytecode",
            "PYTHONDONTWRITEBYTECODE": "",  # where that is set, nothing would ever be warm
        }
        frames = ["--no-turntable"] if quick else []
        command = [sys.executable, "-m", "facelift.cli", "reconstruct", str(PHOTO), "--out", f"{folder}/out"]
        cold = run([*command, *frames], caches)
        warm = run([*command, *frames], caches)
    what = "facelift reconstruct" + (" --no-turntable" if quick else "")
    yield Row(f"{what}, cold", cold.seconds, "", None, cold.cpu_seconds, cold.peak_bytes)
    yield Row(f"{what}, warm", warm.seconds, "cold", cold.seconds, warm.cpu_seconds, warm.peak_bytes)


def stages(quick: bool) -> Iterator[Row]:
    start = time.perf_counter()
    model = FaceLift.from_pretrained(device="cpu")
    yield Row("stage: load the weights", time.perf_counter() - start, "")
    first = one_photo(model, quick)
    ours = one_photo(model, quick)
    plain = one_photo(FaceLift.from_pretrained(device="cpu", dtype="float32"), quick)
    for stage, (seconds, cpu_seconds) in ours.items():
        note = f"the first time {timing.duration(first[stage][0])}"
        yield Row(f"stage: {stage}", seconds, "float32", plain[stage][0], cpu_seconds, note=note)


def one_photo(model: FaceLift, quick: bool) -> dict[str, tuple[float, float]]:
    """Wall and CPU seconds of each stage, in order."""
    clock = BothTimings()
    with tempfile.TemporaryDirectory() as folder:
        head = model(PHOTO, timings=clock)
        write_results(Path(folder), head, frames=None if quick else 150, timings=clock)
    return {stage: (seconds, clock.cpu[stage]) for stage, seconds in clock.rows()}


class BothTimings(Timings):
    """Wall time as ever, and CPU time of all threads beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.cpu: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.process_time()
        with super().__call__(stage):
            yield
        self.cpu[stage] = self.cpu.get(stage, 0.0) + time.process_time() - start


if __name__ == "__main__":
    timing.main(TITLE, measure)
