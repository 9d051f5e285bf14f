"""`facelift reconstruct`: photos become heads."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from facelift.choices import Matting, Scheduler
from facelift.cli.batch import (
    BatchSizeOption,
    GpusOption,
    RayOption,
    StorageOption,
    WorkersOption,
    show_batch,
)
from facelift.cli.errors import sentence
from facelift.cli.options import (
    MODEL,
    OUTPUT,
    OWN,
    PHOTO,
    DeviceOption,
    DTypeOption,
    MemoryOption,
    ModelOption,
    PlyLayoutOption,
    RevisionOption,
    finite,
)
from facelift.cli.process import interruption
from facelift.cli.terminal import complain, duration, say, status, tell, tell_timings, track
from facelift.errors import UserError


def reconstruct(
    photo: Annotated[
        list[str],
        typer.Argument(
            help="Photos of faces; folders, globs, tar and parquet files of photos.", metavar="PHOTO..."
        ),
    ],
    matting: Annotated[
        Matting, typer.Option(help="How to remove the background.", rich_help_panel=PHOTO)
    ] = "auto",
    prepared: Annotated[
        bool,
        typer.Option(
            "--prepared",
            help="The photo is already a centred square portrait on white.",
            rich_help_panel=PHOTO,
        ),
    ] = False,
    face: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Which face, where there are several: 0 is the one used by itself, 1 the next largest.",
            rich_help_panel=PHOTO,
            show_default="the largest",
        ),
    ] = None,
    tilt: Annotated[
        float,
        typer.Option(
            min=-180.0,
            max=180.0,
            callback=finite,
            help="Degrees clockwise by which the head leans: the photo is turned back by them.",
            rich_help_panel=PHOTO,
        ),
    ] = 0.0,
    zoom: Annotated[
        float,
        typer.Option(
            min=0.5,
            max=2.0,
            callback=finite,
            help="How much larger the head is framed than is found right.",
            rich_help_panel=PHOTO,
        ),
    ] = 1.0,
    shift: Annotated[
        tuple[float, float],
        typer.Option(
            metavar="X Y",
            help="Shares of the portrait's side, -0.5 to 0.5, by which the head is moved right and down.",
            rich_help_panel=PHOTO,
        ),
    ] = (0.0, 0.0),
    model: ModelOption = None,
    revision: RevisionOption = None,
    seed: Annotated[
        int,
        typer.Option(
            min=0,
            max=2**63 - 1,
            help="Seed of the generated views: another one, another head.",
            rich_help_panel=MODEL,
        ),
    ] = 0,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Denoising steps.", rich_help_panel=MODEL, show_default=OWN)
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option(
            min=0.0, callback=finite, help="Guidance scale.", rich_help_panel=MODEL, show_default=OWN
        ),
    ] = None,
    eta: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            callback=finite,
            help="Noise between DDIM steps.",
            rich_help_panel=MODEL,
            show_default=OWN,
        ),
    ] = None,
    scheduler: Annotated[
        Scheduler,
        typer.Option(
            help="How to denoise: the model's own DDIM, or DPM-Solver++ in 20 steps.", rich_help_panel=MODEL
        ),
    ] = "ddim",
    refinement: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Steps that fit the head to the photo and the views; 0 for none.",
            rich_help_panel=MODEL,
            show_default=OWN,
        ),
    ] = None,
    fit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="A setting of that fit, see facelift/refine/config.py; flatness=0 switches one loss off. "
            "May be given several times.",
            rich_help_panel=MODEL,
            show_default=OWN,
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="Folder for the results, one folder a photo.", rich_help_panel=OUTPUT
        ),
    ] = Path("outputs"),
    frames: Annotated[
        int,
        typer.Option(min=1, help="Length of the turntable, at 30 frames a second.", rich_help_panel=OUTPUT),
    ] = 150,
    size: Annotated[
        int | None,
        typer.Option(
            min=16,
            max=4096,
            help="Side of the turntable in pixels.",
            rich_help_panel=OUTPUT,
            show_default=OWN,
        ),
    ] = None,
    no_turntable: Annotated[
        bool, typer.Option("--no-turntable", help="Make no video.", rich_help_panel=OUTPUT)
    ] = False,
    html: Annotated[
        bool,
        typer.Option(
            "--html", help="Make head.html, a page to send: the head in 3D.", rich_help_panel=OUTPUT
        ),
    ] = False,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            metavar="SUFFIX",
            help="Write the head as this, too, beside gaussians.ply: compressed.ply, splat, obj … May be "
            "given several times.",
            rich_help_panel=OUTPUT,
            show_default="none",
        ),
    ] = None,
    ply_layout: PlyLayoutOption = None,
    timings: Annotated[
        bool,
        typer.Option("--timings", help="Print how long each stage took.", rich_help_panel=OUTPUT),
    ] = False,
    device: DeviceOption = "auto",
    dtype: DTypeOption = "auto",
    memory: MemoryOption = "auto",
    workers: WorkersOption = None,
    ray: RayOption = None,
    gpus_per_worker: GpusOption = None,
    batch_size: BatchSizeOption = None,
    storage: StorageOption = None,
) -> None:
    """Turn a photo of a face into a 3D head: Gaussians, six views, renders and a turntable video."""
    from facelift.batch.photos import is_archive
    from facelift.results import find_photos, folder_names

    warnings.filterwarnings("ignore", module="PIL")  # about the metadata of photos that are read all the same
    asked_for = (workers, ray, gpus_per_worker, batch_size, storage)
    batch = any(value is not None for value in asked_for) or any(map(is_archive, photo))
    photos = find_photos(photo)
    with status("Loading"):
        from facelift.export import PAGE, chosen_suffix
        from facelift.formats.files import atomic_folder
        from facelift.pipeline import FaceLift
        from facelift.portrait import Framing
        from facelift.results import check_place, owned_names, write_results
        from facelift.timings import Timings

    chosen = [chosen_suffix(format) for format in formats or ()]
    if html and PAGE not in chosen:
        chosen.append(PAGE)
    framing = Framing(face, tilt, zoom, shift)
    fit = fit or []
    if fit and refinement is not None:
        fit = [*fit, f"steps={refinement}"]
    if batch:
        if timings:
            raise UserError(
                "--timings times one process: leave it out, index.parquet has the time of each photo."
            )
        from facelift.batch import Job, reconstruct_batch

        sampling = {"steps": steps, "guidance": guidance, "eta": eta, "scheduler": scheduler}
        preparation = {"matting": matting, "prepared": prepared, "framing": framing}
        job = Job(
            {"model": model, "revision": revision, "dtype": dtype},
            {"device": device, "memory": memory},
            preparation if framing != Framing() else preparation | {"framing": None},
            {"seed": seed, "refinement": refinement, **sampling},
            tuple(fit),
            {"frames": None if no_turntable else frames, "size": size, "formats": chosen},
            ply_layout,
            batch_size,
        )
        rows = reconstruct_batch(photo, out, job, workers, ray, gpus_per_worker, storage or "folders")
        show_batch(rows, out)
        return
    clock = Timings()
    with clock("load"):  # no spinner: a download has its own progress bars
        pipeline = FaceLift.from_pretrained(
            model, device=device, revision=revision, dtype=dtype, memory=memory
        )
    seconds = pipeline.estimate(steps, guidance, scheduler)
    if seconds is not None:
        say(f"A photo takes about {duration(seconds)} on this CPU, as far as a small part of the work tells.")

    fitting: Any = refinement
    if fit:
        fitting = pipeline.settings.refinement.changed(fit)

    failures = 0
    for path, name in zip(photos, folder_names(photos), strict=True):
        folder = out / name
        try:
            check_place(folder, path)
            with atomic_folder(folder, owned_names()) as aside:
                with status(f"Reconstructing {path}") as show:
                    head = pipeline(
                        path,
                        seed=seed,
                        steps=steps,
                        guidance=guidance,
                        eta=eta,
                        scheduler=scheduler,
                        matting=matting,
                        prepared=prepared,
                        refinement=fitting,
                        timings=clock,
                        progress=show,
                        framing=None if framing == Framing() else framing,
                    )
                for warning in head.warnings:
                    say(f"{path}: {warning}")
                if ply_layout is not None:
                    head = replace(head, ply_layout=ply_layout)
                write_results(
                    aside,
                    head,
                    None if no_turntable else frames,
                    size,
                    partial(track, total=frames),
                    clock,
                    chosen,
                    path.stem,
                )
        except Exception as error:
            if len(photos) == 1 or interruption.requested:
                raise
            failures += 1
            reason = sentence(error) or f"{type(error).__name__}: {error}"
            complain(f"{path}: {reason.removeprefix(f'{path} ')}")
        else:
            tell(f"{path} -> {folder}")

    if timings:
        tell_timings(clock.rows())
    if len(photos) > 1:
        tell(f"{len(photos) - failures} of {len(photos)} photos reconstructed, {failures} failed.")
    if failures:
        raise typer.Exit(1)
