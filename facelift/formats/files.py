"""Write aside, then rename: a reader sees the old file or the whole new one, never a part.

So it is however the writing ends: by an error, by Ctrl-C at any moment, or beside another process that
writes the same.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from _thread import start_new_thread
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock

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

    def put() -> None:
        _flush(aside)
        os.replace(aside, target)

    def remove() -> None:
        with suppress(OSError):
            aside.unlink()

    try:
        with _plain_errors(path, aside):
            yield aside
        with _plain_errors(path):
            _uninterrupted(put)
    except BaseException:
        _uninterrupted(remove)
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
    aside = target.with_name(f".{secrets.token_hex(6)}")
    with _plain_errors(path):
        if target.exists() and not target.is_dir():
            raise UserError(f"{path} is a file where a folder should go; choose another folder.")
        target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _plain_errors(path):
            aside.mkdir()
        with _as_told(path, aside), _plain_errors(path, aside):
            yield aside
        with _as_told(path, aside), _plain_errors(path):
            _uninterrupted(lambda: _put_folder(aside, target, owned))
    except BaseException:
        _uninterrupted(lambda: shutil.rmtree(aside, ignore_errors=True))
        raise


def _put_folder(aside: Path, target: Path, owned: frozenset[str]) -> None:
    """Put `aside` in the place of `target`, and into it what somebody keeps there."""
    old = aside.with_name(f"{aside.name}.old")
    with _alone(target.parent):
        if target.exists():
            os.rename(target, old)
        try:
            os.rename(aside, target)
        except BaseException:
            if old.exists():
                os.rename(old, target)
            raise
        if old.exists():
            for entry in old.iterdir():
                if entry.name not in owned:
                    os.rename(entry, target / entry.name)
            shutil.rmtree(old)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time, where the system knows how: two may have made the same result at once."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _uninterrupted(action: Callable[[], None]) -> None:
    """Do a few steps on the disk from the first to the last, even if Ctrl-C comes in between.

    Signals reach the main thread alone, so the steps are done in another. An interruption is raised before
    the first or after the last. Bare locks, since Python's larger ones may stay locked when a signal comes.
    """
    begun, finished = Lock(), Lock()
    outcome: list[BaseException | None] = []
    finished.acquire()

    def work() -> None:
        if begun.acquire(blocking=False):
            try:
                action()
                outcome.append(None)
            except BaseException as error:
                outcome.append(error)
            finished.release()

    try:
        start_new_thread(work, ())
        finished.acquire()
    except BaseException:
        if not begun.acquire(blocking=False) and not outcome:  # else it never begins, or is done
            finished.acquire()
        raise
    if outcome[0] is not None:
        raise outcome[0]


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
def _as_told(path: PathLike, aside: Path) -> Iterator[None]:
    """Have errors name the files in `aside` by where they would have gone, and say if it disappeared."""
    try:
        yield
    except UserError as error:
        if not aside.exists():
            message = f"The folder that {path} was being written in has disappeared: run it again."
            raise UserError(message) from error
        raise UserError(str(error).replace(str(aside), str(path))) from error


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
