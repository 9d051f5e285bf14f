"""`facelift compare`: two reports side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facelift.cli.terminal import tell


def compare(
    a: Annotated[Path, typer.Argument(help="Folder of one report.", metavar="A")],
    b: Annotated[Path, typer.Argument(help="Folder of the other.", metavar="B")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for JSON, Markdown and HTML.")] = Path(
        "outputs/comparison"
    ),
) -> None:
    """Put two reports of `facelift evaluate` side by side, with differences paired over people."""
    from facelift.evaluate.compare import compare as put_side_by_side

    print(put_side_by_side(a, b, out))
    tell(f"{a}, {b} -> {out}")
