"""A MakeHuman data folder: its meshes, targets, proxies, materials and textures by name.

Everything is read lazily and kept, so that the hundredth person costs no disk.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeVar

from facelift.errors import UserError
from facelift.synth.hairstyles import FILE as HAIRSTYLES
from facelift.synth.hairstyles import Hairstyles, read_hairstyles
from facelift.synth.hdri import SUFFIXES, read_hdri
from facelift.synth.makehuman import (
    WHERE,
    Mesh,
    Proxy,
    Target,
    read_material,
    read_obj,
    read_proxy,
    read_target,
)
from facelift.synth.scans import FILE, HOW, Scans, read_scans
from facelift.synth.scene import Floats, Pixels
from facelift.synth.textures import read_texture

T = TypeVar("T")

# Where the asset folders lie inside the folder that the user names; several may exist in a pair of clones.
ROOTS = ("", "data", "makehuman/data", "makehuman/makehuman/data", "base", "makehuman-assets/base")


@dataclass
class Assets:
    """A folder (or several that complete each other) of MakeHuman assets, cached in memory as it is used."""

    roots: tuple[Path, ...]
    _cache: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, folder: str | Path) -> Assets:
        """Assets below `folder`; `facelift.synth.pack.open_assets` takes a pack of them as well.

        Raises:
            UserError: when the base mesh, targets or proxies are not there.
        """
        folder = Path(folder).expanduser()
        roots = tuple(root for layout in ROOTS if (root := folder / layout).is_dir())
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
        """The base mesh."""
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

    @property
    def has_scans(self) -> bool:
        """Whether there are offsets from scans beside MakeHuman's assets."""
        return bool(self.names(FILE))

    @property
    def scans(self) -> Scans:
        """Offsets from scans. Raises UserError when there are none."""
        if not self.has_scans:
            raise UserError(f"{self.roots[0]} has no {FILE} for people of recipe 2: {HOW}.")

        def read() -> Scans:
            with self._open(FILE) as file:
                return read_scans(file, FILE)

        return self.cached("scans", read)

    @property
    def hairstyles(self) -> Hairstyles:
        """Groomed hairstyles by their names; none where the file is not there."""

        def read() -> Hairstyles:
            if not self.names(HAIRSTYLES):
                return {}
            with self._open(HAIRSTYLES) as file:
                return read_hairstyles(file, HAIRSTYLES)

        return self.cached("hairstyles", read)

    @property
    def hdris(self) -> list[str]:
        """Names of the maps of light in the folder `hdri` beside MakeHuman's assets, sorted."""
        return sorted(self._hdri_paths())

    def hdri(self, name: str) -> Floats:
        """A map of light by its name, see `facelift.synth.hdri.read_hdri`; do not write into it."""
        return self.cached(("hdri", name), lambda: self._read_hdri(name))

    def _hdri_paths(self) -> dict[str, str]:
        names = (Path(name) for name in self.names("hdri/*"))
        return {path.stem: path.as_posix() for path in names if path.suffix.lower() in SUFFIXES}

    def _read_hdri(self, name: str) -> Floats:
        return read_hdri(self.path(self._hdri_paths().get(name, f"hdri/{name}.exr")))

    def _open(self, name: str) -> IO[bytes]:
        return self.path(name).open("rb")

    def diffuse(self, material: str | Path) -> Path | None:
        """The diffuse texture of a `.mhmat` (relative or absolute path), None where the file is not there."""
        path = material if isinstance(material, Path) else self.path(material)
        return self.cached(("material", path), lambda: read_material(path))

    def texture(self, path: Path, size: int = 1024) -> Pixels:
        """A texture as (H, W, 4) uint8, at most `size` on a side; do not write into it."""
        return self.cached(("texture", path, size), lambda: read_texture(path, size))
