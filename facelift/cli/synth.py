"""`facelift synth` and its `pack`, `scans` and `hair`: synthetic heads, and the assets they are made of."""

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
    recipe: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=2,
            help="How people are sampled: 1 with MakeHuman's sliders, as in bench-heads-v1, 2 as scans and "
            "portraits have them; the newest that the assets have everything for, if not given.",
            rich_help_panel=PEOPLE,
        ),
    ] = None,
    rig: Annotated[
        Rig,
        typer.Option(
            help="The six canonical views, an orbit all round, one view from above, or a photo by a camera "
            "and before a background of its own (recipe 2); or all of them, each in a folder of its own.",
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

        draw_sheet(out, assets, heads, size, seed, recipe)
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
        recipe=recipe,
    )


def pack(
    file: Annotated[Path, typer.Argument(help="The file to write, of at most 40 MB.", metavar="FILE")],
    assets: Annotated[Path, typer.Option(help="MakeHuman's or MPFB's data folder.")],
    scans: Annotated[
        Path | None,
        typer.Option(help="File of `facelift synth scans`; the folder's own scans.npz, if not given."),
    ] = None,
    hdris: Annotated[
        Path | None,
        typer.Option(
            help="Folder of equirectangular .exr or .hdr maps that light people of recipe 2; the folder's "
            "own hdri, if not given."
        ),
    ] = None,
    hair: Annotated[
        Path | None,
        typer.Option(help="File of `facelift synth hair`; the folder's own hairstyles.npz, if not given."),
    ] = None,
) -> None:
    """Put what heads are made of into one file, which --assets takes in place of the folder."""
    from facelift.synth.pack import write_pack

    with status("Packing"):
        write_pack(file, assets, scans, hdris, hair)
    tell(f"{assets} -> {file}, {file.stat().st_size / 1e6:.1f} MB")


def scans(
    facekit: Annotated[Path, typer.Argument(help="A git clone of ICT-FaceKit.", metavar="FACEKIT")],
    file: Annotated[Path, typer.Argument(help="The file to write, of some MB.", metavar="FILE")],
    assets: Annotated[Path, typer.Option(help="MakeHuman's or MPFB's data folder, or a pack of it.")],
) -> None:
    """Learn from scans how faces differ and how they move, for people of recipe 2.

    ICT-FaceKit (github.com/ICT-VGL/ICT-FaceKit, MIT) has modes of scanned faces and ARKit's expressions; they
    are taken over to MakeHuman's head. Put FILE into the folder of assets as scans.npz, or give it to
    `facelift synth pack`.
    """
    from facelift.synth.facekit import FaceKit, make_scans
    from facelift.synth.pack import open_assets

    with status("Reading 150 meshes, then registering two heads"):
        opened = open_assets(assets)
        make_scans(FaceKit.read(facekit), opened).write(file)
    tell(f"{facekit} -> {file}, {file.stat().st_size / 1e6:.1f} MB")


def hair(
    vitruvian: Annotated[
        Path, typer.Argument(help="A git clone of CharMorph-Vitruvian.", metavar="VITRUVIAN")
    ],
    file: Annotated[Path, typer.Argument(help="The file to write, of half a MB.", metavar="FILE")],
    assets: Annotated[Path, typer.Option(help="MakeHuman's or MPFB's data folder, or a pack of it.")],
) -> None:
    """Take groomed hairstyles over to MakeHuman's head, for people of recipe 2.

    CharMorph-Vitruvian (github.com/Upliner/CharMorph-Vitruvian, CC0) has hair in strands. Put FILE into the
    folder of assets as hairstyles.npz, or give it to `facelift synth pack`.
    """
    from facelift.synth.hairstyles import write_hairstyles
    from facelift.synth.pack import open_assets
    from facelift.synth.vitruvian import make_hairstyles

    with status("Registering two heads"):
        styles = make_hairstyles(vitruvian, open_assets(assets))
    write_hairstyles(file, styles)
    tell(f"{vitruvian} -> {file}, {len(styles)} hairstyles, {file.stat().st_size / 1e6:.1f} MB")
