"""How long files of Gaussians take beside the plain bytes: python benchmarks/formats.py [--quick]"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from timing import Row, best, main

from facelift.formats.ply import read_ply, write_ply
from facelift.gaussians import Gaussians

TITLE = "Files of Gaussians"


def measure(quick: bool) -> Iterator[Row]:
    count = 100_000 if quick else 400_000
    gaussians = Gaussians(
        means=torch.randn(count, 3),
        quats=torch.nn.functional.normalize(torch.randn(count, 4), dim=-1),
        scales=torch.rand(count, 3) * 0.1 + 1e-4,
        opacities=torch.rand(count),
        sh0=torch.randn(count, 3),
    )
    with tempfile.TemporaryDirectory() as folder:
        ply, plain = Path(folder) / "a.ply", Path(folder) / "plain"
        write_ply(ply, gaussians)
        data = ply.read_bytes()
        yield Row(
            f"`write_ply`, {count:,} Gaussians",
            best(lambda: write_ply(ply, gaussians)),
            "`write_bytes` of the same file",
            best(lambda: plain.write_bytes(data)),
        )
        yield Row(
            f"`read_ply`, {count:,} Gaussians",
            best(lambda: read_ply(ply)),
            "`read_bytes` of the same file",
            best(ply.read_bytes),
        )


if __name__ == "__main__":
    main(TITLE, measure)
