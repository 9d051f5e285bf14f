"""glTF with `KHR_gaussian_splatting` (Khronos, release candidate of 2026): splats in a binary `.glb`.

A mesh of points whose attributes are linear scales and opacities, rotations as xyzw, and coefficients as
vectors of three; y is up, the face looks along +z, and the unit is the metre. Readers without the extension
draw the points in the colours of `COLOR_0`. What is written is plain floats, as every reader takes; integers,
strides and nodes that turn, move or scale are read, too.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from facelift.errors import UserError
from facelift.formats.files import PathLike, atomic_path
from facelift.formats.frames import METRES_PER_UNIT, Frame, from_frame, to_frame
from facelift.formats.ply import array
from facelift.formats.reading import check_count, damaged, read_whole, reading
from facelift.gaussians import Gaussians
from facelift.isolation import isolated

EXTENSION = "KHR_gaussian_splatting"

_KIND = "binary glTF file"
_KNOWN = {EXTENSION, "KHR_mesh_quantization"}
_MAGIC, _JSON, _BIN = b"glTF", b"JSON", b"BIN\0"
_FLOAT, _USHORT, _POINTS, _VERTICES = 5126, 5123, 0, 34962
_TYPES = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", _FLOAT: "<f4"}
_KINDS = {1: "SCALAR", 3: "VEC3", 4: "VEC4"}
_WIDTHS = {kind: width for width, kind in _KINDS.items()}
_JSON_BYTES = 1 << 24  # many times as many as any scene of splats has


@isolated()
def write_glb(path: PathLike, gaussians: Gaussians) -> None:
    """Write Gaussians of our world, in metres.

    Raises:
        UserError: `path` cannot be written, there are none, or these are no Gaussians, see `Gaussians.check`.
    """
    gaussians.check()
    if len(gaussians) == 0:
        raise UserError("There are no Gaussians to write: glTF has no meshes of no points.")
    turned = to_frame(gaussians.to("cpu"), "RUB")
    quats = array(turned.quats)
    srgb = array(turned.colors).clip(0.0, 1.0)
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    color = np.column_stack([linear, array(turned.opacities)])
    values = {
        "POSITION": METRES_PER_UNIT * array(turned.means),
        "COLOR_0": (65535.0 * color).round().astype(np.uint16),
        f"{EXTENSION}:ROTATION": np.roll(quats / np.linalg.norm(quats, axis=-1, keepdims=True), -1, axis=-1),
        f"{EXTENSION}:SCALE": METRES_PER_UNIT * array(turned.scales),
        f"{EXTENSION}:OPACITY": array(turned.opacities)[:, None],
        **{name: array(vectors) for name, vectors in _harmonics(turned)},
    }
    accessors: list[dict[str, Any]] = []
    views: list[dict[str, int]] = []
    binary = b""
    for number, value in enumerate(values.values()):
        integers = value.dtype == np.uint16
        data = value.astype("<u2" if integers else "<f4").tobytes()
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": len(data), "target": _VERTICES})
        accessors.append(
            {
                "bufferView": number,
                "componentType": _USHORT if integers else _FLOAT,
                "normalized": integers,
                "count": len(value),
                "type": _KINDS[value.shape[1]],
            }
        )
        binary += data
    positions = values["POSITION"].astype(np.float32)
    accessors[0] |= {"min": positions.min(axis=0).tolist(), "max": positions.max(axis=0).tolist()}
    primitive = {
        "mode": _POINTS,
        "attributes": {name: number for number, name in enumerate(values)},
        "extensions": {EXTENSION: {"kernel": "ellipse", "colorSpace": "srgb_rec709_display"}},
    }
    document = {
        "asset": {"version": "2.0", "generator": "FaceLift"},
        "extensionsUsed": [EXTENSION],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "head"}],
        "meshes": [{"primitives": [primitive]}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": len(binary)}],
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    chunks = _chunk(_JSON, text, b" ") + _chunk(_BIN, binary, b"\0")
    with atomic_path(path) as aside:
        aside.write_bytes(struct.pack("<4sII", _MAGIC, 2, 12 + len(chunks)) + chunks)


@isolated()
def read_glb(path: PathLike, frame: Frame | None = None) -> Gaussians:
    """Read the splats of all nodes of the scene, ours or another tool's.

    Args:
        path: of the file.
        frame: of the scene; None for glTF's, "RUB".

    Returns:
        In our world.

    Raises:
        UserError: the file cannot be read, is no binary glTF, is cut short, holds no splats, or holds them
            in a way that is not read: compressed, in another file, in linear colours, or stretched by a node.
    """
    data = read_whole(path)
    with reading(path, _KIND, RecursionError, AttributeError):
        document, binary = _parts(path, data)
        unknown = set(document.get("extensionsRequired", ())) - _KNOWN
        if unknown:
            raise UserError(f"{path} needs {sorted(unknown)[0]}, which is not read: save it without.")
        found: list[Gaussians] = []
        count = 0
        for mesh, matrix in _meshes(document):
            for primitive in document["meshes"][mesh]["primitives"]:
                if EXTENSION in primitive.get("extensions", {}):
                    found.append(_placed(path, _primitive(path, document, binary, primitive), matrix))
                    count += len(found[-1])
                    check_count(path, count)  # before the next, for any number of nodes may share a mesh
        if not found:
            raise UserError(f"{path} holds no splats ({EXTENSION}); meshes are not read.")
        return from_frame(_joined(found), frame or "RUB").transformed(
            torch.eye(3), torch.zeros(3), 1.0 / METRES_PER_UNIT
        )


def _names(degree: int) -> list[str]:
    """Attributes of the coefficients of a degree, in the order of 3D Gaussian Splatting."""
    return [f"{EXTENSION}:SH_DEGREE_{degree}_COEF_{number}" for number in range(2 * degree + 1)]


def _harmonics(gaussians: Gaussians) -> Iterator[tuple[str, torch.Tensor]]:
    """Attributes of the coefficients and their values, (N, 3)."""
    yield _names(0)[0], gaussians.sh0
    if gaussians.shN is not None:
        names = [name for degree in range(1, gaussians.degree + 1) for name in _names(degree)]
        yield from zip(names, gaussians.shN.unbind(dim=1), strict=True)


def _chunk(kind: bytes, data: bytes, filling: bytes) -> bytes:
    data += filling * (-len(data) % 4)
    return struct.pack("<I4s", len(data), kind) + data


def _parts(path: PathLike, data: bytes) -> tuple[dict[str, Any], bytes]:
    """The JSON and the binary chunk."""
    magic, version, _, length, kind = struct.unpack_from("<4sIII4s", data)
    if (magic, version, kind) != (_MAGIC, 2, _JSON) or length > min(len(data) - 20, _JSON_BYTES):
        raise damaged(path, _KIND)
    document, rest = json.loads(data[20 : 20 + length]), data[20 + length :]
    if not isinstance(document, dict) or len(rest) < 8:
        raise damaged(path, _KIND)
    length, kind = struct.unpack_from("<I4s", rest)
    if kind != _BIN or length > len(rest) - 8:
        raise damaged(path, _KIND)
    return document, rest[8 : 8 + length]


def _meshes(document: dict[str, Any]) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """The mesh of each node of the scene that has one, and the (4, 4) matrix that places it."""
    nodes = document["nodes"]
    waiting = [(number, np.eye(4)) for number in document["scenes"][document.get("scene", 0)]["nodes"]]
    seen = set()
    while waiting:
        number, above = waiting.pop()
        if number in seen:
            raise ValueError("nodes are a tree")
        seen.add(number)
        matrix = above @ _matrix(nodes[number])
        if "mesh" in nodes[number]:
            yield nodes[number]["mesh"], matrix
        waiting += [(child, matrix) for child in nodes[number].get("children", ())]


def _matrix(node: dict[str, Any]) -> NDArray[np.float64]:
    """(4, 4) of a node, within its parent."""
    if "matrix" in node:
        return np.asarray(node["matrix"], np.float64).reshape(4, 4).T
    x, y, z, w = np.asarray(node.get("rotation", (0, 0, 0, 1)), np.float64)
    turn = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    matrix = np.eye(4)
    matrix[:3, :3] = np.asarray(turn) * np.asarray(node.get("scale", (1, 1, 1)), np.float64).reshape(3)
    matrix[:3, 3] = np.asarray(node.get("translation", (0, 0, 0)), np.float64)
    return matrix


def _placed(path: PathLike, gaussians: Gaussians, matrix: NDArray[np.float64]) -> Gaussians:
    """Gaussians as a node's matrix places them."""
    if np.array_equal(matrix, np.eye(4)):
        return gaussians
    linear = matrix[:3, :3]
    scale = np.cbrt(np.linalg.det(linear))
    if not scale > 0 or np.abs(linear @ linear.T / scale**2 - np.eye(3)).max() > 1e-3:
        raise UserError(
            f"{path} has splats that a node stretches or mirrors, which is not read: apply it first."
        )
    turn = torch.from_numpy(linear / scale).float()
    return gaussians.transformed(turn, torch.from_numpy(matrix[:3, 3]).float(), float(scale))


def _primitive(
    path: PathLike, document: dict[str, Any], binary: bytes, primitive: dict[str, Any]
) -> Gaussians:
    """The splats of a primitive, where it stands."""
    if primitive["extensions"][EXTENSION].get("colorSpace") == "lin_rec709_display":
        raise UserError(f"{path} has linear colours, which are not read: save it in sRGB.")
    attributes = primitive["attributes"]

    def values(*names: str, width: int = 3) -> torch.Tensor:
        arrays = [_values(path, document, binary, attributes[name]) for name in names]
        if any(array.shape[1] != width for array in arrays):
            raise damaged(path, _KIND)
        return torch.from_numpy(np.stack(arrays, axis=1))

    degree = max(d for d in range(4) if all(name in attributes for name in _names(d)))
    higher = [name for d in range(1, degree + 1) for name in _names(d)]
    gaussians = Gaussians(
        means=values("POSITION")[:, 0],
        quats=values(f"{EXTENSION}:ROTATION", width=4)[:, 0].roll(1, dims=-1),
        scales=values(f"{EXTENSION}:SCALE")[:, 0],
        opacities=values(f"{EXTENSION}:OPACITY", width=1)[:, 0, 0].clamp(0.0, 1.0),
        sh0=values(*_names(0))[:, 0],
        shN=values(*higher) if higher else None,
    )
    lengths = {len(field) for field in gaussians.tensors().values()}
    if lengths != {len(gaussians)} or bool((gaussians.scales < 0).any()):
        raise damaged(path, _KIND)
    return gaussians


def _values(path: PathLike, document: dict[str, Any], binary: bytes, number: int) -> NDArray[np.float32]:
    """(N, C) of an accessor."""
    accessor = document["accessors"][number]
    if "sparse" in accessor:
        raise UserError(f"{path} has sparse accessors, which are not read: save it without.")
    view = document["bufferViews"][accessor["bufferView"]]
    if view["buffer"] != 0 or "uri" in document["buffers"][0]:
        raise UserError(f"{path} keeps its splats in another file: save it as one .glb.")
    check_count(path, accessor["count"])
    kind, width = np.dtype(_TYPES[accessor["componentType"]]), _WIDTHS[accessor["type"]]
    stored = np.ndarray(
        (accessor["count"], width),
        kind,
        binary,
        view.get("byteOffset", 0) + accessor.get("byteOffset", 0),
        (view.get("byteStride") or width * kind.itemsize, kind.itemsize),
    )
    values = stored.astype(np.float32)
    if accessor.get("normalized") and kind.kind != "f":
        values = np.maximum(values / np.float32(np.iinfo(kind).max), -1.0)
    return values


def _joined(parts: list[Gaussians]) -> Gaussians:
    """All of them as one; of the highest degree among them."""
    most = max(parts, key=lambda part: part.degree).shN
    fields = {
        name: torch.cat([getattr(part, name) for part in parts])
        for name in parts[0].tensors()
        if name != "shN"
    }
    if most is None:
        return Gaussians(**fields)
    higher = torch.zeros(len(fields["means"]), *most.shape[1:])
    for part, rows in zip(parts, higher.split([len(part) for part in parts]), strict=True):
        if part.shN is not None:
            rows[:, : part.shN.shape[1]] = part.shN
    return Gaussians(**fields, shN=higher)
