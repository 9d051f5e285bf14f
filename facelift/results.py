"""The folder of files that one photo becomes, and the photos that a name on the command line stands for."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Sequence
from functools import cache
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

from facelift.errors import UserError
from facelift.timings import Timings

if TYPE_CHECKING:
    from facelift.head import Head, Progress

RESULT_NAMES = frozenset({"input.png", "multiview.png", "gaussians.ply", "output.png", "turntable.mp4"})


def owned_names() -> frozenset[str]:
    """What an earlier run may have left in a folder of results."""
    from facelift.export import files_of, suffixes

    return RESULT_NAMES | {file.name for suffix in suffixes() for file in files_of(f"head{suffix}")}


SYSTEM_FILES = frozenset({"thumbs.db", "desktop.ini"})  # that Windows hides


def find_photos(paths: Sequence[str | Path]) -> list[Path]:
    """The files that paths stand for: themselves, or all that lies in a folder, sorted by name.

    A folder's files are taken whatever they are called, for the content decides what is a photo: reading them
    tells which are none. Folders in it and hidden files are left out.

    Args:
        paths: of photos and of folders, and globs as shells know them, `**` for folders in folders; what is
            named twice is taken once.

    Raises:
        UserError: an empty path, nothing at any of the paths, a folder that is empty or cannot be read.
    """
    found: dict[str, Path] = {}
    for path in paths:
        if not str(path):
            raise UserError("A path is empty: name a photo or a folder.")
        for file in _expanded(path):
            found.setdefault(os.path.realpath(file), file)
    if not any(os.path.exists(file) for file in found.values()):
        raise UserError(f"There is no photo or folder at {paths[0]}.")
    return list(found.values())


def _expanded(path: str | Path) -> list[Path]:
    if os.path.isdir(path):
        return _files_in(Path(path))
    if glob.has_magic(str(path)) and not os.path.lexists(path):
        matching = sorted(filter(os.path.isfile, glob.iglob(str(path), recursive=True)))
        return [Path(file) for file in matching] or [Path(path)]
    return [Path(path)]


def _files_in(folder: Path) -> list[Path]:
    try:
        files = sorted(
            file
            for file in folder.iterdir()
            if not file.name.startswith(".") and file.name.lower() not in SYSTEM_FILES and file.is_file()
        )
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({error.strerror}).") from error
    if not files:
        raise UserError(f"There are no photos in {folder}; folders in it are not searched.")
    return files


def folder_names(photos: Sequence[Path]) -> list[str]:
    """A folder name for each photo, none twice even where case does not count: `a` for a.jpg.

    Photos that share a stem keep their suffix: `a.jpg` and `a.png`.
    """
    stems = Counter(photo.stem.casefold() for photo in photos)
    names: list[str] = []
    taken: set[str] = set()
    for photo in photos:
        short = [photo.stem] if stems[photo.stem.casefold()] == 1 else []
        name = next(
            name
            for name in chain(short, [photo.name], (f"{photo.name}-{i}" for i in count(2)))
            if name.casefold() not in taken
        )
        taken.add(name.casefold())
        names.append(name)
    return names


def write_results(
    folder: Path,
    head: Head,
    frames: int | None = 150,
    size: int | None = None,
    progress: Progress = iter,
    timings: Timings | None = None,
    formats: Sequence[str] = (),
    title: str | None = None,
) -> None:
    """Fill an existing folder with the files of one head.

    Args:
        folder: where to write `RESULT_NAMES`, and the files in `formats`.
        head: what the pipeline made of the photo.
        frames: length of the turntable; None leaves it out.
        size: side of the turntable in pixels; None is the model's own.
        progress: wraps the turntable's frames, to show how far it is.
        timings: takes the time of each stage.
        formats: what else to write the head as, as ends of names: ".spz" for `head.spz`.
        title: what `head.html` says above the head; None is "head".
    """
    import torch

    from facelift.cameras import canonical_rig
    from facelift.export import default_mesh, writer
    from facelift.formats.png import tile, write_png

    timings = timings or Timings()
    columns = len(head.views)
    with timings("renders"):
        renders = head.render(canonical_rig(head.views.shape[-1]))
    with timings("files"):
        head.save(folder / "gaussians.ply")
        make_mesh = cache(default_mesh)  # one mesh for all the files
        for suffix in formats:
            path = folder / f"head{suffix}"
            writer(path, head.ply_layout, title, make_mesh=make_mesh)(path, head.gaussians)
        write_png(folder / "input.png", head.portrait)
        write_png(folder / "multiview.png", tile(head.views, columns))
        pairs = torch.cat([head.views.cpu(), renders.cpu()])
        write_png(folder / "output.png", tile(pairs, columns))
    if frames is not None:
        with timings("turntable"):
            head.turntable(folder / "turntable.mp4", frames=frames, size=size, progress=progress)


def check_place(folder: Path, photo: Path) -> None:
    """Refuse to put results where they could replace the photo.

    Raises:
        UserError: the photo lies in `folder`.
    """
    if folder.resolve() in photo.resolve().parents:
        raise UserError(f"{photo} lies in {folder}, where its results would go; choose another --out.")
