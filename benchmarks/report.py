"""Measures all speeds and writes benchmarks/REPORT.md: python benchmarks/report.py [--quick | --long]

Runs every script of this folder that has a `TITLE` (see timing.py), about five minutes on two cores, and with
--long those in PRINTED, half an hour more; each in a process of its own. What they found stands beneath a
description of the machine; one that fails says why in its place. REPORT.md is only written from a commit.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from timing import ASSETS, Row, run, table

from facelift.formats.files import atomic_path

HERE = Path(__file__).resolve().parent
PUBLISHED = HERE / "REPORT.md"
PACKAGES = ("torch", "numba", "diffusers", "facelift")
PRINTED = {
    "renderers": ("Both renderers of heads, view by view", [str(ASSETS)]),
    "full_size": ("FaceLift's own size, with random weights", []),
}
"""Scripts with a table of their own: title and arguments."""

FIRST = ("pipeline", "render", "training", "synth")  # the others follow by name


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and smaller cases")
    parser.add_argument("--long", action="store_true", help="Cycles and FaceLift's own size as well")
    parser.add_argument("--out", type=Path, default=PUBLISHED)
    parser.add_argument("--only", nargs="+", help="names of scripts, without .py")
    options = parser.parse_args(arguments)
    if options.out == PUBLISHED and (file := changed()):
        sys.exit(f"{PUBLISHED.name} names a commit, and {file} differs from it: commit first, or give --out.")
    parts = ["# Speed", machine(options.quick)]
    for script in scripts(HERE):
        if not options.only or script.stem in options.only:
            print(script.name, flush=True)
            parts.append(section(script, options.quick))
    for name, (title, words) in PRINTED.items():
        if name in (options.only or (PRINTED if options.long else ())):
            print(f"{name}.py", flush=True)
            parts.append(printed(HERE / f"{name}.py", title, words))
    with atomic_path(options.out) as aside:
        aside.write_text("\n\n".join(parts) + "\n")
    print(options.out)


def scripts(folder: Path) -> list[Path]:
    """Those that take part, FIRST first."""
    texts = {path: path.read_text(encoding="utf-8") for path in folder.glob("*.py")}
    found = [path for path, text in texts.items() if re.search(r"^TITLE = ", text, re.M)]
    order = {name: i for i, name in enumerate(FIRST)}
    return sorted(found, key=lambda path: (order.get(path.stem, len(order)), path.stem))


def section(script: Path, quick: bool) -> str:
    """A script's title and its table, or why there is none."""
    title = re.search(r'^TITLE = "(.*)"$', script.read_text(encoding="utf-8"), re.M)
    head = f"## {title[1] if title else script.stem}\n\n`benchmarks/{script.name}`"
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder, "rows.json")
        command = [sys.executable, str(script), "--json", str(rows), *(["--quick"] if quick else [])]
        try:
            taken = run(command)
            found = [Row(**row) for row in json.loads(rows.read_text(encoding="utf-8"))]
        except (RuntimeError, OSError, ValueError, TypeError) as error:
            return f"{head}: not measured: {error}"
    peak = taken.peak_bytes / 2**20
    in_all = f"{taken.seconds:.0f} s in all, {taken.cpu_seconds:.0f} s of CPU, peak memory {peak:.0f} MB"
    return f"{head}: {in_all}.\n\n{table(found)}"


def printed(script: Path, title: str, words: list[str]) -> str:
    """What a script prints, as it is, or why there is nothing."""
    head = f"## {title}\n\n`benchmarks/{script.name}`"
    try:
        output = run([sys.executable, str(script), *words]).output.strip()
    except (RuntimeError, OSError) as error:
        return f"{head}: not measured: {error}"
    if not any(line.startswith("|") for line in output.splitlines()):
        output = f"```text\n{output}\n```"
    return f"{head}:\n\n{output}"


def machine(quick: bool) -> str:
    """What it was measured on, and how busy that was."""
    versions = ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit()}{', quick cases only' if quick else ''}. "
        f"{_processor()}, {cores} cores, {memory:.0f} GB of memory; {platform.system()} "
        f"{platform.machine()}, Python {platform.python_version()}, {versions}. "
        f"Load average of the minute before: {os.getloadavg()[0]:.1f}.\n\n"
        "Times are wall times; CPU is that of all threads. Every piece of work stands beside the same work "
        "done otherwise, on this machine in this run: *reference / time* says how many times faster it is."
    )


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    return (done.stdout.strip() or "unknown") + ("-dirty" if changed() else "")


def changed() -> str:
    """The first file of the repository that is not as committed, the report itself aside; "" if none is."""
    command = ["git", "diff", "HEAD", "--name-only", "--", ":/", f":(exclude){PUBLISHED.name}"]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    return (done.stdout.splitlines() or [""])[0]


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    found = (
        re.search(r"model name\s*:\s*(.*)", information.read_text(encoding="utf-8"))
        if information.exists()
        else None
    )
    return found[1] if found else platform.processor() or "unknown processor"


if __name__ == "__main__":
    main()
