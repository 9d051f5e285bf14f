"""Measures the packaged model again and writes docs/reports: python dev/reports.py ASSETS [--photos DIR]

From a commit without changes alone, so that each report names what was measured. Some hours on two cores: the
synthetic heads 45 minutes, bench-heads-v1 four hours to draw and one to measure; what is finished is kept in
--work. benchmarks/report.py does the same for speed.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "benchmarks"))
from report import changed, commit  # noqa: E402

from facelift import FaceLift  # noqa: E402
from facelift.evaluate import evaluate  # noqa: E402
from facelift.synth.bench import make_bench  # noqa: E402
from facelift.synth.dataset import synthesize  # noqa: E402

REPORTS = ROOT / "docs/reports"
TITLES = {"synthetic-heads": "synthetic heads", "bench-heads-v1": "bench-heads-v1"}
PEOPLE, TRAINING, SIZE, VIEWS = 20, 50, 256, 12  # held out, for the baselines, pixels, of an orbit


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw what is missing, measure, publish."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("assets", type=Path, help="MakeHuman's data folder")
    parser.add_argument("--photos", type=Path, default=ROOT / "examples/portrait.jpg")
    parser.add_argument("--work", type=Path, default=ROOT / "data/published")
    parser.add_argument("--only", choices=TITLES)
    options = parser.parse_args(arguments)
    if file := changed():
        sys.exit(f"The reports name a commit, and {file} differs from it: commit first.")
    model, work = FaceLift.from_pretrained(), options.work
    synthesize(work / "mean", options.assets, TRAINING, SIZE, 1000, "all", VIEWS, truth="depth")
    for name in TITLES:
        if options.only in (None, name):
            heads, out = work / name, work / f"{name}-report"
            if name == "bench-heads-v1":
                make_bench(heads, options.assets)
            else:
                synthesize(heads, options.assets, PEOPLE, SIZE, 0, "all", VIEWS, truth="depth")
            photos = options.photos if name == "synthetic-heads" else None
            evaluate(model, heads, out, work / "mean", photos, size=SIZE)
            publish(name, out, REPORTS)


def publish(name: str, report: Path, folder: Path) -> None:
    """Put a report's page, its curves and its pictures under one name into `folder`."""
    text = (report / "report.md").read_text(encoding="utf-8")
    measured = f"Commit {commit()}, {datetime.now(UTC):%Y-%m-%d}."
    text = text.replace("# Evaluation", f"# Report: {TITLES[name]}\n\n{measured}", 1)
    text = text.replace("(curves.svg)", f"({name}-curves.svg)")
    text += f"\n## Pictures\n\n![The truth, the predictions and the differences]({name}.jpg)\n"
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
    shutil.copyfile(report / "curves.svg", folder / f"{name}-curves.svg")
    with Image.open(report / "grid.png") as grid:
        grid.convert("RGB").save(folder / f"{name}.jpg", quality=85)
    print(folder / f"{name}.md")


if __name__ == "__main__":
    main()
