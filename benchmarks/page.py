"""How large pages are, how long they take to write and to open: python benchmarks/page.py [--quick]"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from timing import Row, best, main

from facelift.formats.ply import write_ply
from facelift.gaussians import Gaussians
from facelift.page import write_html

TITLE = "Pages that show a head"
READY = "body[data-state=ready]"


def measure(quick: bool) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        for count in (5_000, 50_000) if quick else (5_000, 20_000, 50_000, 200_000):
            page = Path(folder) / f"{count}.html"
            yield writing(page, count)
            yield opening(page, count)


def writing(page: Path, count: int) -> Row:
    """The page of a ball, as large as a head and with as many Gaussians."""
    normals = torch.nn.functional.normalize(torch.randn(count, 3), dim=-1)
    ball = Gaussians(
        means=0.5 * normals,
        quats=torch.randn(count, 4),
        scales=torch.rand(count, 3) / count**0.5,
        opacities=torch.rand(count),
        sh0=torch.randn(count, 3),
    )
    ply = page.with_suffix(".ply")
    seconds, plain = best(lambda: write_html(page, ball)), best(lambda: write_ply(ply, ball))
    note = f"{page.stat().st_size / 1e6:.2f} MB; PLY {ply.stat().st_size / 1e6:.2f} MB"
    return Row(f"`write_html`, {count:,} Gaussians", seconds, "`write_ply`", plain, note=note)


def opening(page: Path, count: int) -> Row:
    """From the address to the first picture, 512 pixels square, with WebGL in software on the CPU."""
    what = f"opened in headless Chromium, {count:,} Gaussians"
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        return Row(what, float("nan"), "not measured: Chromium is missing")
    from playwright.sync_api import sync_playwright

    flags = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=flags)
        tab = browser.new_page(viewport={"width": 512, "height": 512})

        def open_it() -> None:
            tab.goto("about:blank")
            tab.goto(page.as_uri())
            tab.wait_for_selector(READY)

        seconds = best(open_it)
        browser.close()
    return Row(what, seconds, "WebGL in software")


if __name__ == "__main__":
    main(TITLE, measure)
