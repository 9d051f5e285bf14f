"""`facelift bench`: the path-traced test sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facelift.cli.terminal import tell


def bench(
    out: Annotated[Path, typer.Argument(help="Folder for the set.", metavar="OUT")],
    assets: Annotated[
        Path,
        typer.Option(help="MakeHuman's or MPFB's data folder, or a pack; of version 2 with scans and HDRIs."),
    ],
    version: Annotated[
        int, typer.Option(min=1, max=2, help="1: 24 people of recipe 1. 2: 48 people of recipe 2.")
    ] = 1,
    draft: Annotated[
        bool, typer.Option("--draft", help="Draw it with OpenGL, quickly, under another name.")
    ] = False,
) -> None:
    """Make bench-heads-v1 or -v2, a test set: people path-traced under two lights, 30 views each at 512².

    It takes hours; a run that was stopped goes on where it was.
    """
    from facelift.synth.bench import BENCHES, draft_of, make_bench

    made = make_bench(out, assets, draft_of(BENCHES[version]) if draft else BENCHES[version])
    tell(f"{len(made)} heads in {out}")
