"""Heads as WebDataset shards: plain tar files of up to 50 heads, named for the seeds they hold.

`heads_001000-001049.tar` holds `head_001000.cam_000.png`, ..., `head_001000.SHA256SUMS`, then those of
`head_001001` and so on: one sample a head, its files called as in a folder but for the folders in their
names. A shard grows aside, head by head, and is renamed when it is complete. Since a head's check sums are
its last file, it is plain after any accident which heads are whole: those stay, and the shard goes on from
there. The webdataset package reads these files as a stream; it neither finds what is whole in one nor seeks
one picture in it, so that it would replace `_append` alone.
"""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from facelift.data import split
from facelift.data.schema import SUMS_FILE, Contents, Files, flat
from facelift.errors import UserError

HEADS_PER_SHARD = 50
"""Seeds from one multiple of this to the next share a shard; held-out ones never share it with others."""

_SHARD = re.compile(r"heads_(\d{6,})-(\d{6,})\.tar")

Index = dict[str, tuple[int, int]]
"""Where each file of a head lies in the shard: offset and length."""


def seeds_of(name: str) -> range | None:
    """The seeds of the heads in a shard of this name, or None if the name is no shard's."""
    match = _SHARD.fullmatch(name)
    return range(int(match[1]), int(match[2]) + 1) if match else None


def shard_name(seeds: range) -> str:
    """The file name of the shard of these seeds, which are consecutive."""
    return f"heads_{seeds[0]:06d}-{seeds[-1]:06d}.tar"


def read_index(path: Path, start: int = 0) -> Iterator[tuple[str, Index, int]]:
    """Each complete head of a shard from the one at `start` on: its name, its files, where the next begins.

    Ends at the first thing that is not as it should be.
    """
    size, files = path.stat().st_size, Index()
    try:
        with path.open("rb") as file:
            file.seek(start)
            tar = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115
            for member in tar:
                head, _, name = member.name.partition(".")
                end = member.offset_data + member.size
                if end > size:
                    return
                files[name] = member.offset_data, member.size
                if name == SUMS_FILE:
                    yield head, files, end + -end % tarfile.BLOCKSIZE
                    files = Index()
    except tarfile.TarError:
        return


def read_file(path: Path, place: tuple[int, int]) -> bytes:
    """A file of a shard by its offset and length, see `Index`."""
    with path.open("rb") as file:
        file.seek(place[0])
        return file.read(place[1])


@dataclass(frozen=True)
class Shards:
    """The heads of one data set; each shard appears in `out` complete or not at all."""

    out: Path
    contents: Contents

    def units(self, seeds: range) -> list[range]:
        """The seeds of each shard.

        Raises:
            UserError: if `out` has shards that begin within one of them.
        """
        stops = [
            *range(
                seeds.start + HEADS_PER_SHARD - seeds.start % HEADS_PER_SHARD, seeds.stop, HEADS_PER_SHARD
            ),
            seeds.stop,
        ]
        units = [range(*ends) for ends in zip([seeds.start, *stops], stops, strict=False)]
        starts = {unit.start for unit in units}
        for found in self._found():
            if found.start not in starts and found.start < seeds.stop and found.stop > seeds.start:
                shard = self.out / shard_name(found)
                raise UserError(f"{shard} holds some of these heads; give another folder or --seed.")
        return units

    def paths(self, seeds: range) -> list[Path]:
        """The shards that hold these heads."""
        starts = {unit.start for unit in self.units(seeds)}
        return [self.out / shard_name(found) for found in self._found() if found.start in starts]

    def fill(self, unit: range, draw: Callable[[int], Files]) -> Iterator[bool]:
        """For each seed whether its head had to be drawn: it was not there, or damaged.

        A shard of the first of these seeds, and fewer, is made longer; one of more stays as long as it is.

        Raises:
            UserError: for a head with other views.
        """
        partial = self.out / f".heads_{unit.start:06d}.partial"
        for seeds in self._found():
            if seeds.start == unit.start:
                path = self.out / shard_name(seeds)
                if len(seeds) >= len(unit) and self._whole(path, seeds)[0] == len(seeds):
                    partial.unlink(missing_ok=True)
                    yield from [False] * len(unit)
                    return
                path.rename(partial)
                unit = max(unit, seeds, key=len)
        whole, end = self._whole(partial, unit) if partial.exists() else (0, 0)
        yield from [False] * whole
        with partial.open("r+b" if whole else "wb") as file:
            file.truncate(end)
            file.seek(end)
            with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
                for seed in unit[whole:]:
                    _append(tar, split.folder_name(seed), draw(seed))
                    file.flush()
                    yield True
            file.flush()
            os.fsync(file.fileno())
        partial.rename(self.out / shard_name(unit))

    def listed(self) -> Iterator[tuple[Path, bool]]:
        """Every complete shard in `out`, whichever run made it, and whether it is held out."""
        for seeds in self._found():
            yield self.out / shard_name(seeds), split.is_held_out(seeds.start)

    def _found(self) -> list[range]:
        names = (path.name for path in self.out.iterdir())
        return sorted((seeds for name in names if (seeds := seeds_of(name))), key=lambda seeds: seeds.start)

    def _whole(self, path: Path, seeds: range) -> tuple[int, int]:
        """How many of these heads, from the first on, are there and whole, and where they end."""
        count, end = 0, 0
        for seed, (name, files, after) in zip(seeds, read_index(path), strict=False):
            where = f"{name} in {path}"
            if name != split.folder_name(seed) or not self.contents.check(where, _reader(path, files)):
                break
            count, end = count + 1, after
        return count, end


def _reader(path: Path, files: Index) -> Callable[[str], bytes]:
    return lambda name: read_file(path, files[flat(name)])


def _append(tar: tarfile.TarFile, head: str, files: Files) -> None:
    for name, data in files.items():
        member = tarfile.TarInfo(f"{head}.{flat(name)}")
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
