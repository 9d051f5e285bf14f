"""Every kind of file that a head can be written as, chosen by the end of the file's name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from facelift.choices import PlyLayout
from facelift.errors import UserError
from facelift.formats.files import PathLike
from facelift.formats.ply import write_ply
from facelift.formats.splats import SPLAT_FORMATS, splat_format
from facelift.gaussians import Gaussians
from facelift.page.html import write_html

PAGE = ".html"
Writer = Callable[[PathLike, Gaussians], None]


def suffixes() -> dict[str, str]:
    """What the names of files that `writer` knows end in, and what these files are."""
    splats = {format.suffix: format.name for format in SPLAT_FORMATS if format.write}
    return splats | {PAGE: "a page that shows the head in 3D, in any browser"}


def writer(path: PathLike, ply: PlyLayout = "standard", title: str | None = None) -> Writer:
    """What writes a file of this name: give it the path and Gaussians of our world.

    Args:
        path: its longest end that is one of `suffixes` counts, in whatever case.
        ply: how a PLY lists its Gaussians, see `facelift.formats.ply.write_ply`.
        title: what a page says above the head; None is the file's name.

    Raises:
        UserError: nothing is written under such a name.
    """
    if Path(path).suffix.lower() == PAGE:
        return partial(write_html, title=title or Path(path).stem)
    format = splat_format(path)
    if format is None or format.write is None:
        known = ", ".join(suffixes())
        raise UserError(f"No file of a head is called {Path(path).name}: let the name end in {known}.")
    return partial(write_ply, layout=ply) if format.suffix == ".ply" else format.write


def chosen_suffix(word: str) -> str:
    """The one of `suffixes` that a word means: "spz" is ".spz".

    Raises:
        UserError: it means none.
    """
    suffix = f".{word.lower().lstrip('.')}"
    if suffix not in suffixes():
        known = ", ".join(suffix[1:] for suffix in suffixes())
        raise UserError(f"A head is not written as {word}: choose {known}.")
    return suffix
