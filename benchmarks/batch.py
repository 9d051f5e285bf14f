"""How fast many photos become heads: python benchmarks/batch.py

Copies of one photo, without turntables, by one worker that has all cores and by a worker for each core, in
turn. The time of a photo is that of a run from its first heads on, without the loading of models.
"""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import timing
from timing import Row

from facelift.batch import Job, reconstruct_batch

TITLE = "Many photos: a worker for each core, and one"
PHOTO = Path(__file__).resolve().parents[1] / "examples/portrait.jpg"


def measure(quick: bool) -> Iterator[Row]:
    cores = os.cpu_count() or 1
    seconds: dict[int, list[float]] = {1: [], cores: []}
    for _ in range(1 if quick else 3):
        for workers, times in seconds.items():
            times.append(seconds_of_a_photo(workers, photos=(2 if quick else 4) * cores))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024  # of the largest worker
    one = min(seconds[1])
    yield Row(f"a photo, {cores} workers", min(seconds[cores]), "1 worker, all cores", one, peak_bytes=peak)


def seconds_of_a_photo(workers: int, photos: int) -> float:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "photos"
        folder.mkdir()
        for number in range(photos):
            shutil.copy(PHOTO, folder / f"{number}.jpg")
        job = Job(place={"device": "cpu"}, files={"frames": None})
        ready = []
        for row in reconstruct_batch([folder], Path(name) / "out", job, workers):
            assert row.status == "done", row.error
            ready.append(time.perf_counter())
    return (ready[-1] - ready[workers - 1]) / (photos - workers)


if __name__ == "__main__":
    timing.main(TITLE, measure)
