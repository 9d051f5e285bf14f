"""`facelift evaluate`: a model is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facelift.cli.options import DATA, MODEL, OUTPUT, DeviceOption, ModelOption
from facelift.cli.terminal import status, tell


def evaluate(
    heads: Annotated[
        Path,
        typer.Argument(
            help="A set of heads that were not trained on, in FaceLift's layouts.", metavar="HEADS"
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="Folder for the report: JSON, Markdown, HTML, pictures.",
            rich_help_panel=OUTPUT,
        ),
    ] = Path("outputs/evaluation"),
    train: Annotated[
        Path | None,
        typer.Option(
            help="Folder with canonical/ and orbit/ of training heads, for the baselines.",
            rich_help_panel=DATA,
        ),
    ] = None,
    photos: Annotated[
        Path | None, typer.Option(help="A real photo, or a folder of them.", rich_help_panel=DATA)
    ] = None,
    model: ModelOption = None,
    people: Annotated[
        int | None,
        typer.Option(
            "--people",
            "--heads",
            min=1,
            help="How many people to measure on; all if not given.",
            rich_help_panel=DATA,
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            min=16, help="Pixels at which all is compared; the set's own if not given.", rich_help_panel=DATA
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="Seed of the generated views.", rich_help_panel=MODEL)
    ] = 0,
    fetch: Annotated[
        bool,
        typer.Option(
            "--fetch",
            help="Allow downloads of what LPIPS, DreamSim and ArcFace need.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    device: DeviceOption = "auto",
) -> None:
    """Measure a model on heads that it was never trained on, against baselines, and on real photos.

    A run that was stopped goes on where it was.
    """
    with status("Loading"):
        from facelift.evaluate import evaluate as measure
        from facelift.evaluate import to_markdown
        from facelift.pipeline import FaceLift
        from facelift.weights import DEFAULT_MODEL

        pipeline = FaceLift.from_pretrained(model, device=device)
    report = measure(pipeline, heads, out, train, photos, people, size, seed, model or DEFAULT_MODEL, fetch)
    print(to_markdown(report))
    tell(f"{heads} -> {out}")
