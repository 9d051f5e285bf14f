"""`facelift train`: one part of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facelift.choices import Stage
from facelift.cli.options import DATA, OUTPUT, SPEED, DeviceOption, finite


def train(
    stage: Annotated[Stage, typer.Argument(help="Which part to train.")],
    config: Annotated[Path, typer.Argument(help="A YAML file, such as those in configs/.", metavar="CONFIG")],
    unposed_photos: Annotated[
        Path | None,
        typer.Option(
            help="A folder of photos that join the training of views or of the reconstructor; of them only "
            "the front view is known.",
            rich_help_panel=DATA,
        ),
    ] = None,
    streaming: Annotated[
        bool,
        typer.Option(
            "--streaming",
            help="Keep heads in memory, and take in those that `facelift synth` is still drawing.",
            rich_help_panel=DATA,
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for checkpoints and logs.",
            rich_help_panel=OUTPUT,
            show_default="runs/mini/views for configs/mini/views.yaml",
        ),
    ] = None,
    max_minutes: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            callback=finite,
            help="How long the whole training takes, resumed runs together; then it is saved.",
            rich_help_panel=SPEED,
            show_default="no limit but the config's",
        ),
    ] = None,
    processes: Annotated[
        int,
        typer.Option(
            min=1,
            help="Processes of this machine that share a training of views or of the reconstructor, one for "
            "each GPU; for several machines use torchrun.",
            rich_help_panel=SPEED,
        ),
    ] = 1,
    device: DeviceOption = "auto",
) -> None:
    """Train one part of the model; a run that was stopped goes on where it was."""
    from facelift.train.launch import launch

    launch(
        processes,
        stage=stage,
        config=config,
        out=out or Path("runs", config.parent.name, config.stem),
        max_minutes=max_minutes,
        device=device,
        unposed_photos=unposed_photos,
        streaming=streaming,
    )
