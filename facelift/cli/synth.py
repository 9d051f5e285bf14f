"""`facelift synth` and `facelift synth pack`: synthetic heads, and the assets that they are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facelift.choices import RendererName, Rig, Storage, Truth
from facelift.cli.options import OUTPUT, PEOPLE, PICTURES, SPEED
from facelift.cli.terminal import status, tell


def synth(
    out: Annotated[Path, typer.Argument(help="Folder for the data set.", metavar="OUT")],
    assets: Annotated[
        Path, typer.Option(help="MakeHuman's or MPFB's data folder, or a pack of it.", rich_help_panel=PEOPLE)
    ],
    heads: Annotated[int, typer.Option(min=1, help="How many people to make.", rich_help_panel=PEOPLE)] = 10,
    size: Annotated[
        int, typer.Option(min=32, max=2048, help="Side of the views in pixels.", rich_help_panel=PICTURES)
    ] = 256,
    seed: Annotated[int, typer.Option(min=0, help="The first person's seed.", rich_help_panel=PEOPLE)] = 1000,
    rig: Annotated[
        Rig,
        typer.Option(
            help="The six canonical views, an orbit all round, or one view from above; or all of them, each "
            "in a folder of its own.",
            rich_help_panel=PICTURES,
        ),
    ] = "canonical",
    views: Annotated[
        int, typer.Option(min=1, help="How many views an orbit has.", rich_help_panel=PICTURES)
    ] = 32,
    renderer: Annotated[
        RendererName,
        typer.Option(help="OpenGL is fast; Cycles traces paths (extra cycles).", rich_help_panel=PICTURES),
    ] = "opengl",
    samples: Annotated[
        int, typer.Option(min=1, help="Paths through a pixel, for Cycles.", rich_help_panel=PICTURES)
    ] = 16,
    truth: Annotated[
        Truth,
        typer.Option(
            help="Depth, normals, parts and landmarks, or depth alone, enough for the model's two stages.",
            rich_help_panel=PICTURES,
        ),
    ] = "all",
    form: Annotated[
        Storage,
        typer.Option(
            "--format", help="A folder a head, or WebDataset shards of 50 heads.", rich_help_panel=OUTPUT
        ),
    ] = "folders",
    workers: Annotated[
        int, typer.Option(min=1, help="Processes on this machine.", rich_help_panel=SPEED)
    ] = 1,
    ray: Annotated[
        str | None,
        typer.Option(
            help="Address of a Ray cluster that sees OUT and the assets; it does the work.",
            rich_help_panel=SPEED,
        ),
    ] = None,
    preview: Annotated[
        bool,
        typer.Option(
            "--preview", help="Only a contact sheet of these people, OUT/preview.png.", rich_help_panel=OUTPUT
        ),
    ] = False,
) -> None:
    """Make synthetic heads with their views and ground truth, to train and to measure on.

    What is there already is checked and kept: a run that was stopped goes on where it was. `facelift synth
    pack --help` tells how to take the assets along to another machine.
    """
    if preview:
        from facelift.synth.preview import preview as draw_sheet

        draw_sheet(out, assets, heads, size, seed)
        return
    from facelift.synth.dataset import synthesize

    synthesize(
        out,
        assets,
        heads,
        size,
        seed,
        rig,
        views,
        renderer=renderer,
        samples=samples,
        truth=truth,
        form=form,
        workers=workers,
        ray=ray,
    )


def pack(
    file: Annotated[Path, typer.Argument(help="The file to write, of at most 40 MB.", metavar="FILE")],
    assets: Annotated[Path, typer.Option(help="MakeHuman's or MPFB's data folder.")],
) -> None:
    """Put what heads are made of into one file, which --assets takes in place of the folder."""
    from facelift.synth.pack import write_pack

    with status("Packing"):
        write_pack(file, assets)
    tell(f"{assets} -> {file}, {file.stat().st_size / 1e6:.1f} MB")
