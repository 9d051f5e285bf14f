"""The photos of a batch, one after the other: from files, folders, globs, tar files and parquet files."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from facelift.errors import UserError
from facelift.formats.files import explain
from facelift.results import find_photos

TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
PARQUET = ".parquet"
SIDECARS = frozenset({".json", ".txt", ".cls", ".csv", ".npy", ".xml", ".md", ".html"})
"""Ends of names of what lies beside the photos in tar files of data sets."""

ROWS = 16  # of a parquet file that are held at once
NAMES = ("path", "file_name", "filename", "name", "key", "__key__", "id")
"""Columns of a parquet file that may say what a photo is called."""

Known = Callable[[str, str], bool]
"""Whether nothing is to be done for the photo of this key and version."""


@dataclass(frozen=True)
class Photo:
    """One photo of a batch.

    Attributes:
        key: its absolute path, or that of a tar or parquet file followed by its name or row there.
        version: changes when the photo does.
        name: of its file.
        source: where it is read: a path, or all of its bytes.
    """

    key: str
    version: str
    name: PurePosixPath
    source: Path | bytes


def is_archive(path: str | Path) -> bool:
    """Whether a name is that of a file of many photos."""
    return str(path).lower().endswith((*TARS, PARQUET))


def read_photos(paths: Sequence[str | Path], known: Known) -> Iterator[Photo]:
    """The photos that paths stand for, but for those that are known; nothing is read before it is asked for.

    Args:
        paths: of photos, folders, globs, tar files and parquet files; of these in folders as well.
        known: which are left out.

    Raises:
        UserError: there are none; a tar or parquet file cannot be read, after the photos before the damage.
    """
    for path in find_photos(paths):
        if not is_archive(path):
            photo = _file(path)
            if not known(photo.key, photo.version):
                yield photo
        elif str(path).lower().endswith(PARQUET):
            yield from _rows(path, known)
        else:
            yield from _members(path, known)


def _file(path: Path) -> Photo:
    try:
        status = path.stat()
        version = f"{status.st_size}-{status.st_mtime_ns}"
    except OSError:  # its row will say why
        version = ""
    return Photo(str(path.absolute()), version, PurePosixPath(path.name), path.absolute())


def _members(path: Path, known: Known) -> Iterator[Photo]:
    seen = set()
    try:
        with tarfile.open(path, "r|*") as tar:
            for member in tar:
                name = PurePosixPath(member.name)
                hidden = name.name.startswith(".") or name.suffix.lower() in SIDECARS
                if not member.isfile() or hidden or name in seen:
                    continue
                seen.add(name)
                key, version = f"{path.absolute()}/{name}", f"{member.size}-{member.mtime}"
                file = None if known(key, version) else tar.extractfile(member)
                if file is not None:
                    yield Photo(key, version, PurePosixPath(name.name), file.read())
    except (tarfile.TarError, EOFError) as error:
        raise UserError(f"{path} is no tar file, or it is damaged ({error}): make it again.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {explain(error)}.") from error


def _rows(path: Path, known: Known) -> Iterator[Photo]:
    parquet = import_pyarrow().parquet
    try:
        with parquet.ParquetFile(path) as file:
            pictures, name = _columns(path, file.schema_arrow)
            columns, number = [pictures] if name is None else [pictures, name], 0
            for batch in file.iter_batches(ROWS, columns=columns):
                for row in batch.to_pylist():
                    photo = _row(path, number, row[pictures], None if name is None else row[name])
                    number += 1
                    if not known(photo.key, photo.version):
                        yield photo
    except (ValueError, OSError) as error:  # pyarrow's own are of both kinds
        reason = " ".join(str(error).split())
        raise UserError(f"{path} cannot be read as parquet ({reason}): make it again.") from error


def _row(path: Path, number: int, picture: Any, name: Any) -> Photo:
    if isinstance(picture, dict):  # as the library `datasets` has images
        name, picture = picture.get("path") or name, picture.get("bytes")
    content = picture or b""
    called = PurePosixPath(str(name or "")).name or f"{path.stem}-{number:06d}"
    return Photo(f"{path.absolute()}/{number}", str(len(content)), PurePosixPath(called), content)


def _columns(path: Path, schema: Any) -> tuple[str, str | None]:
    """The column of pictures, and that of their names if there is one."""
    types = import_pyarrow().types

    def holds_bytes(kind: Any) -> bool:
        if types.is_struct(kind):
            return kind.get_field_index("bytes") >= 0
        return types.is_binary(kind) or types.is_large_binary(kind)

    pictures = [field.name for field in schema if holds_bytes(field.type)]
    if len(pictures) != 1:
        found = f"{len(pictures)} ({', '.join(pictures)})" if pictures else "none"
        raise UserError(
            f"{path} must have one column of photos, of bytes or of structs with bytes; it has {found}."
        )
    return pictures[0], next((name for name in NAMES if name in schema.names), None)


def import_pyarrow() -> Any:
    """pyarrow with its parquet module.

    Raises:
        UserError: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError(
            "Batches and parquet files need pyarrow: install it with pip install 'facelift[batch]'."
        ) from None
    return pyarrow
