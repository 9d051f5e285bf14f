"""What other busy processes cost the command: python benchmarks/load.py

The whole command on two cores, alone and with others beside it, in turns. With one beside it may take at most
1.8 times as long. Threads that spin while they wait for each other cost far more, in CPU time, too. Needs a
machine that is quiet otherwise.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import timing
from timing import Row, Run, run

TITLE = "The whole command beside other busy processes"
PHOTO = Path(__file__).resolve().parents[1] / "examples/portrait.jpg"
CORES = 2
LIMIT = 1.8
"""Loaded time over idle time, with one process beside."""


def measure(quick: bool) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder, two_cores() as pinned:
        command = [sys.executable, "-m", "facelift.cli", "reconstruct", str(PHOTO), "--out", folder]
        run(command)  # compiles what is not compiled
        turns = [
            {others: beside(command, others) for others in ((0, 1) if quick else (0, 1, 2))}
            for _ in range(1 if quick else 3)
        ]
    for others in list(turns[0])[1:]:
        ratio = median(turn[others].seconds / turn[0].seconds for turn in turns)
        note = f"{ratio:.2f} times as long"
        if others == 1:
            verdict = "passed" if ratio <= LIMIT else "FAILED"
            note += f", at most {LIMIT} allowed: {verdict}"
        if not pinned:
            note += f"; on all {os.cpu_count()} cores"
        yield Row(
            f"facelift reconstruct, {others} busy process{'es' if others > 1 else ''} beside",
            median(turn[others].seconds for turn in turns),
            "alone",
            median(turn[0].seconds for turn in turns),
            median(turn[others].cpu_seconds for turn in turns),
            note=f"{note}; alone {timing.duration(median(turn[0].cpu_seconds for turn in turns))} of CPU",
        )


def beside(command: list[str], others: int) -> Run:
    """Run the command while some processes keep a core busy each."""
    with ExitStack() as stack:
        for _ in range(others):
            busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            stack.callback(busy.wait)
            stack.callback(busy.kill)
        return run(command)


@contextmanager
def two_cores() -> Iterator[bool]:
    """This process and its children on two cores; whether the system can do that."""
    if not hasattr(os, "sched_setaffinity"):
        yield False
        return
    all_cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(all_cores)[:CORES])
    try:
        yield True
    finally:
        os.sched_setaffinity(0, all_cores)


if __name__ == "__main__":
    timing.main(TITLE, measure)
