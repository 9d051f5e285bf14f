"""How fast synthetic heads are made, and in how much memory.

    python benchmarks/heads.py ASSETS [--workers 1 2] [--sizes 256 512] [--rigs canonical orbit]

Times `facelift synth` itself, the canonical rig with six views a head and the orbit with 32: once for a few
heads, once for more, and counts what the others cost, so that starting up and reading most of the assets, a
matter of seconds, is left out; it is shown too.
Everything is in: the person, the mesh, the light, all ground truth, the files. The rate by CPU time is what
one core would do with nothing else to do. Memory is the peak of what all processes occupy, what they share
counted once. `--out` keeps the table as Markdown, by default in benchmarks/heads.md.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

VIEWS = {"canonical": 6, "orbit": 32}
WARMING = 16  # heads a worker, in which it meets most of the assets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("assets", type=Path)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--rigs", choices=VIEWS, nargs="+", default=list(VIEWS))
    parser.add_argument("--heads", type=int, default=48)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    args = parser.parse_args()
    rows = []
    for rig, size, workers in itertools.product(args.rigs, args.sizes, args.workers):
        few = WARMING * workers
        start, start_cpu, _ = run(args.assets, rig, few, size, workers)
        whole, cpu, memory = run(args.assets, rig, few + args.heads, size, workers)
        rate, by_cpu = (args.heads * VIEWS[rig] / seconds for seconds in (whole - start, cpu - start_cpu))
        cells = f"{rate:.1f} | {by_cpu:.1f} | {start:.1f} s | {memory / 2**10:.0f} MB"
        rows.append(f"| {rig} | {size} | {workers} | {cells} |")
        print(rows[-1], flush=True)
    table = "\n".join(
        [
            "# Making synthetic heads",
            "",
            f"By `python benchmarks/heads.py ASSETS`: {model()}, {os.cpu_count()} cores,",
            f"OpenGL by {opengl()}. The machine's load, all in all, was {os.getloadavg()[1]:.1f}.",
            "",
            f"| rig | size | workers | views/s | by CPU time | start, {WARMING} heads each | peak memory |",
            "|---|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )
    args.out.write_text(table)
    print(f"-> {args.out}")


def run(assets: Path, rig: str, heads: int, size: int, workers: int) -> tuple[float, float, int]:
    """Seconds, CPU seconds and peak memory in KiB of making that many heads."""
    with tempfile.TemporaryDirectory() as out:
        options = f"--rig {rig} --heads {heads} --size {size} --workers {workers}".split()
        started, used = time.perf_counter(), cpu_seconds()
        process = subprocess.Popen(
            [sys.executable, "-m", "facelift.cli", "synth", out, "--assets", assets, *options],
            stdout=subprocess.DEVNULL,
        )
        peak = [0]
        threading.Thread(target=watch, args=(process, peak), daemon=True).start()
        if process.wait():
            raise SystemExit("facelift synth failed")
        return time.perf_counter() - started, cpu_seconds() - used, peak[0]


def watch(process: subprocess.Popen, peak: list[int]) -> None:
    while process.poll() is None:
        peak[0] = max(peak[0], sum(private(pid) for pid in family(process.pid)))
        time.sleep(2)  # reading takes time of its own


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [one for child in task.read_text().split() for one in family(int(child))]
        except OSError:  # it has just ended
            continue
    return found


def private(pid: int) -> int:
    """KiB that a process occupies; pages that several share count in parts."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def cpu_seconds() -> float:
    """Of all children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def model() -> str:
    names = [
        line
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    return names[0].split(":")[1].strip() if names else platform.processor()


def opengl() -> str:
    import moderngl

    context = moderngl.create_context(standalone=True, require=330, backend="egl")
    return context.info["GL_RENDERER"]


if __name__ == "__main__":
    main()
