"""What the speed benchmarks share: a row of work beside its reference, and how it is timed and told.

A script takes part in `benchmarks/report.py` when it has a line `TITLE = "..."` and a function
`measure(quick: bool) -> Iterator[Row]`, and ends with `timing.main(TITLE, measure)`. Run alone, it prints its
table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ASSETS = Path(
    os.environ.get("FACELIFT_ASSETS", Path(__file__).resolve().parents[2] / "shared/assets/makehuman/data")
)
"""MakeHuman's data folder."""

HEAD = ("what", "time", "CPU", "peak memory", "reference", "its time", "reference / time", "note")


@dataclass(frozen=True)
class Row:
    """One piece of work, and the same work done otherwise in the same run.

    Attributes:
        what: the work.
        seconds: wall time.
        reference: what it stands beside, or why that could not be measured.
        reference_seconds: wall time; None if not measured.
        cpu_seconds: user and system, of all threads; None where it was not asked for.
        peak_bytes: of resident memory; None where it was not asked for.
        note: anything else that was seen.
    """

    what: str
    seconds: float
    reference: str
    reference_seconds: float | None = None
    cpu_seconds: float | None = None
    peak_bytes: float | None = None
    note: str = ""

    def cells(self) -> tuple[str, ...]:
        return (
            self.what,
            duration(self.seconds),
            "" if self.cpu_seconds is None else duration(self.cpu_seconds),
            "" if self.peak_bytes is None else f"{self.peak_bytes / 2**20:.0f} MB",
            self.reference,
            "" if self.reference_seconds is None else duration(self.reference_seconds),
            "" if self.reference_seconds is None else f"{self.reference_seconds / self.seconds:.2f}",
            self.note,
        )


@dataclass(frozen=True)
class Run:
    """What a process took."""

    seconds: float
    cpu_seconds: float
    peak_bytes: float
    output: str


def best(work: Callable[[], object], repeats: int = 3, warm_up: bool = True) -> float:
    """Seconds of the fastest of several runs, after one that does not count."""
    if warm_up:
        work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def run(command: Sequence[str], environment: dict[str, str] | None = None) -> Run:
    """Run a process to its end.

    Raises:
        RuntimeError: it failed; the last line that it said.
    """
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if os.waitstatus_to_exitcode(status) != 0:
        raise RuntimeError((output.strip().splitlines() or ["it said nothing"])[-1])
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Run(seconds, usage.ru_utime + usage.ru_stime, peak, output)


def duration(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def table(rows: Sequence[Row]) -> str:
    """Markdown; columns that no row fills are left out."""
    cells = [row.cells() for row in rows]
    kept = [k for k in range(len(HEAD)) if any(line[k] for line in cells)]
    lines = [HEAD, ["---"] * len(HEAD), *cells]
    return "\n".join("| " + " | ".join(line[k] for k in kept) + " |" for line in lines)


def main(title: str, measure: Callable[[bool], Iterator[Row]]) -> None:
    """Measure, and print the table; `--json FILE` keeps the rows for the report."""
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--quick", action="store_true", help="fewer and smaller cases")
    parser.add_argument("--json", type=Path, help="write the rows there")
    options = parser.parse_args()
    rows = list(measure(options.quick))
    print(f"{title}\n\n{table(rows)}")
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows]))
