"""Heads as folders, `OUT/head_<seed>/`, as FaceLift's own training reads them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from facelift.data import split
from facelift.data.schema import SUMS_FILE, Contents, Files
from facelift.errors import UserError


@dataclass(frozen=True)
class Folders:
    """The heads of one data set; each appears in `out` complete or not at all."""

    out: Path
    contents: Contents

    def units(self, seeds: range) -> list[range]:
        """The seeds in portions that are filled independently of each other."""
        return [range(seed, seed + 1) for seed in seeds]

    def paths(self, seeds: range) -> list[Path]:
        """The folders of these heads."""
        return [self.out / split.folder_name(seed) for seed in seeds]

    def fill(self, unit: range, draw: Callable[[int], Files]) -> Iterator[bool]:
        """For each seed whether its head had to be drawn: it was not there, or damaged.

        Raises:
            UserError: for a head with other views, or of an earlier version.
        """
        for seed in unit:
            folder = self.out / split.folder_name(seed)
            aside, old = (folder.with_name(f".{folder.name}.{end}") for end in ("partial", "damaged"))
            for left_over in (aside, old):
                if left_over.exists():
                    shutil.rmtree(left_over)
            if self._is_whole(folder):
                yield False
                continue
            write_files(aside, draw(seed))
            if folder.exists():
                folder.rename(old)
            aside.rename(folder)
            shutil.rmtree(old, ignore_errors=True)
            yield True

    def listed(self) -> Iterator[tuple[Path, bool]]:
        """Every complete head in `out`, whichever run made it, and whether it is held out."""
        for seed in sorted(
            seed for path in self.out.iterdir() if (seed := split.seed_of(path.name)) is not None
        ):
            yield self.out / split.folder_name(seed), split.is_held_out(seed)

    def _is_whole(self, folder: Path) -> bool:
        if not folder.exists():
            return False
        if not (folder / SUMS_FILE).exists():
            raise UserError(
                f"{folder} has no {SUMS_FILE}, as in earlier versions; give another folder or delete it."
            )
        return self.contents.check(str(folder), lambda name: (folder / name).read_bytes())


def write_files(folder: Path, files: Files) -> None:
    """Write files below a folder, which is made."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
