"""SPZ, Niantic's compressed splats: 20 bytes a Gaussian before they are packed, and one a coefficient.

Positions are 24-bit fixed-point numbers; colour, opacity and log-scale are bytes; of a rotation the largest
component is left out, and the others have 10 bits. Attributes stand one after the other: in versions 2 and 3
in one gzip stream with the header, in version 4 after it, each in a stream of Zstandard's. The frame is RUB
unless an extension names another. https://github.com/nianticlabs/spz has the specification.
"""

from __future__ import annotations

import gzip
import struct
import sys
import zlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from itertools import accumulate
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from facelift.errors import UserError
from facelift.formats.files import PathLike, atomic_path
from facelift.formats.frames import Frame, from_frame, to_frame
from facelift.formats.ply import array
from facelift.formats.reading import check_count, damaged, read_whole, reading
from facelift.formats.smallest_three import with_largest, without_largest
from facelift.gaussians import Gaussians
from facelift.isolation import isolated

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Version = Literal[3, 4]
Parts = tuple["_Header", bytes, bytes]
"""A file's header, its attributes one after the other, and its extensions."""

_KIND = "SPZ file"
_MAGIC = b"NGSP"
_START = "<4sIIBBBB"  # of the header: magic, then the fields of _Header
_START_BYTES = 32  # of version 4's, with the place of the table of contents and reserved bytes
_ZSTD_LEVEL = 12  # as Niantic's
_FRACTION_BITS = 12  # a quarter of a thousandth of a unit
_COLOR = 0.15 * 255  # levels of a coefficient of degree 0: wider than colours are, for sums of several
_LEAST_LOG_SCALE, _LOG_SCALES = -10.0, 16.0  # and levels of a unit
_ROTATION = 511 * np.sqrt(2.0)  # levels of a component, beside its sign
_HIGHER = 128.0  # levels of a coefficient above degree 0, which lies within -1 and 1
_MOST_COEFFICIENTS = 15  # of degree 3

_EXTENSION_BYTES = 1 << 16  # many times as many as any file has
_COORDINATE_SYSTEM = 0xADBE0003  # Adobe's extension that names the frame, and its numbers for those we know
_FRAMES: dict[int, Frame] = {0: "RUB", 4: "RUB", 6: "RDF", 16: "world"}


@dataclass(frozen=True)
class _Header:
    version: int
    count: int
    degree: int
    fraction_bits: int
    flags: int = 0
    streams: int = 0

    @property
    def widths(self) -> tuple[int, ...]:
        """Bytes a Gaussian of positions, opacities, colours, scales, rotations and higher coefficients."""
        return 9, 1, 3, 3, 3 if self.version == 2 else 4, 3 * ((self.degree + 1) ** 2 - 1)

    @property
    def sizes(self) -> list[int]:
        """Bytes of each attribute."""
        return [self.count * width for width in self.widths]


@isolated()
def write_spz(path: PathLike, gaussians: Gaussians, version: Version = 3) -> None:
    """Write Gaussians of our world.

    Args:
        path: where to.
        gaussians: positions within ±8 million units.
        version: of the format; 3 and 4 are as large, and all tools read 3.

    Raises:
        UserError: `path` cannot be written, these are no Gaussians, see `Gaussians.check`, they lie too far
            from the origin, or there is no such version.
    """
    gaussians.check()
    if version not in get_args(Version):
        raise UserError(f"SPZ files are written in version 3 or 4, not {version}.")
    turned = to_frame(gaussians.to("cpu"), "RUB")
    means = array(turned.means)
    extent = float(np.abs(means).max(initial=0.0))
    bits = next((b for b in range(_FRACTION_BITS, -1, -1) if extent * 2**b < 2**23 - 1), None)
    if bits is None:
        raise UserError("Gaussians in SPZ files must lie within 8 million units: scale these down.")
    higher = np.zeros(0) if turned.shN is None else array(turned.shN)
    attributes = [
        (means * 2**bits).round().astype("<i4").view(np.uint8).reshape(-1, 3, 4)[:, :, :3].tobytes(),
        _bytes(array(turned.opacities) * 255.0),
        _bytes(array(turned.sh0) * _COLOR + 127.5),
        _bytes((np.log(array(turned.scales)) - _LEAST_LOG_SCALE) * _LOG_SCALES),
        _rotation_words(array(turned.quats)).tobytes(),
        _bytes(higher * _HIGHER + 128.0),
    ]
    header = _Header(version, len(turned), turned.degree, bits)
    with atomic_path(path) as aside:
        aside.write_bytes(_to_gzip(header, attributes) if version == 3 else _to_zstd(header, attributes))


@isolated()
def read_spz(path: PathLike, frame: Frame | None = None) -> Gaussians:
    """Read Gaussians of versions 2 to 4, ours or another tool's; coefficients of degree 4 are left out.

    Args:
        path: of the file.
        frame: of the file; None for what an extension in it says, or else RUB.

    Returns:
        In our world.

    Raises:
        UserError: the file cannot be read, is no SPZ, is cut short, or of an unknown version or frame.
    """
    data = read_whole(path)
    with reading(path, _KIND, zlib.error, zstd.ZstdError):
        header, body, extensions = (_from_zstd if data.startswith(_MAGIC) else _from_gzip)(path, data)
        positions, opacities, colors, scales, rotations, higher = (
            np.frombuffer(part, np.uint8).reshape(header.count, width)
            for part, width in zip(_split(body, header.sizes), header.widths, strict=True)
        )
        fixed = np.zeros((header.count, 3, 4), np.uint8)
        fixed[:, :, 1:] = positions.reshape(-1, 3, 3)  # the upper bytes, so that a shift extends the sign
        quats = _first_three(rotations) if header.version == 2 else _smallest_three(rotations)
        rest = higher.reshape(header.count, header.widths[-1] // 3, 3)[:, :_MOST_COEFFICIENTS]
        gaussians = Gaussians(
            means=_tensor((fixed.view("<i4")[:, :, 0] >> 8) / 2.0**header.fraction_bits),
            quats=_tensor(quats),
            scales=_tensor(np.exp(scales / _LOG_SCALES + _LEAST_LOG_SCALE)),
            opacities=_tensor(opacities[:, 0] / 255.0),
            sh0=_tensor((colors - 127.5) / _COLOR),
            shN=_tensor((rest - 128.0) / _HIGHER) if (rest != 128).any() else None,
        )
        return from_frame(gaussians, frame or _frame_in(path, extensions))


def _rotation_words(quats: NDArray[np.float64]) -> NDArray[np.uint32]:
    """(N,): two bits for which of xyzw is left out, and ten for each of the others, the sign in front."""
    largest, others = without_largest(np.roll(quats, -1, axis=-1))
    levels = (np.abs(others) * _ROTATION + 0.5).astype("<u4") | (others < 0).astype("<u4") << 9
    return (largest.astype("<u4") << 30) | (levels[:, 0] << 20) | (levels[:, 1] << 10) | levels[:, 2]


def _smallest_three(rotations: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(N, 4) wxyz of the bytes of `_rotation_words`."""
    words = np.ascontiguousarray(rotations).view("<u4")
    levels = np.hstack([words >> 20, words >> 10, words])
    others = np.where(levels & 512, -1.0, 1.0) * (levels & 511) / _ROTATION
    return np.roll(with_largest(words[:, 0] >> 30, others), 1, axis=-1)


def _first_three(rotations: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(N, 4) wxyz of version 2's bytes: xyz, where w is not negative."""
    xyz = rotations / 127.5 - 1.0
    w = np.sqrt((1.0 - (xyz**2).sum(axis=-1, keepdims=True)).clip(0.0))
    return np.hstack([w, xyz])


def _to_gzip(header: _Header, attributes: list[bytes]) -> bytes:
    start = struct.pack(_START, _MAGIC, *astuple(header))
    return gzip.compress(b"".join([start, *attributes]), mtime=0)  # the same bytes each time


def _to_zstd(header: _Header, attributes: list[bytes]) -> bytes:
    filled = [attribute for attribute in attributes if attribute]
    packed = [zstd.compress(attribute, level=_ZSTD_LEVEL) for attribute in filled]
    start = struct.pack(_START, _MAGIC, *astuple(replace(header, streams=len(filled))))
    contents = [struct.pack("<QQ", len(p), len(f)) for p, f in zip(packed, filled, strict=True)]
    return b"".join([start, struct.pack("<I12x", _START_BYTES), *contents, *packed])


def _from_gzip(path: PathLike, data: bytes) -> Parts:
    stream = zlib.decompressobj(wbits=31)
    header = _read_header(path, stream.decompress(data, struct.calcsize(_START)))
    size = sum(header.sizes)
    body = stream.decompress(stream.unconsumed_tail, size + _EXTENSION_BYTES)
    if not stream.eof:  # so that the checksum has not been compared
        raise damaged(path, _KIND)
    return header, body[:size], body[size:]


def _from_zstd(path: PathLike, data: bytes) -> Parts:
    header = _read_header(path, data)
    (contents,) = struct.unpack_from("<I", data, struct.calcsize(_START))
    sizes = [size for size in header.sizes if size]
    packed = struct.unpack_from("<" + "Q8x" * len(sizes), data, contents)
    rest = data[contents + 16 * len(sizes) :]
    if header.streams != len(sizes) or contents < _START_BYTES:
        raise damaged(path, _KIND)
    streams = [
        zstd.ZstdDecompressor().decompress(part, max_length=size)
        for part, size in zip(_split(rest, packed), sizes, strict=True)
    ]
    return header, b"".join(streams), data[_START_BYTES:contents]


def _read_header(path: PathLike, data: bytes) -> _Header:
    magic, *numbers = struct.unpack_from(_START, data)
    header = _Header(*numbers)
    if magic != _MAGIC:
        raise damaged(path, _KIND)
    if not 2 <= header.version <= 4:
        raise UserError(f"{path} is an SPZ file of version {header.version}; versions 2 to 4 are read.")
    if header.degree > 4 or header.fraction_bits > 24:
        raise damaged(path, _KIND)
    check_count(path, header.count)
    return header


def _frame_in(path: PathLike, extensions: bytes) -> Frame:
    """The frame that an extension names; RUB where none does."""
    while len(extensions) >= 8:
        kind, length = struct.unpack_from("<II", extensions)
        if kind == _COORDINATE_SYSTEM:
            (system,) = struct.unpack_from("<I", extensions, 8)
            if system not in _FRAMES:
                raise UserError(f"{path} is in a frame that is not read; save it as RUB, as SPZ files are.")
            return _FRAMES[system]
        extensions = extensions[8 + length :]
    return "RUB"


def _split(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    """The first bytes, cut into pieces of these sizes; ValueError if they do not suffice."""
    if len(data) < sum(sizes):
        raise ValueError("too few bytes")
    ends = list(accumulate(sizes))
    return [data[end - size : end] for end, size in zip(ends, sizes, strict=True)]


def _bytes(levels: NDArray[np.float64]) -> bytes:
    return levels.round().clip(0.0, 255.0).astype(np.uint8).tobytes()


def _tensor(values: NDArray[np.floating]) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))
