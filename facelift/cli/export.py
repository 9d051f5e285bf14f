"""`facelift export`: a file of Gaussians becomes others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facelift.cli.options import FrameOption, PlyLayoutOption
from facelift.cli.splats import read_drawable
from facelift.cli.terminal import status, tell
from facelift.errors import UserError


def export(
    source: Annotated[Path, typer.Argument(help="A file of Gaussians, of any tool.", metavar="IN")],
    out: Annotated[
        list[Path], typer.Argument(help="Files to write; their names say as what.", metavar="OUT...")
    ],
    frame: FrameOption = None,
    ply_layout: PlyLayoutOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
) -> None:
    """Turn a file of Gaussians into other kinds: splats for other tools, a page to send."""
    with status(f"Reading {source}"):
        from facelift.export import writer

        writers = {path: writer(path, ply_layout or "standard") for path in out}
        _check_places(list(out), overwrite)
        gaussians = read_drawable(source, frame)
    for path, write in writers.items():
        with status(f"Writing {path}"):
            write(path, gaussians)
        tell(f"{source} -> {path}")


def _check_places(paths: list[Path], overwrite: bool) -> None:
    """Refuse before the work what would lose a file.

    Raises:
        UserError: two names are one file, or a file is there already.
    """
    for number, path in enumerate(paths):
        if path.resolve() in [other.resolve() for other in paths[:number]]:
            raise UserError(f"{path} is named twice; give each file a name of its own.")
        if path.exists() and not overwrite:
            raise UserError(f"{path} is there already; choose another name, or add --overwrite.")
