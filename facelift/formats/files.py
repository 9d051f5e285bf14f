"""Write aside, then rename: a reader sees the old file or the whole new one, never a part."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from facelift.errors import UserError

PathLike = str | os.PathLike[str]


@contextmanager
def atomic_path(path: PathLike) -> Iterator[Path]:
    """A new file to write in the same folder, with the same suffix, that becomes `path` when the block ends.

    When the block raises, the file is removed and `path` stays as it was.

    Raises:
        UserError: `path` cannot be written: a missing or read-only folder, a full disk, not a regular file.
    """
    target = Path(os.path.realpath(path))  # through a link, to the file it names
    aside = target.with_name(f".{secrets.token_hex(6)}{target.suffix}")
    with _plain_errors(path):
        if target.is_dir():
            raise UserError(f"{path} is a folder; give the name of a file.")
        if target.exists() and not target.is_file():  # renaming over /dev/null would replace the device
            raise UserError(f"{path} is not a regular file; choose another name.")
    try:
        with _plain_errors(path, aside):
            yield aside
        with _plain_errors(path):
            _flush(aside)
            os.replace(aside, target)
    except BaseException:
        with suppress(OSError):
            aside.unlink()
        raise


@contextmanager
def atomic_folder(path: PathLike, owned: frozenset[str]) -> Iterator[Path]:
    """A new folder to fill, beside `path`, that becomes `path` when the block ends.

    When the block raises, the new folder is removed and `path` stays as it was. Parents are made.

    Args:
        path: the folder to make or to replace.
        owned: the names that an earlier result may have left in `path`. They go; anything else that
            somebody keeps there is carried over.

    Raises:
        UserError: as `atomic_path`.
    """
    target = Path(os.path.realpath(path))
    mark = secrets.token_hex(6)
    aside, old = target.with_name(f".{mark}"), target.with_name(f".{mark}.old")
    with _plain_errors(path):
        if target.exists() and not target.is_dir():
            raise UserError(f"{path} is a file where a folder should go; choose another folder.")
        target.parent.mkdir(parents=True, exist_ok=True)
        aside.mkdir()
    try:
        with _plain_errors(path, aside):
            yield aside
        with _plain_errors(path):
            _swap(aside, target, old)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    if old.exists():
        with _plain_errors(path):
            for entry in old.iterdir():
                if entry.name not in owned:
                    os.rename(entry, target / entry.name)
            shutil.rmtree(old)


def _swap(aside: Path, target: Path, old: Path) -> None:
    """Put `aside` in the place of `target`, and a folder that stood there at `old`."""
    if target.exists():
        os.rename(target, old)
    try:
        os.rename(aside, target)
    except BaseException:
        if old.exists():
            os.rename(old, target)
        raise


def explain(error: OSError) -> str:
    """What went wrong and what to do about it, as the second half of a sentence about a path."""
    hints = {
        errno.ENOSPC: "the disk is full; free some space or choose another disk",
        errno.EDQUOT: "the disk quota is used up; free some space or choose another disk",
        errno.EFBIG: "the file would be larger than is allowed here",
        errno.EACCES: "permission denied; choose a folder that you may write to",
        errno.EPERM: "permission denied; choose a folder that you may write to",
        errno.EROFS: "the disk is read-only; choose another disk",
        errno.EISDIR: "it is a folder; give the name of a file",
        errno.ENOENT: "the folder does not exist; create it first",
        errno.ENOTDIR: "a part of the path is a file, not a folder",
        errno.ENAMETOOLONG: "the name is too long",
    }
    return hints.get(error.errno or 0) or error.strerror or str(error) or type(error).__name__


@contextmanager
def _plain_errors(path: PathLike, aside: Path | None = None) -> Iterator[None]:
    """Turn a failure to write `path` into a sentence; with `aside`, let errors about other files through."""
    try:
        yield
    except OSError as error:
        if (
            aside is not None
            and error.filename is not None
            and not str(error.filename).startswith(str(aside))
        ):
            raise
        raise UserError(f"Cannot write {path}: {explain(error)}.") from error


def _flush(path: Path) -> None:
    """Push a file to the disk, so that the rename cannot get there before the bytes do."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
