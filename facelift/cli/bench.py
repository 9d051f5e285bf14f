"""`facelift bench`: the path-traced test set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facelift.cli.terminal import tell


def bench(
    out: Annotated[Path, typer.Argument(help="Folder for the set.", metavar="OUT")],
    assets: Annotated[Path, typer.Option(help="MakeHuman's or MPFB's data folder.")],
    draft: Annotated[
        bool, typer.Option("--draft", help="Draw it with OpenGL, quickly, under another name.")
    ] = False,
) -> None:
    """Make the test set bench-heads-v1: 24 people path-traced under two lights, 30 views each at 512 x 512.

    It takes hours; a run that was stopped goes on where it was.
    """
    from facelift.synth.bench import BENCH_HEADS_V1, draft_of, make_bench

    made = make_bench(out, assets, draft_of(BENCH_HEADS_V1) if draft else BENCH_HEADS_V1)
    tell(f"{len(made)} heads in {out}")
