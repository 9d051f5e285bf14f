"""The files of one head: what a worker writes at once, and what it makes when somebody first asks for it."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from facelift.cameras import VIEW_NAMES
from facelift.errors import UserError
from facelift.formats.files import atomic_path
from facelift.formats.png import tile, write_png
from facelift.formats.splats import SPLAT_FORMATS, read_splats
from facelift.head import Head
from facelift.mesh.mesh import MESH_FORMATS, Mesh
from facelift.portrait import Portrait, load_photo
from facelift.portrait.decode import picture_size
from facelift.portrait.search import turn

PHOTO = "photo"
"""The name of an upload, which goes as soon as the head is made."""

SHOWN_SIDE = 1024  # longer side of the photo as the page shows it
FRAMES = 150  # of the turntable
AT_ONCE = (".ply", ".html")  # what every other file is made from, and what the page shows

ProgressWithTotal = Callable[..., Iterable[Any]]


@dataclass(frozen=True)
class FileKind:
    """A file that a head may have.

    Attributes:
        name: of it.
        what: it is good for.
        portrait: whether the portrait alone has it already.
        make: writes it from a head when somebody asks for it; None if it is there from the beginning.
    """

    name: str
    what: str
    portrait: bool = False
    make: Callable[[Path, Head, ProgressWithTotal], None] | None = None


def _save(path: Path, head: Head, progress: ProgressWithTotal) -> None:
    head.save(path)


def _mesh_of(folder: Path, head: Head) -> Mesh:
    """The mesh of a head, made once for all files; it lies beside them, and goes with them."""
    kept = folder / ".mesh.npz"
    if kept.exists():
        with np.load(kept) as arrays:
            return Mesh(**arrays)
    mesh = head.mesh()
    with atomic_path(kept) as aside:
        np.savez(aside, **vars(mesh))
    return mesh


def _save_mesh(path: Path, head: Head, progress: ProgressWithTotal) -> None:
    _mesh_of(path.parent, head).save(path)


def _zip_mesh(path: Path, head: Head, progress: ProgressWithTotal) -> None:
    """An OBJ is three files."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder, atomic_path(path) as aside:
        _mesh_of(path.parent, head).save(Path(folder) / "head.obj")
        with zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(Path(folder).iterdir()):
                archive.write(file, file.name)


def _write_turntable(path: Path, head: Head, progress: ProgressWithTotal) -> None:
    head.turntable(path, frames=FRAMES, progress=partial(progress, total=FRAMES))


SPLATS = {format.suffix: format.name for format in SPLAT_FORMATS if format.write}
MESHES = {suffix: format.name for suffix, format in MESH_FORMATS.items() if suffix != ".obj"}

KINDS = (
    *(
        FileKind(f"head{suffix}", SPLATS.get(suffix, "a page to send, with the head in 3D"))
        for suffix in AT_ONCE
    ),
    *(FileKind(f"head{end}", name, make=_save) for end, name in SPLATS.items() if end not in AT_ONCE),
    *(FileKind(f"mesh{suffix}", name, make=_save_mesh) for suffix, name in MESHES.items()),
    FileKind("mesh.zip", "OBJ mesh with its texture", make=_zip_mesh),
    FileKind("turntable.mp4", "one turn around the head, a video", make=_write_turntable),
    FileKind("views.png", "all six views in a row"),
    *(FileKind(f"view_{name}.png", f"the {name.replace('_', ' ')} view") for name in VIEW_NAMES),
    FileKind("portrait.png", "the portrait as the models see it", portrait=True),
    FileKind("matte.png", "how much of each pixel belongs to the person", portrait=True),
    FileKind("photo.jpg", "the photo, upright", portrait=True),
)
FILES = {kind.name: kind for kind in KINDS}


def check_photo(path: Path, max_pixels: int) -> None:
    """Refuse at once what is no photo or says that it is too large, before it waits for its turn.

    Raises:
        UserError: why.
    """
    with path.open("rb") as stream:
        width, height = picture_size(stream, "The photo")
    if width * height > max_pixels:
        raise UserError(
            f"The photo is too large ({width} x {height}): this server takes {max_pixels // 1_000_000} "
            "megapixels; scale it down."
        )


def write_photo(folder: Path, photo: bytes, portrait: Portrait) -> list[tuple[float, ...]]:
    """Write the photo as the page shows it: upright, small, a JPEG.

    Returns:
        Left, top, right and bottom of each face, as shares of its width and height.
    """
    image = turn(load_photo(photo)[..., :3], portrait.turns)
    height, width = image.shape[:2]
    shrink = min(1.0, SHOWN_SIDE / max(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    Image.fromarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA)).save(
        folder / "photo.jpg", quality=85
    )
    sides = (width, height, width, height)
    return [
        tuple(round(v / n, 4) for v, n in zip((box.x0, box.y0, box.x1, box.y1), sides, strict=True))
        for box in portrait.boxes
    ]


def write_portrait(folder: Path, portrait: Portrait) -> None:
    """Write the portrait and its matte."""
    write_png(folder / "portrait.png", portrait.image)
    write_png(folder / "matte.png", portrait.alpha.expand(3, -1, -1))


def write_head(folder: Path, head: Head) -> None:
    """Write the six views, the Gaussians and their page: what is shown, and every other file is made from."""
    for name, view in zip(VIEW_NAMES, head.views, strict=True):
        write_png(folder / f"view_{name}.png", view)
    write_png(folder / "views.png", tile(head.views, len(VIEW_NAMES)))
    for end in AT_ONCE:
        head.save(folder / f"head{end}", title="3D head")


def read_head(folder: Path) -> Head:
    """The head that `write_head` wrote; pictures have eight bits now."""
    views = torch.stack([_read_png(folder / f"view_{name}.png") for name in VIEW_NAMES])
    return Head(_read_png(folder / "portrait.png"), views, read_splats(folder / "head.ply"), faces=1)


def make_file(folder: Path, name: str, progress: ProgressWithTotal) -> None:
    """Make a file of a head that is not there from the beginning.

    Args:
        folder: of the head.
        name: of the file, of FILES.
        progress: wraps its steps, of which there are `total`.

    Raises:
        UserError: it cannot be made.
    """
    make = FILES[name].make
    if make is None:
        raise UserError(f"{name} is not there: make the head again.")
    make(folder / name, read_head(folder), progress)


def _read_png(path: Path) -> Tensor:
    with Image.open(path) as image:
        return torch.from_numpy(np.asarray(image.convert("RGB")).copy()).movedim(-1, 0) / 255
