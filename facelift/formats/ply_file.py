"""What the kinds of PLY share: tables of numbers read safely, and the comment that names the frame."""

from __future__ import annotations

import io
import re
from itertools import takewhile
from typing import BinaryIO, get_args

import numpy as np
import torch
from plyfile import PlyData, PlyElement, PlyParseError

from facelift.errors import UserError
from facelift.formats.files import PathLike
from facelift.formats.frames import Frame
from facelift.formats.reading import check_count, damaged, file_size, reading

KIND = "PLY file"

_HEADER_BYTES = 1 << 16  # many times as long as any header of Gaussians
_HEADER = re.compile(rb"ply\s.*?^end_header(\r\n|\r|\n)", re.S | re.M)
# Blanks, not \s: that would try each of a thousand empty lines with all lines after it.
_ELEMENT = re.compile(rb"^([ \t]*element\s+\S+\s+)(\d+)", re.M)
_NEXT_ELEMENT = re.compile(rb"^(?=[ \t]*element\b)", re.M)
_LIST = re.compile(rb"^[ \t]*property\s+list\b", re.M)
_FRAME = re.compile(r"frame (\w+)")
_AXES = {
    "world": "x right, y back, z up",
    "RDF": "x right, y down, z forward",
    "RUB": "x right, y up, z back",
}


def open_ply(path: PathLike) -> PlyData:
    """A PLY of Gaussians: its elements that are tables of numbers, up to the first that is none.

    Raises:
        UserError: it cannot be read, is none, is cut short, or says that it holds more than it can.
    """
    size = file_size(path)
    with reading(path, KIND, PlyParseError), open(path, "rb") as file:
        header = _HEADER.match(file.read(_HEADER_BYTES))
        if header is None:
            raise damaged(path, KIND)
        tables = _before_lists(header[0], newline=header[1])
        counts = [int(element[2]) for element in _ELEMENT.finditer(tables)]
        if not counts and _LIST.search(header[0]):
            raise UserError(f"{path} has lists, as meshes do; give a PLY file of 3D Gaussians.")
        for count in counts:
            if count > size:  # a row takes a byte at least
                raise damaged(path, KIND)
            check_count(path, count)
        plain = tables.decode("ascii", "replace").encode("ascii", "replace")  # comments are in any language
        # plyfile would map the file into memory, and the process die if somebody cuts the file meanwhile.
        empty = PlyData.read(io.BytesIO(_ELEMENT.sub(rb"\g<1>0", plain)))
        file.seek(header.end())
        for element, count in zip(empty, counts, strict=True):  # before memory is taken for what is not there
            kinds = element.dtype(empty.byte_order)
            row = 2 * len(kinds) if empty.text else kinds.itemsize  # of text, a digit and a space at least
            if count * row > size - header.end() + 1:  # the last line of text may lack its end
                raise damaged(path, KIND)
        if empty.text:
            return PlyData.read(io.BytesIO(plain + file.read()))
        order = empty.byte_order
        rows = [_rows(path, file, e.dtype(order), n) for e, n in zip(empty, counts, strict=True)]
        elements = [PlyElement.describe(table, e.name) for e, table in zip(empty, rows, strict=True)]
        return PlyData(elements, comments=empty.comments)


def is_compressed(header: bytes) -> bool:
    """Whether a PLY that begins so is SuperSplat's compressed one."""
    return b"packed_position" in header.partition(b"end_header")[0]


def frame_comment(frame: Frame) -> str:
    """What the header says about the frame."""
    return f"frame {frame}: {_AXES[frame]}"


def frame_in(data: PlyData) -> Frame | None:
    """The frame that `frame_comment` named; None if there is no such comment."""
    named = [match[1] for comment in data.comments if (match := _FRAME.match(comment))]
    return next((frame for frame in get_args(Frame) if frame in named), None)


def higher_coefficients(path: PathLike, rest: torch.Tensor) -> torch.Tensor | None:
    """(N, K, 3) from (N, 3 K) values of f_rest; None if all are zeros, which say nothing.

    Raises:
        UserError: they are as many as no degree has.
    """
    if rest.shape[1] not in (9, 24, 45):
        raise UserError(
            f"{path} has {rest.shape[1]} values of f_rest a Gaussian; degrees 1 to 3 have 9, 24 or 45."
        )
    return rest.reshape(len(rest), 3, -1).mT.contiguous() if bool(rest.any()) else None


def _before_lists(header: bytes, newline: bytes) -> bytes:
    """A header without the first element that has lists, such as a mesh's faces, and without all after it."""
    start, *elements = _NEXT_ELEMENT.split(header)
    tables = list(takewhile(lambda element: not _LIST.search(element), elements))
    return header if tables == elements else b"".join([start, *tables, b"end_header", newline])


def _rows(path: PathLike, file: BinaryIO, record: np.dtype, count: int) -> np.ndarray:
    rows = np.fromfile(file, record, count)
    if len(rows) < count:
        raise damaged(path, KIND)
    return rows
