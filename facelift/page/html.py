"""The page: a template, filled with the viewer, the Gaussians and their poster.

Every text in it is escaped, and its own policy has the browser run no script but the viewer, and ask for
nothing from anywhere. A page that shows a file at an address may ask the server that it comes from.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import tempfile
from importlib.resources import files
from pathlib import Path
from string import Template

from torch import Tensor

from facelift.cameras import Cameras, canonical_rig
from facelift.errors import UserError
from facelift.formats.compressed_ply import write_compressed_ply
from facelift.formats.files import PathLike, atomic_path
from facelift.formats.frames import rotation
from facelift.gaussians import Gaussians
from facelift.isolation import isolated
from facelift.page.poster import draw_poster, webp_address
from facelift.page.viewpoint import FRONT, Viewpoint

TITLE = "3D head"
POSTER_SIZE = 512

_COLOR = re.compile(r"#[0-9a-fA-F]{6}")


def write_html(
    path: PathLike,
    gaussians: Gaussians,
    *,
    title: str = TITLE,
    background: str | None = None,
    poster: Tensor | None = None,
    photo_camera: Cameras | None = None,
) -> None:
    """Write a page that shows the Gaussians, needs nothing beside it and asks for nothing from anywhere.

    It opens from a file, on laptops and phones, in any browser with WebGL 2. Without it, it shows the poster.

    Args:
        path: of the page.
        gaussians: the head; 16 bytes each, and a third more as text, beside one megabyte for the viewer.
        title: shown above the head; any text.
        background: a colour, as "#ffffff"; None is white or nearly black, as the visitor's system is set.
        poster: (3 or 4, H, W) the head from `photo_camera`, RGB or straight-alpha RGBA; None draws it.
        photo_camera: one camera, which the page begins with and its button comes back to; None is the front
            camera, which every head of this package is seen from in its photo.

    Raises:
        UserError: `path` cannot be written; what is no colour, no poster, no camera, or no Gaussians.
    """
    page = html_page(gaussians, title=title, background=background, poster=poster, photo_camera=photo_camera)
    with atomic_path(path) as aside:
        aside.write_text(page, encoding="utf-8")


@isolated()
def html_page(
    gaussians: Gaussians,
    *,
    title: str = TITLE,
    background: str | None = None,
    poster: Tensor | None = None,
    photo_camera: Cameras | None = None,
) -> str:
    """The text of the page that `write_html` writes; for the rest see there."""
    gaussians.check()
    if len(gaussians) == 0:
        raise UserError("There are no Gaussians to make a page of.")
    camera = canonical_rig(POSTER_SIZE)[0] if photo_camera is None else photo_camera
    viewpoint = Viewpoint.of_camera(camera, gaussians)
    if poster is None:
        longest = max(camera.width, camera.height)
        poster = draw_poster(gaussians, camera.resized(round(camera.width * POSTER_SIZE / longest)))
    return _fill(viewpoint, title, "Photo's view", background, poster, splats=compressed(gaussians))


def viewer_page(
    url: str,
    *,
    title: str = TITLE,
    viewpoint: Viewpoint = FRONT,
    home: str = "Photo's view",
    background: str | None = None,
    poster: Tensor | None = None,
) -> str:
    """The text of a page that shows a PLY file, which it fetches; to be served, and embedded in an iframe.

    Args:
        url: of a PLY file, compressed or plain, in the frame RDF, on the server that the page comes from;
            relative to the page.
        title: shown above the head; "" shows none.
        viewpoint: the view to begin with, in our world.
        home: the text of the button that comes back to it.
        background: as `write_html` has it.
        poster: shown until the file is here; None shows none.

    Raises:
        UserError: what is no colour or no poster.
    """
    return _fill(viewpoint, title, home, background, poster, url=url)


def compressed(gaussians: Gaussians) -> bytes:
    """Gaussians as the bytes of a compressed PLY, which is what the viewer reads."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "splats.ply"
        write_compressed_ply(path, gaussians)
        return path.read_bytes()


def _fill(
    viewpoint: Viewpoint,
    title: str,
    home: str,
    background: str | None,
    poster: Tensor | None,
    splats: bytes = b"",
    url: str | None = None,
) -> str:
    if background is not None and not _COLOR.fullmatch(background):
        raise UserError(f"The background {background!r} is no colour: write it as #ffffff.")
    script = _own("viewer.js")
    title = title.encode(errors="replace").decode()  # a file may be named with bytes that are no text
    turn = rotation("RUB").double().numpy()  # the viewer's world: y up, the face along +z
    scene = {
        "position": (turn @ viewpoint.position).tolist(),
        "target": (turn @ viewpoint.target).tolist(),
        "fov": viewpoint.fov,
        "turning": True,
        "url": url,
    }
    return Template(_own("template.html")).substitute(
        policy=_policy(script, "'none'" if url is None else "'self'"),
        title=html.escape(title),
        home=html.escape(home),
        style=_own("viewer.css"),
        licenses=_own("LICENSES.txt").strip(),
        background="" if background is None else f' style="--background: {background}"',
        poster="" if poster is None else f'<img id="poster" alt="" src="{webp_address(poster)}">',
        scene=json.dumps(scene).replace("<", "\\u003c"),  # no text ends the script that it stands in
        splats=base64.b64encode(splats).decode(),
        script=script,
    )


def _policy(script: str, connect: str) -> str:
    """What the browser lets the page do: run this one script and its worker, and connect to nowhere else."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; worker-src blob:; style-src 'unsafe-inline'; "
        f"img-src data:; connect-src {connect}; base-uri 'none'; form-action 'none'"
    )


def _own(name: str) -> str:
    return files("facelift.page").joinpath(name).read_text(encoding="utf-8")
