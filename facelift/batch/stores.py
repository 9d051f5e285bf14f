"""Where the files of heads go: a folder each, or shards of fifty."""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, TypedDict

from facelift.batch.index import Row
from facelift.errors import UserError
from facelift.formats.files import atomic_folder, explain
from facelift.results import owned_names

PER_SHARD = 50
_SHARD = re.compile(r"heads-(\d{6})\.tar")


class Place(TypedDict):
    """Where the files of one head went; the fields are those of `Row`."""

    name: str
    paths: list[str]
    shard: str | None
    end: int


class Store(Protocol):
    """Takes the files of one head after the other.

    Attributes:
        replaces: whether what was there under a name goes when it comes again.
    """

    replaces: bool

    def clean(self, name: str) -> str:
        """What a head may be called here that is to be called `name`."""
        ...

    def put(self, name: str, files: dict[str, bytes]) -> Place:
        """Write them under this name."""
        ...


class Folders:
    """A folder for each head, which appears complete or not at all.

    Args:
        out: the folder of folders.
    """

    replaces = True

    def __init__(self, out: Path) -> None:
        self._out, self._owned = out, owned_names()

    def clean(self, name: str) -> str:
        """Any file name will do."""
        return name

    def put(self, name: str, files: dict[str, bytes]) -> Place:
        """Write the folder `name`.

        Raises:
            UserError: it cannot be written.
        """
        with atomic_folder(self._out / name, self._owned) as aside:
            for name_of_file, content in files.items():
                with (aside / name_of_file).open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())  # on the disk before its row is
        return Place(name=name, paths=[f"{name}/{file}" for file in files], shard=None, end=0)


class Shards:
    """WebDataset shards: tar files with one sample a head, whose files are called `name.file`.

    Rows say where in a shard their heads end. What lies behind the last of them was being written when a run
    was killed, and is written over.

    Args:
        out: the folder of shards.
        rows: of earlier runs.
        resumed: whether there was an earlier run. Without one, shards in the folder are somebody else's.
    """

    replaces = False

    def __init__(self, out: Path, rows: Iterable[Row], resumed: bool) -> None:
        self._out = out
        ends: dict[str, list[int]] = {}
        for row in rows:
            if row.shard is not None:
                ends.setdefault(row.shard, []).append(row.end)
        names = ends if resumed else [path.name for path in out.iterdir()]
        self._number = max((int(found[1]) for name in names if (found := _SHARD.fullmatch(name))), default=-1)
        here, path = ends.get(self._shard, []), out / self._shard
        if here and len(here) < PER_SHARD and path.exists() and path.stat().st_size >= max(here):
            self._end, self._count = max(here), len(here)
        else:
            self._begin()

    @property
    def _shard(self) -> str:
        return f"heads-{self._number:06d}.tar"

    def _begin(self) -> None:
        self._number, self._end, self._count = self._number + 1, 0, 0

    def clean(self, name: str) -> str:
        """WebDataset takes what follows the first dot of a name for its kind."""
        return name.replace(".", "_")

    def put(self, name: str, files: dict[str, bytes]) -> Place:
        """Append a sample.

        Raises:
            UserError: the shard cannot be written.
        """
        if self._count == PER_SHARD:
            self._begin()
        sample = io.BytesIO()
        with tarfile.open(fileobj=sample, mode="w") as tar:
            for file, content in files.items():
                member = tarfile.TarInfo(f"{name}.{file}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
            length = tar.offset  # what follows marks the end of the file
        path = self._out / self._shard
        try:
            with path.open("r+b" if self._end else "w+b") as shard:
                shard.seek(self._end)
                shard.write(sample.getvalue())
                shard.truncate()
                shard.flush()
                os.fsync(shard.fileno())
        except OSError as error:
            raise UserError(f"Cannot write {path}: {explain(error)}.") from error
        self._end, self._count = self._end + length, self._count + 1
        paths = [f"{name}.{file}" for file in files]
        return Place(name=name, paths=paths, shard=self._shard, end=self._end)
