"""`facelift view`: any file of Gaussians in the browser."""

from __future__ import annotations

import time
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from facelift.cli.options import FrameOption
from facelift.cli.splats import read_drawable
from facelift.cli.terminal import say, status, tell


def view(
    file: Annotated[
        Path, typer.Argument(help="A file of 3D Gaussians, from FaceLift or any other tool.", metavar="FILE")
    ],
    frame: FrameOption = None,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address, and open no browser.")
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on localhost.", show_default="one that is free")
    ] = 0,
) -> None:
    """Show a file of 3D Gaussians in the browser, from this machine alone, until Ctrl-C."""
    with status(f"Opening {file}"):
        from facelift.page.scene import scene_files
        from facelift.page.server import serving

        files = scene_files(read_drawable(file, frame), file.name)
    with serving(files, port) as address:
        tell(address)
        if not no_browser:
            webbrowser.open(address)
        say("Ctrl-C ends it.")
        while True:
            time.sleep(60)
