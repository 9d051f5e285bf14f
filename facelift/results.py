"""The folder of files that one photo becomes, and the photos that a name on the command line stands for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

from facelift.errors import UserError
from facelift.timings import Timings

if TYPE_CHECKING:
    from facelift.pipeline import Head, Progress

RESULT_NAMES = frozenset({"input.png", "multiview.png", "gaussians.ply", "output.png", "turntable.mp4"})
PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


def find_photos(path: Path) -> list[Path]:
    """`path` itself, or the photos that lie in it when it is a folder, sorted by name.

    Raises:
        UserError: there is nothing at `path`, or a folder without photos.
    """
    if not path.exists():
        raise UserError(f"There is no photo or folder at {path}.")
    if not path.is_dir():
        return [path]
    photos = sorted(
        file
        for file in path.iterdir()
        if file.suffix.lower() in PHOTO_SUFFIXES and not file.name.startswith(".") and file.is_file()
    )
    if not photos:
        raise UserError(f"There are no photos in {path}; looked for {', '.join(PHOTO_SUFFIXES)}.")
    return photos


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
) -> None:
    """Fill an existing folder with the files of one head.

    Args:
        folder: where to write `RESULT_NAMES`.
        head: what the pipeline made of the photo.
        frames: length of the turntable; None leaves it out.
        size: side of the turntable in pixels; None is the model's own.
        progress: wraps the turntable's frames, to show how far it is.
        timings: takes the time of each stage.
    """
    import torch

    from facelift.cameras import canonical_rig
    from facelift.formats.png import tile, write_png

    timings = timings or Timings()
    columns = len(head.views)
    with timings("renders"):
        renders = head.render(canonical_rig(head.views.shape[-1]))
    with timings("files"):
        head.save(folder / "gaussians.ply")
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
