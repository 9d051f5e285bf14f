"""What readers of other people's files share: bounded memory, and one sentence for whatever is wrong."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from facelift.errors import UserError
from facelift.formats.files import PathLike, explain

MAX_GAUSSIANS = 20_000_000
"""More than any head or scan has, and what a machine with 16 GB can still hold."""

MAX_BYTES = 256 * MAX_GAUSSIANS
"""The largest file that is read: so many Gaussians of degree 3 as 32-bit floats."""

_DAMAGE: tuple[type[Exception], ...] = (
    ValueError,
    TypeError,
    LookupError,
    OverflowError,
    EOFError,
    struct.error,
)


@contextmanager
def reading(path: PathLike, kind: str, *damage: type[Exception]) -> Iterator[None]:
    """Turn what goes wrong while a file is read into a sentence.

    Args:
        path: of the file.
        kind: what it should be, as in "PLY file".
        damage: what its decoder raises beside Python's own errors when the file is damaged.

    Raises:
        UserError: it cannot be read, or is damaged.
    """
    try:
        yield
    except OSError as error:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else explain(error)
        raise UserError(f"Cannot read {path}: {reason}.") from error
    except _DAMAGE + damage as error:
        raise damaged(path, kind) from error


def damaged(path: PathLike, kind: str) -> UserError:
    """What to raise for a file that is cut short, or not of this kind at all."""
    return UserError(f"{path} is not a complete {kind}; write or download it again.")


def file_size(path: PathLike) -> int:
    """Bytes in a file that may be read.

    Raises:
        UserError: there is none, it is no regular file, or too large.
    """
    with reading(path, "file"):
        status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise UserError(f"Cannot read {path}: it is a folder; give the name of a file.")
    if not stat.S_ISREG(status.st_mode):  # a pipe may never end
        raise UserError(f"Cannot read {path}: it is not a regular file; copy it to one.")
    if status.st_size > MAX_BYTES:
        raise UserError(
            f"{path} has {status.st_size / 1e9:.0f} GB; files of up to {MAX_BYTES / 1e9:.0f} GB are read."
        )
    return status.st_size


def read_whole(path: PathLike) -> bytes:
    """The bytes of a file.

    Raises:
        UserError: as `file_size`.
    """
    size = file_size(path)
    with reading(path, "file"), open(path, "rb") as file:
        return file.read(size)


def check_count(path: PathLike, count: int) -> None:
    """Refuse more Gaussians than memory should be given to; what a file claims may be a lie.

    Raises:
        UserError: they are more than MAX_GAUSSIANS.
    """
    if count > MAX_GAUSSIANS:
        raise UserError(f"{path} claims {count:,} Gaussians; files of up to {MAX_GAUSSIANS:,} are read.")
