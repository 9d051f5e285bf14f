"""MakeHuman's assets as arrays: the base mesh, its targets, proxies, materials and textures.

Everything is read lazily and kept, so that the hundredth person costs no disk. Formats are MakeHuman's own:
`.obj` meshes of quads, `.target` sparse offsets, `.mhclo` proxies that hang on the base mesh, `.mhmat`
materials. Lengths are decimetres, y up, the face looks along +z.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facelift.errors import UserError
from facelift.synth.scene import Floats

Ints = NDArray[np.int32]
Pixels = NDArray[np.uint8]
T = TypeVar("T")

WHERE = (
    "give the data folder of MakeHuman or MPFB, or the folder that holds git clones (with git-lfs) of "
    "github.com/makehumancommunity/makehuman and makehuman-assets"
)
# Where the asset folders lie inside the folder that the user names; several may exist in a pair of clones.
LAYOUTS = ("", "data", "makehuman/data", "makehuman/makehuman/data", "base", "makehuman-assets/base")


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


@dataclass
class Assets:
    """A folder (or several that complete each other) of MakeHuman assets, cached in memory as it is used."""

    roots: tuple[Path, ...]
    _cache: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, folder: str | Path) -> Assets:
        """Assets below `folder`, or in a file that `facelift synth pack` made of them.

        Raises:
            UserError: when the base mesh, targets or proxies are not there.
        """
        folder = Path(folder).expanduser()
        if folder.is_file():
            from facelift.synth.pack import PackedAssets

            return PackedAssets.open(folder)
        roots = tuple(root for layout in LAYOUTS if (root := folder / layout).is_dir())
        assets = cls(roots)
        missing = [
            name
            for name in (
                "3dobjs/base.obj",
                "targets",
                "skins",
                "eyes",
                "eyebrows",
                "eyelashes",
                "hair",
                "clothes",
            )
            if assets._find(name) is None
        ]
        if missing:
            raise UserError(f"{folder} lacks MakeHuman's {', '.join(missing)}: {WHERE}.")
        return assets

    def _find(self, name: str) -> Path | None:
        return next((path for root in self.roots if (path := root / name).exists()), None)

    def path(self, name: str) -> Path:
        """The file or folder `name`, relative to the data folder. Raises UserError when there is none."""
        found = self._find(name)
        if found is None:
            raise UserError(f"{self.roots[0]} lacks {name}: {WHERE}.")
        return found

    def names(self, pattern: str) -> list[str]:
        """Relative paths that match a glob pattern, sorted, each once."""

        def look() -> list[str]:
            return sorted(
                {path.relative_to(root).as_posix() for root in self.roots for path in root.glob(pattern)}
            )

        return self.cached(("names", pattern), look)

    def cached(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` returns, made once for each key."""
        if key not in self._cache:
            self._cache[key] = make()
        return self._cache[key]

    @property
    def base(self) -> Mesh:
        return self.cached("base", lambda: read_obj(self.path("3dobjs/base.obj")))

    def target(self, name: str) -> Target:
        """A target by its path below `targets`, without the suffix."""

        def read() -> Target:
            plain = self._find(f"targets/{name}.target")
            return read_target(plain or self.path(f"targets/{name}.target.gz"))

        return self.cached(("target", name), read)

    def proxy(self, name: str) -> Proxy:
        """A proxy by the relative path of its `.mhclo`."""
        return self.cached(("proxy", name), lambda: read_proxy(self.path(name)))

    def diffuse(self, material: str | Path) -> Path | None:
        """The diffuse texture of a `.mhmat` (relative or absolute path), None where the file is not there."""
        path = material if isinstance(material, Path) else self.path(material)
        return self.cached(("material", path), lambda: read_material(path))

    def texture(self, path: Path, size: int = 1024) -> Pixels:
        """A texture as (H, W, 4) uint8, at most `size` on a side; do not write into it."""
        return self.cached(("texture", path, size), lambda: read_texture(path, size))


def read_lines(path: Path) -> list[str]:
    """Lines of a text asset without comments. Raises UserError for a missing file or a git-lfs pointer."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {WHERE}.") from error
    _refuse_pointer(path, raw)
    if path.suffix == ".gz":
        raw = gzip.decompress(raw)
    lines = (line.strip() for line in raw.decode("utf-8", "replace").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _refuse_pointer(path: Path, head: bytes) -> None:
    if head.startswith(b"version https://git-lfs"):
        raise UserError(
            f"{path} is a git-lfs pointer, not the file itself: run `git lfs pull` in that clone."
        )


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


def read_texture(path: Path, size: int) -> Pixels:
    """A texture as (H, W, 4) uint8, at most `size` on a side, with colour bled into what is transparent."""
    return fitted(open_texture(path), size)


def open_texture(path: Path) -> Image.Image:
    """A picture. Raises UserError for a missing file, a git-lfs pointer or anything else."""
    try:
        with path.open("rb") as file:
            _refuse_pointer(path, file.read(32))
        with Image.open(path) as opened:
            return opened.convert("RGB" if opened.mode == "RGB" else "RGBA")
    except OSError as error:
        raise UserError(f"{path} is not a picture that can be read: {WHERE}.") from error


def fitted(image: Image.Image, size: int) -> Pixels:
    """The picture as (H, W, 4) uint8, at most `size` on a side, with colour bled into what is transparent."""
    image = shrunk(image, size)
    return np.asarray(image.convert("RGBA")) if image.mode == "RGB" else bleed(image)


def shrunk(image: Image.Image, size: int) -> Image.Image:
    """The picture, RGB or RGBA, at most `size` on a side."""
    if max(image.size) <= size:
        return image
    factor = size / max(image.size)
    shape = (max(round(image.width * factor), 1), max(round(image.height * factor), 1))
    if image.mode == "RGB":
        return image.resize(shape, Image.Resampling.BOX)
    # Premultiplied, so that transparent texels lend no colour to their neighbours.
    return image.convert("RGBa").resize(shape, Image.Resampling.BOX).convert("RGBA")


def bleed(image: Image.Image) -> Pixels:
    """The picture with the colour of opaque texels spread into the transparent ones, alpha unchanged.

    A card's edge is blended with texels that are themselves invisible; left black they draw a dark rim.
    """
    out = np.array(image)
    level = image.convert("RGBa")
    known = out[..., 3] > 127
    while not known.all() and min(level.size) > 1:
        level = level.resize((max(level.width // 2, 1), max(level.height // 2, 1)), Image.Resampling.BOX)
        spread = np.asarray(level.convert("RGBA").resize(image.size, Image.Resampling.NEAREST))
        fill = ~known & (spread[..., 3] > 31)
        out[fill, :3] = spread[fill, :3]
        known |= fill
    return out
