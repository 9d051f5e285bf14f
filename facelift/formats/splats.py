"""Files of 3D Gaussians: one table of formats; to write, the name chooses one, to read, the content."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from facelift.errors import UserError
from facelift.formats.compressed_ply import read_compressed_ply, write_compressed_ply
from facelift.formats.dot_splat import read_splat, write_splat
from facelift.formats.files import PathLike
from facelift.formats.frames import Frame
from facelift.formats.gltf import read_glb, write_glb
from facelift.formats.ksplat import read_ksplat
from facelift.formats.ply import read_ply, write_ply
from facelift.formats.ply_file import is_compressed
from facelift.formats.reading import file_size, reading
from facelift.formats.sog import read_sog, write_sog
from facelift.formats.spz import read_spz, write_spz
from facelift.gaussians import Gaussians

_HEAD_BYTES = 1 << 16


@dataclass(frozen=True)
class SplatFormat:
    """A kind of file that holds Gaussians.

    Attributes:
        suffix: how the name of such a file ends, in lower case; the longest that fits counts.
        name: what people call it.
        write: takes a path and Gaussians of our world; None if it is only read.
        read: takes a path and the frame of the file, None for what the format or the file itself says, and
            gives Gaussians of our world.
        begins: whether a file that begins with these bytes is one, whatever its name.
    """

    suffix: str
    name: str
    write: Callable[[PathLike, Gaussians], None] | None
    read: Callable[[PathLike, Frame | None], Gaussians]
    begins: Callable[[bytes], bool]


def _nothing_tells(head: bytes) -> bool:
    return False


SPLAT_FORMATS: tuple[SplatFormat, ...] = (
    SplatFormat(
        ".ply", "3DGS PLY", write_ply, read_ply, lambda head: head[:3] == b"ply" and not is_compressed(head)
    ),
    SplatFormat(
        ".compressed.ply",
        "SuperSplat's compressed PLY",
        write_compressed_ply,
        read_compressed_ply,
        lambda head: head[:3] == b"ply" and is_compressed(head),
    ),
    SplatFormat(".splat", "antimatter15's .splat", write_splat, read_splat, _nothing_tells),
    SplatFormat(".spz", "Niantic's SPZ", write_spz, read_spz, lambda head: head[:3] == b"\x1f\x8b\x08"),
    SplatFormat(
        ".v4.spz",
        "Niantic's SPZ, version 4, which some tools do not read yet",
        partial(write_spz, version=4),
        read_spz,
        lambda head: head[:4] == b"NGSP",
    ),
    SplatFormat(".sog", "PlayCanvas's SOG", write_sog, read_sog, lambda head: head[:4] == b"PK\3\4"),
    SplatFormat(
        ".glb", "glTF with KHR_gaussian_splatting", write_glb, read_glb, lambda head: head[:4] == b"glTF"
    ),
    SplatFormat(".ksplat", "GaussianSplats3D's .ksplat", None, read_ksplat, _nothing_tells),
)


def write_splats(path: PathLike, gaussians: Gaussians) -> None:
    """Write Gaussians of our world as what the end of `path` says, upright in that format's frame.

    Raises:
        UserError: no format of SPLAT_FORMATS that is written ends so; or as the format's own `write` says.
    """
    format = splat_format(path)
    if format is None or format.write is None:
        known = ", ".join(format.suffix for format in SPLAT_FORMATS if format.write)
        raise UserError(f"No file of Gaussians is written as {path}: let its name end in {known}.")
    format.write(path, gaussians)


def read_splats(path: PathLike, frame: Frame | None = None) -> Gaussians:
    """Read Gaussians from any file of SPLAT_FORMATS, which its content tells, or else its name.

    Args:
        path: of the file.
        frame: of the file; None for what the format or the file itself says.

    Returns:
        In our world, as the file says: `gaussians[gaussians.drawable]` leaves NaN out.

    Raises:
        UserError: it is none of these, cannot be read, or is damaged.
    """
    file_size(path)
    with reading(path, "file"), open(path, "rb") as file:
        head = file.read(_HEAD_BYTES)
    format = next((format for format in SPLAT_FORMATS if format.begins(head)), None) or splat_format(path)
    if format is None:
        known = ", ".join(format.suffix for format in SPLAT_FORMATS)
        raise UserError(f"{path} is no file of Gaussians that is known here; these are {known}.")
    return format.read(path, frame)


def splat_format(path: PathLike) -> SplatFormat | None:
    """The format that the end of a name stands for; None if there is none."""
    name = Path(path).name.lower()
    fitting = [format for format in SPLAT_FORMATS if name.endswith(format.suffix)]
    return max(fitting, key=lambda format: len(format.suffix), default=None)
