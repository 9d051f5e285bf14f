"""What all evaluations write, and how they name what they measured."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from rich import progress
from rich.console import Console

from facelift.cameras import Cameras
from facelift.evaluate.curves import Chart, draw
from facelift.evaluate.page import page
from facelift.evaluate.protocols import AZIMUTH_PROTOCOLS
from facelift.evaluate.report import Report
from facelift.evaluate.tables import introduction, label, tables, to_markdown
from facelift.pipeline import FaceLift

RESULT_NAMES = frozenset({"report.json", "report.md", "report.html", "grid.png", "curves.svg"})


def write_report(report: Report, folder: Path) -> None:
    """Fill a folder that has grid.png already with the rest of RESULT_NAMES."""
    curves = draw(
        [
            [
                Chart(
                    f"{protocol}: {scale.label}",
                    {
                        label(method): report.by_azimuth(protocol, method, scale.key)
                        for method in report.methods(protocol)
                    },
                )
                for scale in report.scales
            ]
            for protocol in AZIMUTH_PROTOCOLS
            if protocol in report.protocols()
        ]
    )
    pictures = [("Truth, predictions and differences", folder / "grid.png")]
    title = f"Evaluation of {report.facts['model']}"
    (folder / "report.json").write_text(report.to_json(), encoding="utf-8")
    (folder / "report.md").write_text(to_markdown(report, "curves.svg"), encoding="utf-8")
    (folder / "curves.svg").write_text(curves, encoding="utf-8")
    html = page(title, introduction(report), tables(report), curves, pictures)
    (folder / "report.html").write_text(html, encoding="utf-8")


def azimuths_of(cameras: Cameras) -> list[float]:
    """Degrees of each camera, as `facelift.cameras` counts them."""
    x, y, _ = cameras.positions.double().unbind(-1)
    return [round(degrees, 2) % 360 for degrees in torch.rad2deg(torch.atan2(-x, -y)).tolist()]


def checksum(model: FaceLift) -> str:
    """SHA-256 of all weights."""
    digest = hashlib.sha256()
    for part in vars(model).values():
        if isinstance(part, torch.nn.Module):
            for key, tensor in part.state_dict().items():
                digest.update(key.encode())
                digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def track(items: Iterable[Any], what: str) -> Iterable[Any]:
    """The items, with a bar on the terminal that goes with them."""
    return progress.track(items, what, console=Console(stderr=True), transient=True)
