"""How long pictures and videos take to write, and how large they are: python benchmarks/pictures.py"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from timing import Row, best, main

from facelift import FaceLift
from facelift.camera_paths import camera_path
from facelift.pictures import write_pictures
from facelift.render import render

TITLE = "Pictures and videos of a head"

PHOTO = Path(__file__).resolve().parents[1] / "examples/portrait.jpg"


def measure(quick: bool) -> Iterator[Row]:
    head = FaceLift.from_pretrained()(PHOTO)
    frames, size = (4, 64) if quick else (150, 512)
    cameras = camera_path("turntable", frames, size)
    drawing = best(lambda: [render(head.gaussians, cameras[i]) for i in range(len(cameras))], 1)
    with tempfile.TemporaryDirectory() as folder:
        for suffix in (".mp4", ".webm", ".mov", ".gif", ".webp", ""):
            for background in ("white", "transparent"):
                if (suffix, background) == (".mp4", "transparent"):
                    continue
                out = Path(folder) / f"{background}{suffix}"
                write = partial(write_pictures, out, head.gaussians, cameras, background=background)
                seconds = best(write, 1, warm_up=False)
                files = [out] if out.is_file() else list(out.iterdir())
                yield Row(
                    f"turntable of {frames} frames at {size}², {suffix or 'PNG files'}, {background}",
                    seconds,
                    "drawing alone",
                    drawing,
                    note=f"{sum(file.stat().st_size for file in files) / 2**20:.1f} MB",
                )


if __name__ == "__main__":
    main(TITLE, measure)
