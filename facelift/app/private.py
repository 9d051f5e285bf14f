"""The folder where a server keeps photos and heads: nobody else's, and gone when the server is."""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from facelift.errors import UserError
from facelift.formats.files import explain

LOCK = "lock"


class PrivateFolder:
    """A new folder that only this user can read, and that is removed at the end.

    What killed servers have left goes at the start. A lock that the system frees with the process tells
    a living server's folder from a leftover. Nothing else in `parent` is touched.

    Args:
        parent: where to make it; None is the system's folder of temporary files.

    Raises:
        UserError: it cannot be made.
    """

    def __init__(self, parent: Path | None = None) -> None:
        parent = parent or Path(tempfile.gettempdir())
        prefix = f"facelift-app-{getpass.getuser()}-"
        try:
            parent.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(parent, prefix)
            token = secrets.token_hex(8)
            new = parent / f".{token}"  # under its own name only once it is locked, or it seems a leftover
            new.mkdir(mode=0o700)
            self._lock = FileLock(new / LOCK)
            self._lock.acquire()
            self.path = new.rename(parent / f"{prefix}{token}")
        except OSError as error:
            raise UserError(f"Cannot keep photos in {parent}: {explain(error)}.") from error

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.release()
        shutil.rmtree(self.path, ignore_errors=True)  # Windows removes no file that is open


def _remove_leftovers(parent: Path, prefix: str) -> None:
    for folder in parent.glob(f"{prefix}*"):
        if not _is_ours(folder):
            continue
        lock = FileLock(folder / LOCK)
        with suppress(Timeout, OSError, NotImplementedError):
            lock.acquire(timeout=0)
            shutil.rmtree(folder, ignore_errors=True)
            lock.release()
            shutil.rmtree(folder, ignore_errors=True)


def _is_ours(folder: Path) -> bool:
    """A real folder of this user with a lock in it, and no link that somebody laid there."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    owner = getattr(os, "getuid", lambda: status.st_uid)()  # Windows keeps other users out of this folder
    return (
        folder.is_dir() and not folder.is_symlink() and status.st_uid == owner and (folder / LOCK).is_file()
    )
