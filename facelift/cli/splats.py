"""Files of Gaussians as commands read them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from facelift.cli.terminal import say
from facelift.errors import UserError

if TYPE_CHECKING:
    from facelift.formats.frames import Frame
    from facelift.gaussians import Gaussians


def read_drawable(path: Path, frame: Frame | None) -> Gaussians:
    """The Gaussians of a file that can be drawn; says how many cannot.

    Raises:
        UserError: none can, or as `facelift.formats.splats.read_splats`.
    """
    from facelift.formats.splats import read_splats

    gaussians = read_splats(path, frame)
    count = len(gaussians)
    gaussians = gaussians[gaussians.drawable]
    if len(gaussians) == 0:
        raise UserError(f"{path} holds no Gaussians that can be drawn; give another file.")
    if len(gaussians) < count:
        spoilt = count - len(gaussians)
        say(f"{spoilt} of {count} Gaussians in {path} hold NaN or infinity: they are left out.")
    return gaussians
