"""`facelift convert`: FaceLift's released weights become a model in this package's layout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facelift.cli.options import RevisionOption
from facelift.cli.terminal import status, tell


def convert(
    source: Annotated[
        str, typer.Argument(help="A model's folder, or owner/model on the hub.", metavar="SOURCE")
    ],
    out: Annotated[
        Path, typer.Argument(help="Folder for the model in this package's layout.", metavar="OUT")
    ],
    revision: RevisionOption = None,
    half: Annotated[
        bool, typer.Option("--half", help="Store float16: half the size, and as a GPU computes anyway.")
    ] = False,
) -> None:
    """Turn FaceLift's released weights into one folder of safetensors and JSON."""
    import torch

    from facelift.formats.files import atomic_folder
    from facelift.pipeline import FaceLift
    from facelift.weights import MODEL_NAMES

    model = FaceLift.from_pretrained(source, device="cpu", revision=revision, dtype="float32")
    with status(f"Converting {source}"), atomic_folder(out, MODEL_NAMES) as aside:
        model.save_pretrained(aside, torch.float16 if half else None)
    tell(f"{source} -> {out}")
