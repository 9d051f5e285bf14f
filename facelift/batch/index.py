"""What became of each photo: a journal that grows line by line, and from it a table for other programs."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from facelift.batch.photos import import_pyarrow
from facelift.batch.worker import Status
from facelift.errors import UserError
from facelift.formats.files import atomic_path, explain

JOURNAL, TABLE = "index.jsonl", "index.parquet"
HEADER = b'{"facelift": "what became of each photo", "version": 1}\n'


@dataclass(frozen=True)
class Row:
    """What is known of one photo.

    Attributes:
        photo: its path, or that of a tar or parquet file followed by its name or row there.
        status: of it.
        error: why there is no head, a sentence.
        warnings: what in the photo may spoil the head, sentences.
        time: seconds that it took.
        finished: when, UTC, in ISO 8601.
        name: of its folder, or its key in a shard.
        shard: the shard that holds its files; None for folders.
        paths: of its files, in `out` or in the shard.
        version: of the photo, which changes with it.
        options: digest of what the head was made with.
        end: where in the shard the next photo begins.
    """

    photo: str
    status: Status
    error: str | None = None
    warnings: list[str] = field(default_factory=list)
    time: float = 0.0
    finished: str = ""
    name: str = ""
    shard: str | None = None
    paths: list[str] = field(default_factory=list)
    version: str = ""
    options: str = ""
    end: int = 0


class Index:
    """The rows of a folder of results, one a photo, the last one that was added.

    A row is in the journal, on the disk, before `add` returns. What a machine that lost its power left at the
    journal's end is cut off.

    Args:
        out: the folder.
        options: digest of what heads are made with now.

    Attributes:
        rows: by the keys of photos.
        options: as given.
        resumed: whether there was a journal before.

    Raises:
        UserError: the journal cannot be read, or is none.
    """

    def __init__(self, out: Path, options: str) -> None:
        self._out, self.options = out, options
        self.rows: dict[str, Row] = {}
        try:
            self._journal = (out / JOURNAL).open("a+b")
            self._journal.seek(0)
            whole = 0
            for line in self._journal:
                if not line.endswith(b"\n"):
                    break
                if whole:
                    row = Row(**json.loads(line))
                    self.rows[row.photo] = row
                elif line != HEADER:
                    raise ValueError
                whole += len(line)
            self._journal.truncate(whole)
            self.resumed = whole > 0
            if not self.resumed:
                self._append(HEADER)
        except (ValueError, TypeError) as error:
            raise UserError(
                f"{out / JOURNAL} is not what an earlier run wrote: choose another --out."
            ) from error
        except OSError as error:
            raise UserError(f"Cannot write {out / JOURNAL}: {explain(error)}.") from error

    def knows(self, photo: str, version: str) -> bool:
        """Whether a photo was made or refused already, as it is and with these options."""
        row = self.rows.get(photo)
        if row is None or row.status == "failed" or (row.version, row.options) != (version, self.options):
            return False
        return row.status == "refused" or self._there(row)

    def _there(self, row: Row) -> bool:
        if row.shard is None:
            return all((self._out / path).exists() for path in row.paths)
        shard = self._out / row.shard
        return shard.exists() and shard.stat().st_size >= row.end

    def add(self, row: Row) -> None:
        """Write down what became of a photo.

        Raises:
            UserError: the journal cannot be written.
        """
        try:
            self._append(json.dumps(asdict(row)).encode() + b"\n")
        except OSError as error:
            raise UserError(f"Cannot write {self._out / JOURNAL}: {explain(error)}.") from error
        self.rows[row.photo] = row

    def _append(self, line: bytes) -> None:
        self._journal.write(line)
        self._journal.flush()
        os.fsync(self._journal.fileno())

    def write_table(self) -> None:
        """Write `index.parquet`, in the order in which photos were first met.

        Raises:
            UserError: it cannot be written, or pyarrow is missing.
        """
        arrow = import_pyarrow()
        text, texts = arrow.string(), arrow.list_(arrow.string())
        kinds: dict[str, Any] = {"photo": text, "status": text, "error": text, "warnings": texts}
        kinds |= {"time": arrow.float64(), "finished": text, "name": text, "shard": text, "paths": texts}
        columns = {
            name: arrow.array([_utf8(getattr(row, name)) for row in self.rows.values()], kind)
            for name, kind in kinds.items()
        }
        with atomic_path(self._out / TABLE) as aside:
            arrow.parquet.write_table(arrow.table(columns), aside)

    def close(self) -> None:
        """Nothing more is added."""
        self._journal.close()


def statuses(out: Path) -> Counter[str]:
    """How many photos of a folder of results are done, refused and failed."""
    table = import_pyarrow().parquet.read_table(out / TABLE, columns=["status"])
    return Counter(table["status"].to_pylist())


def _utf8(value: Any) -> Any:
    """File names may hold bytes that are no text, which Arrow refuses."""
    if isinstance(value, list):
        return [_utf8(each) for each in value]
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
