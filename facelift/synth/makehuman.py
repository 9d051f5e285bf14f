"""MakeHuman's file formats as arrays.

`.obj` meshes of quads, `.target` sparse offsets, `.mhclo` proxies that hang on the base mesh, `.mhmat`
materials. Lengths are decimetres, y up, the face looks along +z.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facelift.errors import UserError
from facelift.synth.scene import Floats, Ints

WHERE = (
    "give the data folder of MakeHuman or MPFB, or the folder that holds git clones (with git-lfs) of "
    "github.com/makehumancommunity/makehuman and makehuman-assets"
)


@dataclass(frozen=True)
class Mesh:
    """Quads with their own texture indices.

    Attributes:
        vertices: (V, 3) float32.
        uvs: (T, 2) float32, v upwards.
        faces, face_uvs: (F, 4) int32 indices into `vertices` and `uvs`.
        groups: name of each `g` group to the rows of `faces` that belong to it.
    """

    vertices: Floats
    uvs: Floats
    faces: Ints
    face_uvs: Ints
    groups: dict[str, Ints]

    def members(self, group: str) -> Ints:
        """Sorted vertex indices of one group."""
        return np.unique(self.faces[self.groups[group]])


@dataclass(frozen=True)
class Target:
    """Sparse offsets: `vertices[indices] += weight * offsets`, (N,) int32 and (N, 3) float32."""

    indices: Ints
    offsets: Floats


@dataclass(frozen=True)
class Proxy:
    """A mesh that hangs on the base mesh.

    Attributes:
        anchors: (V, 3) int32 base vertices of each proxy vertex.
        weights: (V, 3) float32 of the anchors.
        offsets: (V, 3) float32, added after scaling per axis.
        scale: for each axis the two base vertices and the distance at which the scale is one; empty for none.
        hidden: (N,) int32 base vertices that the proxy covers (`delete_verts`).
        material: path of the `.mhmat`.
        mesh: the proxy's faces and texture coordinates; its own vertices are not used.
    """

    anchors: Ints
    weights: Floats
    offsets: Floats
    scale: dict[int, tuple[int, int, float]]
    hidden: Ints
    material: Path
    mesh: Mesh

    def fit(self, base: Floats) -> Floats:
        """The proxy's vertices (V, 3) on the base vertices (19158, 3)."""
        factors = np.ones(3, np.float32)
        for axis, (i, j, length) in self.scale.items():
            factors[axis] = abs(base[i, axis] - base[j, axis]) / length
        # Three weighted sums beat one einsum over the gathered (V, 3, 3).
        fitted = self.offsets * factors
        for k in range(3):
            fitted += self.weights[:, k : k + 1] * base[self.anchors[:, k]]
        return fitted


def refuse_pointer(path: Path, head: bytes) -> None:
    """Raises UserError if a file that begins so is git-lfs's stand-in for the real one."""
    if head.startswith(b"version https://git-lfs"):
        raise UserError(
            f"{path} is a git-lfs pointer, not the file itself: run `git lfs pull` in that clone."
        )


def read_lines(path: Path) -> list[str]:
    """Lines of a text asset without comments. Raises UserError for a missing file or a git-lfs pointer."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {WHERE}.") from error
    refuse_pointer(path, raw)
    if path.suffix == ".gz":
        raw = gzip.decompress(raw)
    lines = (line.strip() for line in raw.decode("utf-8", "replace").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _numbers(lines: Iterable[str], columns: int) -> NDArray[np.float64]:
    numbers = np.array(" ".join(lines).split(), dtype=np.float64)
    return numbers.reshape(-1, columns)


def read_obj(path: Path) -> Mesh:
    """A Wavefront mesh of quads with texture coordinates; triangles repeat their last corner."""
    vertices: list[str] = []
    uvs: list[str] = []
    corners: list[str] = []
    rows: dict[str, list[int]] = {}
    group = rows.setdefault("", [])
    for line in read_lines(path):
        kind, _, rest = line.partition(" ")
        if kind == "v":
            vertices.append(rest)
        elif kind == "vt":
            uvs.append(" ".join(rest.split()[:2]))
        elif kind == "f":
            quad = rest.split()
            if len(quad) not in (3, 4):
                raise UserError(
                    f"{path} has a face of {len(quad)} corners; only triangles and quads are read."
                )
            group.append(len(corners) // 4)
            corners += quad if len(quad) == 4 else [*quad, quad[-1]]
        elif kind == "g":
            group = rows.setdefault(rest.strip(), [])
    try:
        indices = (
            np.array([corner.split("/")[:2] for corner in corners], dtype=np.int32).reshape(-1, 4, 2) - 1
        )
        return Mesh(
            _numbers(vertices, 3).astype(np.float32),
            _numbers(uvs, 2).astype(np.float32),
            np.ascontiguousarray(indices[..., 0]),
            np.ascontiguousarray(indices[..., 1]),
            {name: np.array(faces, np.int32) for name, faces in rows.items() if faces},
        )
    except ValueError as error:
        raise UserError(f"{path} is not an OBJ mesh with texture coordinates: {WHERE}.") from error


def read_target(path: Path) -> Target:
    """A `.target`: lines of `index dx dy dz`."""
    try:
        table = _numbers(read_lines(path), 4)
    except ValueError as error:
        raise UserError(f"{path} is not a MakeHuman target: {WHERE}.") from error
    return Target(table[:, 0].astype(np.int32), table[:, 1:].astype(np.float32))


def read_proxy(path: Path) -> Proxy:
    """A `.mhclo` and the mesh it names.

    A vertex line is one index (the very base vertex) or three indices, three weights and three offsets.
    Header lines may stand inside the `verts` block.
    """
    anchored: list[str] = []
    hidden: list[str] = []
    header: dict[str, str] = {}
    scale: dict[int, tuple[int, int, float]] = {}
    block: list[str] | None = None
    try:
        for line in read_lines(path):
            first, _, rest = line.partition(" ")
            if first == "verts":
                block = anchored
            elif first == "delete_verts":
                block = hidden
            elif first in ("x_scale", "y_scale", "z_scale"):
                i, j, length = rest.split()
                scale["xyz".index(first[0])] = (int(i), int(j), float(length))
            elif first[0].isdigit() and block is not None:
                block.append(line)
            else:
                header[first] = rest.strip()
        rows = [line.split() for line in anchored]
        table = np.array(
            [row if len(row) == 9 else [row[0]] * 3 + ["1", *"00000"] for row in rows], np.float64
        )
        table = table.reshape(-1, 9)
        mesh = read_obj(path.parent / header["obj_file"])
        material = path.parent / header.get("material", "")
    except (ValueError, KeyError) as error:
        raise UserError(f"{path} is not a MakeHuman proxy: {WHERE}.") from error
    if len(table) != len(mesh.vertices):
        raise UserError(f"{path} and its mesh have different numbers of vertices: {WHERE}.")
    return Proxy(
        table[:, :3].astype(np.int32),
        table[:, 3:6].astype(np.float32),
        table[:, 6:].astype(np.float32),
        scale,
        parse_ranges(" ".join(hidden)),
        material,
        mesh,
    )


def parse_ranges(text: str) -> Ints:
    """The vertices of `delete_verts`: "3 5 - 7 9" is 3, 5, 6, 7, 9."""
    words = text.replace("-", " - ").split()
    found: list[int] = []
    for k, word in enumerate(words):
        if word == "-":
            continue
        if k > 0 and words[k - 1] == "-":
            found += range(found[-1] + 1, int(word) + 1)
        else:
            found.append(int(word))
    return np.array(found, np.int32)


def read_material(path: Path) -> Path | None:
    """The diffuse texture that a `.mhmat` names, None when it names none or the file does not exist."""
    for line in read_lines(path):
        key, _, value = line.partition(" ")
        if key == "diffuseTexture":
            texture = (path.parent / value.strip()).resolve()
            return texture if texture.exists() else None
    return None
