"""Any Gaussians as what a server of this machine shows: a page, and the scene beside it."""

from __future__ import annotations

from facelift.gaussians import Gaussians
from facelift.page.html import compressed, viewer_page
from facelift.page.viewpoint import Viewpoint

SCENE = "scene.ply"


def scene_files(gaussians: Gaussians, title: str) -> dict[str, bytes]:
    """The files of a viewer, by their names: its page under "", and the Gaussians under SCENE.

    The first view is as wide as the scene is large.

    Args:
        gaussians: the scene, of our world; all of them drawable.
        title: shown above it.
    """
    page = viewer_page(SCENE, title=title, viewpoint=Viewpoint.framing(gaussians), home="First view")
    return {"": page.encode(), SCENE: compressed(gaussians)}
