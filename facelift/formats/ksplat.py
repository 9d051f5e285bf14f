"""The .ksplat of GaussianSplats3D. It is only read, for that viewer takes PLY and .splat as well.

A file has sections. At compression level 0 they hold 32-bit floats. At 1 and 2 positions have 16 bits, around
the centres of buckets; scales, rotations (wxyz) and, at 1, coefficients above degree 0 are half floats, at 2
these are bytes. Colour and opacity are bytes. The frame is that of 3D Gaussian Splatting.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from facelift.errors import UserError
from facelift.formats.files import PathLike
from facelift.formats.frames import Frame, from_frame
from facelift.formats.reading import check_count, damaged, read_whole, reading
from facelift.gaussians import Gaussians
from facelift.isolation import isolated
from facelift.spherical_harmonics import C0, COEFFICIENTS

_KIND = ".ksplat file"
_HEADER = struct.Struct("<BB2xI8xIH14xff")  # version, sections, Gaussians, level, range of bytes; 4096 bytes
_SECTION = struct.Struct("<IIIIfH2xI4xIIH")  # the fields of _Section; 1024 bytes
_HEADER_BYTES, _SECTION_BYTES = 4096, 1024
_POSITION_RANGE = 32767
_HIGHER_RANGE = 1.5


class _Section(NamedTuple):
    length: int
    room: int  # for Gaussians
    bucket_size: int
    buckets: int
    block_size: float
    center_bytes: int
    position_range: int
    full_buckets: int
    partial_buckets: int
    degree: int


@isolated()
def read_ksplat(path: PathLike, frame: Frame | None = None) -> Gaussians:
    """Read Gaussians into our world.

    Args:
        path: of the file.
        frame: of the file; None is 3D Gaussian Splatting's, "RDF".

    Raises:
        UserError: the file cannot be read, is damaged, or of a version that is not known.
    """
    data = read_whole(path)
    with reading(path, _KIND):
        major, minor, sections, count, level, low, high = _HEADER.unpack_from(data)
        if major != 0 or minor < 1 or level > 2:
            raise UserError(f"{path} is no .ksplat file of version 0.1; only that one is read.")
        check_count(path, count)
        place = _HEADER_BYTES + sections * _SECTION_BYTES
        if place > len(data):
            raise damaged(path, _KIND)
        found = [np.zeros(0, _record(level, 0))]
        means = [np.zeros((0, 3))]
        for number in range(sections):
            section = _Section(*_SECTION.unpack_from(data, _HEADER_BYTES + number * _SECTION_BYTES))
            record = _record(level, section.degree)
            centers = place + 4 * section.partial_buckets
            rows = centers + section.center_bytes * section.buckets
            place = rows + record.itemsize * section.room
            if place > len(data) or section.length > section.room:
                raise damaged(path, _KIND)
            table = np.frombuffer(data, record, section.length, rows)
            found.append(table)
            means.append(table["xyz"] if level == 0 else _unpacked(table["xyz"], section, data, centers))
        higher = [_by_coefficient(table["higher"].astype(np.float64)) for table in found]
        degree = max(part.shape[1] for part in higher)
        if level == 2:
            least, most = low or -_HIGHER_RANGE, high or _HIGHER_RANGE
            higher = [least + part / 255.0 * (most - least) for part in higher]
        padded = [np.pad(part, ((0, 0), (0, degree - part.shape[1]), (0, 0))) for part in higher]
        rgba = np.concatenate([table["rgba"] for table in found]) / 255.0
        gaussians = Gaussians(
            means=_tensor(np.concatenate(means)),
            quats=_tensor(np.concatenate([table["rot"] for table in found])),
            scales=_tensor(np.concatenate([table["scale"] for table in found])),
            opacities=_tensor(rgba[:, 3]),
            sh0=_tensor((rgba[:, :3] - 0.5) / C0),
            shN=_tensor(np.concatenate(padded)) if degree else None,
        )
        if len(gaussians) != count or bool((gaussians.scales < 0).any()):
            raise damaged(path, _KIND)
    return from_frame(gaussians, frame or "RDF")


def _record(level: int, degree: int) -> np.dtype:
    if degree > 2:
        raise ValueError(f"degree {degree}")
    position, real, higher = (("<f4",) * 3, ("<u2", "<f2", "<f2"), ("<u2", "<f2", "u1"))[level]
    count = 3 * COEFFICIENTS[degree]
    return np.dtype(
        [
            ("xyz", position, 3),
            ("scale", real, 3),
            ("rot", real, 4),
            ("rgba", "u1", 4),
            ("higher", higher, (count,)),
        ]
    )


def _unpacked(positions: np.ndarray, section: _Section, data: bytes, centers: int) -> NDArray[np.float64]:
    """(N, 3) of positions within buckets, most of which are full and come first."""
    if section.full_buckets + section.partial_buckets != section.buckets or section.center_bytes != 12:
        raise ValueError("buckets")
    middles = np.frombuffer(data, "<f4", 3 * section.buckets, centers).reshape(-1, 3)
    partial = np.frombuffer(data, "<u4", section.partial_buckets, centers - 4 * section.partial_buckets)
    sizes = np.concatenate([np.full(section.full_buckets, section.bucket_size), partial]).astype(np.int64)
    bucket = np.searchsorted(np.cumsum(sizes), np.arange(len(positions)), side="right")
    steps = section.position_range or _POSITION_RANGE
    return (positions.astype(np.float64) - steps) * (section.block_size / 2.0 / steps) + middles[bucket]


def _by_coefficient(higher: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, K, 3) of (N, 3 K), where all of degree 1 come first, and within a degree channel after channel."""
    degrees = [higher[:, first:last] for first, last in ((0, 9), (9, 24)) if higher.shape[1] >= last]
    channels = [degree.reshape(len(higher), 3, degree.shape[1] // 3) for degree in degrees]
    return np.concatenate([np.zeros((len(higher), 3, 0)), *channels], axis=2).swapaxes(1, 2)


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))
