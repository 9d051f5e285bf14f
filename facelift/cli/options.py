"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

DeviceOption = Annotated[
    str,
    typer.Option(help="Where to compute: cpu, cuda, cuda:1, mps; auto takes a CUDA GPU if there is one."),
]
ModelOption = Annotated[
    str | None,
    typer.Option(help="A model's name, folder, or owner/model on the hub; the packaged one if not given."),
]
RevisionOption = Annotated[
    str | None, typer.Option(help="Revision of a model on the hub; the pinned one if not given.")
]
