"""`facelift evaluate`: a model is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facelift.choices import Align
from facelift.cli.options import DATA, MODEL, OUTPUT, DeviceOption, ModelOption
from facelift.cli.terminal import status, tell
from facelift.errors import UserError

BENCHMARK = "Public benchmarks"


def evaluate(
    heads: Annotated[
        Path,
        typer.Argument(
            help="A set of heads that were not trained on, in FaceLift's layouts, or a folder of Ava-256, "
            "NeRSemble, Cafca or FaceScape.",
            metavar="HEADS",
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
    frame: Annotated[
        str | None,
        typer.Option(
            help="The instant: a frame's number (Ava-256), SEQUENCE/NUMBER (NeRSemble), "
            "EXPRESSION_ENVIRONMENT (Cafca) or an expression (FaceScape).",
            rich_help_panel=BENCHMARK,
            show_default="a neutral one",
        ),
    ] = None,
    cameras: Annotated[
        str | None,
        typer.Option(
            help="Names of the cameras to take, with commas between.",
            rich_help_panel=BENCHMARK,
            show_default="all",
        ),
    ] = None,
    input_view: Annotated[
        str | None,
        typer.Option(
            help="The camera whose photo is shown.",
            rich_help_panel=BENCHMARK,
            show_default="the frontal one",
        ),
    ] = None,
    align: Annotated[
        Align,
        typer.Option(
            help="How heads come into the frame of the true views: cameras, landmarks, or auto.",
            rich_help_panel=BENCHMARK,
        ),
    ] = "auto",
    answers: Annotated[
        list[str] | None,
        typer.Option(
            help="Heads of another system from the same photos: NAME=FOLDER of PERSON.ply.",
            rich_help_panel=BENCHMARK,
        ),
    ] = None,
    inputs: Annotated[
        Path | None,
        typer.Option(
            help="Only write the photos that are shown, for other systems to be run on, into this folder.",
            rich_help_panel=BENCHMARK,
        ),
    ] = None,
) -> None:
    """Measure a model on heads that it was never trained on, against baselines, and on real photos.

    A run that was stopped goes on where it was.
    """
    with status("Loading"):
        from facelift.evaluate import evaluate as measure
        from facelift.evaluate import to_markdown
        from facelift.evaluate.benchmarks.answers import Answers
        from facelift.evaluate.benchmarks.run import evaluate_benchmark, write_inputs
        from facelift.evaluate.benchmarks.sample import BENCHMARKS, Choice, detect
        from facelift.pipeline import FaceLift
        from facelift.weights import DEFAULT_MODEL

        found = detect(heads)
        of_benchmark = {
            "--frame": frame,
            "--cameras": cameras,
            "--input-view": input_view,
            "--answers": answers,
            "--inputs": inputs,
        }
        if found is None and any(of_benchmark.values()):
            option = next(name for name, value in of_benchmark.items() if value)
            raise UserError(
                f"{heads} is no folder of {', '.join(BENCHMARKS)}, to which alone {option} applies."
            )
        if found and (train or photos):
            raise UserError(
                f"{heads} is of {found[0]}: --train and --photos belong to sets of synthetic heads."
            )
        systems = [Answers.parse(text) for text in answers or ()]
        names = None if cameras is None else [name.strip() for name in cameras.split(",")]
        choice = Choice(frame, names, input_view, align, size or Choice.size, people)
        if found and inputs is not None:
            for path in write_inputs(heads, inputs, choice):
                print(path)
            return
        pipeline = FaceLift.from_pretrained(model, device=device)
    name = model or DEFAULT_MODEL
    if found:
        report = evaluate_benchmark(pipeline, heads, out, choice, systems, seed, name, fetch)
    else:
        report = measure(pipeline, heads, out, train, photos, people, size, seed, name, fetch)
    print(to_markdown(report))
    tell(f"{heads} -> {out}")
