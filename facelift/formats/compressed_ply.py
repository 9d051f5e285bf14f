"""SuperSplat's compressed PLY: 16 bytes a Gaussian, and one for each coefficient above degree 0.

Each 256 Gaussians are a chunk, which keeps the bounds of their positions, log-scales and colours as floats.
Within them position and log-scale have 11, 10 and 11 bits, colour and opacity 8 each. A rotation lacks its
largest component; the other three have 10 bits. Coefficients above degree 0 are bytes from -4 to 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from plyfile import PlyData, PlyElement

from facelift.errors import UserError
from facelift.formats.files import PathLike, atomic_path
from facelift.formats.frames import Frame, from_frame, to_frame
from facelift.formats.morton import morton_order
from facelift.formats.ply import array
from facelift.formats.ply_file import KIND, frame_comment, frame_in, higher_coefficients, open_ply
from facelift.formats.reading import damaged, reading
from facelift.formats.smallest_three import with_largest, without_largest
from facelift.gaussians import Gaussians
from facelift.isolation import isolated
from facelift.spherical_harmonics import C0

Floats = NDArray[np.float64]

_CHUNK = 256
_WORDS = {
    "packed_position": (11, 10, 11),
    "packed_rotation": (2, 10, 10, 10),  # which component is left out, wxyz, and the others
    "packed_scale": (11, 10, 11),
    "packed_color": (8, 8, 8, 8),
}
"""Properties of a vertex, and the bits of their parts, the highest first."""

_BOUNDS = tuple(
    tuple(f"{end}_{name}" for end in ("min", "max") for name in names)
    for names in (("x", "y", "z"), ("scale_x", "scale_y", "scale_z"), ("r", "g", "b"))
)
"""Properties of a chunk."""

_LEAST_SCALE = np.exp(-20.0)  # as PlayCanvas has it; a Gaussian of 2e-9 is nothing
_COEFFICIENTS = 8.0  # from the least to the largest


@isolated()
def write_compressed_ply(path: PathLike, gaussians: Gaussians) -> None:
    """Write Gaussians of our world, in Morton order.

    Raises:
        UserError: `path` cannot be written, or these are no Gaussians, see `Gaussians.check`.
    """
    gaussians.check()
    frame: Frame = "RDF"
    turned = to_frame(gaussians.to("cpu"), frame)
    turned = turned[torch.from_numpy(morton_order(array(turned.means)))]
    position = array(turned.means)
    scale = np.log(array(turned.scales).clip(_LEAST_SCALE))
    color = 0.5 + C0 * array(turned.sh0)
    bounds = [_bounds(values) for values in (position, scale, color)]
    parts = (
        _to_unit(position, bounds[0]),
        _to_units(array(turned.quats)),
        _to_unit(scale, bounds[1]),
        np.column_stack([_to_unit(color, bounds[2]), array(turned.opacities)]),
    )
    words = [_pack(units, bits) for units, bits in zip(parts, _WORDS.values(), strict=True)]
    elements = [
        _element("chunk", np.hstack([b.reshape(-1, 6) for b in bounds]), "<f4", chain(*_BOUNDS)),
        _element("vertex", np.column_stack(words), "<u4", _WORDS),
    ]
    if turned.shN is not None:
        rest = array(turned.shN).swapaxes(1, 2).reshape(len(turned), -1)
        levels = ((rest / _COEFFICIENTS + 0.5) * 256).clip(0, 255)
        elements.append(_element("sh", levels, "u1", (f"f_rest_{i}" for i in range(rest.shape[1]))))
    with atomic_path(path) as aside, open(aside, "wb") as file:
        PlyData(elements, byte_order="<", comments=[frame_comment(frame)]).write(file)


@isolated()
def read_compressed_ply(path: PathLike, frame: Frame | None = None) -> Gaussians:
    """Read Gaussians from a compressed PLY, ours or another tool's.

    Args:
        path: of the file.
        frame: of the file; None goes by its comment, and without one is 3D Gaussian Splatting's, "RDF".

    Returns:
        In our world, as the file says: NaN is not left out.

    Raises:
        UserError: the file cannot be read, is not a PLY, is cut short, or is not of this kind.
    """
    data = open_ply(path)
    with reading(path, KIND):
        if "chunk" not in data or "vertex" not in data:
            raise UserError(f"{path} has no chunks; give a compressed PLY file of 3D Gaussians.")
        chunk, vertex = data["chunk"].data, data["vertex"].data
        if len(chunk) != -(-len(vertex) // _CHUNK):
            raise UserError(f"{path} has {len(chunk)} chunks for {len(vertex)} Gaussians; 256 go into one.")
        position, rotation, scale, color = (_unpack(vertex[name], bits) for name, bits in _WORDS.items())
        bounds = [_table(chunk, names).reshape(-1, 2, 3) for names in _BOUNDS[:2]]
        rgb = color[:, :3]
        if "min_r" in chunk.dtype.names:  # older files have none
            rgb = _from_unit(rgb, _table(chunk, _BOUNDS[2]).reshape(-1, 2, 3))
        gaussians = Gaussians(
            means=_tensor(_from_unit(position, bounds[0])),
            quats=_tensor(_to_quats(rotation)),
            scales=_tensor(np.exp(_from_unit(scale, bounds[1]))),
            opacities=_tensor(color[:, 3]),
            sh0=_tensor((rgb - 0.5) / C0),
            shN=_coefficients(path, data["sh"].data, len(vertex)) if "sh" in data else None,
        )
    return from_frame(gaussians, frame or frame_in(data) or "RDF")


def _bounds(values: Floats) -> Floats:
    """(C, 2, 3) least and largest of each chunk of (N, 3) values, as the file's floats can say them."""
    starts = np.arange(0, len(values), _CHUNK)
    if len(starts) == 0:
        return np.zeros((0, 2, 3))
    ends = [np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)]
    return np.stack(ends, axis=1).astype(np.float32).astype(np.float64)


def _to_unit(values: Floats, bounds: Floats) -> Floats:
    """(N, 3) values in [0, 1] within the bounds (C, 2, 3) of their chunks."""
    low, high = _of_each(bounds, len(values))
    return (values - low) / np.where(high > low, high - low, 1.0)


def _from_unit(units: Floats, bounds: Floats) -> Floats:
    low, high = _of_each(bounds, len(units))
    return low * (1.0 - units) + high * units


def _of_each(bounds: Floats, count: int) -> Floats:
    """(2, N, 3) bounds of the chunks that N Gaussians are in."""
    return np.repeat(bounds, _CHUNK, axis=0)[:count].swapaxes(0, 1)


def _pack(units: Floats, bits: tuple[int, ...]) -> NDArray[np.uint32]:
    """(N,) words of (N, parts) values in [0, 1], which are clamped."""
    word = np.zeros(len(units), np.uint32)
    for part, width in zip(units.T, bits, strict=True):
        level = (part.clip(0.0, 1.0) * (2**width - 1)).round().astype(np.uint32)
        word = word << np.uint32(width) | level
    return word


def _unpack(words: NDArray[np.uint32], bits: tuple[int, ...]) -> Floats:
    """(N, parts) values in [0, 1] of (N,) words."""
    words, parts = np.asarray(words, np.uint32), []
    for width in reversed(bits):
        parts.append((words & np.uint32(2**width - 1)) / (2**width - 1))
        words = words >> np.uint32(width)
    return np.stack(parts[::-1], axis=-1)


def _to_units(quats: Floats) -> Floats:
    """(N, 4) in [0, 1]: which component is the largest, of 0 to 3, and the others."""
    largest, others = without_largest(quats)
    return np.column_stack([largest / 3.0, others / np.sqrt(2.0) + 0.5])


def _to_quats(units: Floats) -> Floats:
    """(N, 4) wxyz of what `_to_units` gives."""
    return with_largest((units[:, 0] * 3.0).round(), (units[:, 1:] - 0.5) * np.sqrt(2.0))


def _coefficients(path: PathLike, table: np.ndarray, count: int) -> torch.Tensor | None:
    levels = _table(table, [f"f_rest_{i}" for i in range(len(table.dtype.names or ()))])
    if len(levels) != count:
        raise damaged(path, KIND)
    # A level stands for its middle, the outermost ones for the ends.
    units = np.where(levels == 0, 0.0, np.where(levels == 255, 1.0, (levels + 0.5) / 256))
    return higher_coefficients(path, _tensor((units - 0.5) * _COEFFICIENTS))


def _element(name: str, values: np.ndarray, kind: str, columns: Iterable[str]) -> PlyElement:
    """Rows of (N, C) numbers, all of one kind, as an element of a PLY."""
    record = np.dtype([(column, kind) for column in columns])
    return PlyElement.describe(np.ascontiguousarray(values, kind).view(record)[:, 0], name)


def _table(element: np.ndarray, columns: Sequence[str]) -> Floats:
    return np.stack([np.asarray(element[column], np.float64) for column in columns], axis=-1)


def _tensor(values: Floats) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))
