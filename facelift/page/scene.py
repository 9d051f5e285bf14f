"""Any file of Gaussians as what a server of this machine shows: a page, and the scene beside it."""

from __future__ import annotations

from pathlib import Path

from facelift.errors import UserError
from facelift.formats.files import PathLike
from facelift.formats.frames import Frame
from facelift.formats.splats import read_splats
from facelift.page.html import compressed, viewer_page
from facelift.page.viewpoint import Viewpoint

SCENE = "scene.ply"


def scene_files(path: PathLike, frame: Frame | None = None) -> dict[str, bytes]:
    """The files of a viewer, by their names: its page under "", and the Gaussians.

    The view is as wide as the scene is large. What cannot be drawn is left out.

    Args:
        path: of a file of Gaussians.
        frame: of the file; None for what the format or the file itself says.

    Raises:
        UserError: `path` cannot be read, or holds no Gaussians that can be drawn.
    """
    gaussians = read_splats(path, frame)
    gaussians = gaussians[gaussians.drawable]
    if len(gaussians) == 0:
        raise UserError(f"{path} holds no Gaussians that can be drawn.")
    page = viewer_page(
        SCENE, title=Path(path).name, viewpoint=Viewpoint.framing(gaussians), home="First view"
    )
    return {"": page.encode(), SCENE: compressed(gaussians)}
