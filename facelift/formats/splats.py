"""Files of 3D Gaussians: one table of formats, and how one is chosen by the end of a file's name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from facelift.errors import UserError
from facelift.formats.files import PathLike
from facelift.formats.ply import read_ply, write_ply
from facelift.gaussians import Gaussians


@dataclass(frozen=True)
class SplatFormat:
    """A kind of file that holds Gaussians.

    Attributes:
        suffix: how the name of such a file ends, in lower case; the longest that fits counts.
        write: takes a path and Gaussians of our world, `read` gives them back.
    """

    suffix: str
    write: Callable[[PathLike, Gaussians], None]
    read: Callable[[PathLike], Gaussians]


SPLAT_FORMATS: tuple[SplatFormat, ...] = (SplatFormat(".ply", write_ply, read_ply),)


def write_splats(path: PathLike, gaussians: Gaussians) -> None:
    """Write Gaussians as what the end of `path` says.

    Raises:
        UserError: no format of SPLAT_FORMATS ends so; or as the format's own `write` says.
    """
    _format_of(path).write(path, gaussians)


def read_splats(path: PathLike) -> Gaussians:
    """Read Gaussians from any file of SPLAT_FORMATS, turned into our world.

    Raises:
        UserError: no format ends so; or as the format's own `read` says.
    """
    return _format_of(path).read(path)


def _format_of(path: PathLike) -> SplatFormat:
    name = Path(path).name.lower()
    fitting = [format for format in SPLAT_FORMATS if name.endswith(format.suffix)]
    if not fitting:
        known = ", ".join(format.suffix for format in SPLAT_FORMATS)
        raise UserError(f"{path} is named as no file of Gaussians that is known here: let it end in {known}.")
    return max(fitting, key=lambda format: len(format.suffix))
