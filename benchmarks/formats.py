"""Sizes and times of every format of Gaussians, for one head: python benchmarks/formats.py [--quick]

The head is that of examples/portrait.jpg; with --quick, it is not fitted to its views.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from timing import Row, best, main

from facelift import FaceLift
from facelift.cameras import canonical_rig
from facelift.formats.splats import SPLAT_FORMATS, read_splats, write_splats
from facelift.render import render

TITLE = "Files of Gaussians"
PHOTO = Path(__file__).resolve().parents[1] / "examples/portrait.jpg"


def measure(quick: bool) -> Iterator[Row]:
    gaussians = FaceLift.from_pretrained(device="cpu")(PHOTO, refinement=0 if quick else None).gaussians
    rig = canonical_rig(256)
    drawn = render(gaussians, rig).image
    with tempfile.TemporaryDirectory() as folder:
        ply, plain = Path(folder, "head.ply"), Path(folder, "plain")
        write_splats(ply, gaussians)
        data = ply.read_bytes()
        references = {
            "write": ("plain bytes", best(lambda: plain.write_bytes(data))),
            "read": ("plain bytes", best(ply.read_bytes)),
        }
        for suffix in [format.suffix for format in SPLAT_FORMATS if format.write]:
            path = Path(folder, f"head{suffix}")
            seconds = {
                "write": best(lambda: write_splats(path, gaussians)),  # noqa: B023 - called at once
                "read": best(lambda: read_splats(path)),  # noqa: B023
            }
            size, error = path.stat().st_size, (render(read_splats(path), rig).image - drawn).square().mean()
            psnr = "exact" if error < 1e-12 else f"{float(-10 * torch.log10(error)):.0f} dB"
            note = f"{size / 1e6:.2f} MB, {size / len(gaussians):.0f} bytes a Gaussian; pictures: {psnr}"
            for action, time in seconds.items():
                what = f"{action} `{suffix}`, {len(gaussians):,} Gaussians"
                yield Row(what, time, *references[action], note=note if action == "write" else "")
            if suffix == ".ply":
                references = {action: (f"{action} `.ply`", time) for action, time in seconds.items()}


if __name__ == "__main__":
    main(TITLE, measure)
