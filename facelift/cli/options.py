"""Options that several commands share, and the groups under which `--help` lists options."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from facelift.choices import DType, Frame, Memory, PlyLayout

PHOTO, MODEL, OUTPUT, SPEED = "Photo", "Model", "Output", "Speed"
BATCH = "Many photos"
CAMERA = "Camera"
PEOPLE, PICTURES, DATA = "People", "Pictures", "Data"
"""Groups of options, for `rich_help_panel`."""

OWN = "the model's own"
"""What is shown as the default of what a model decides itself."""


def finite(value: float | None) -> float | None:
    """Refuse what is a number for Python and nobody else; for `callback`.

    Raises:
        typer.BadParameter: infinite, or not a number.
    """
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a number to compute with.")
    return value


DeviceOption = Annotated[
    str,
    typer.Option(
        help="Where to compute: cpu, cuda, cuda:1, mps; auto takes a CUDA GPU if there is one.",
        rich_help_panel=SPEED,
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        help="A model's name, folder, or owner/model on the hub.",
        rich_help_panel=MODEL,
        show_default="the packaged one",
    ),
]
RevisionOption = Annotated[
    str | None,
    typer.Option(
        help="Revision of a model on the hub.",
        rich_help_panel=MODEL,
        show_default="the one that this version was made for, or main",
    ),
]
DTypeOption = Annotated[
    DType,
    typer.Option(
        help="What to compute in; auto is the model's own choice for the device, int8 that with the U-Net's "
        "weights in eight bits, for little memory.",
        rich_help_panel=SPEED,
    ),
]
MemoryOption = Annotated[
    Memory,
    typer.Option(
        help="GPU memory to take: fast most, sliced less, offload least; auto goes by what is free.",
        rich_help_panel=SPEED,
    ),
]
FrameOption = Annotated[
    Frame | None,
    typer.Option(
        help="Axes of the file: FaceLift's with z up, 3D Gaussian Splatting's with y down (RDF), or "
        "glTF's with y up (RUB).",
        show_default="what its format or the file itself says",
    ),
]
PlyLayoutOption = Annotated[
    PlyLayout | None,
    typer.Option(
        help="How a .ply lists its Gaussians: as every tool reads, as INRIA's code or as FaceLift's does.",
        rich_help_panel=OUTPUT,
        show_default="standard; facelift for FaceLift's own weights",
    ),
]
