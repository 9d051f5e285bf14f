"""What the generator needs of MakeHuman's assets in one file of at most 40 MB, to travel to other machines.

A pack is a zip file with the names of MakeHuman's data folder, but other contents: meshes, targets and
proxies are NumPy archives of the very numbers, a material is the name of its texture, textures are WebP of
at most 1024 pixels, maps of light are half floats. The same seed gives the same person from a pack as from
the folder; pictures differ by the textures' compression.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facelift.errors import UserError
from facelift.formats.files import atomic_path
from facelift.synth.assets import Assets
from facelift.synth.hairstyles import FILE as HAIRSTYLES
from facelift.synth.hairstyles import load_hairstyles
from facelift.synth.hdri import files_in, read_hdri
from facelift.synth.makehuman import WHERE, Mesh, Proxy, Target
from facelift.synth.scans import FILE, load_scans
from facelift.synth.scene import Floats, Pixels
from facelift.synth.textures import fitted, open_texture, shrunk

MAX_BYTES = 40_000_000
"""Largest size of a pack."""

TEXTURE_SIDES = (1024, 768, 512, 384, 256)
"""Sides of the textures that are tried, in pixels, until the pack is small enough."""

IMAGE_QUALITY = 92

HEADER, VERSION = "facelift-pack.json", 1

# Targets that change no head; a whole MakeHuman has many.
BODY_TARGETS = tuple(
    "armslegs breast bulge buttocks feet genitals hands hip legs measure pelvis stomach torso "  # noqa: SIM905
    "macrodetails/height macrodetails/proportions".split()
)

Arrays = dict[str, NDArray[Any]]


def write_pack(
    path: str | Path,
    assets: str | Path,
    scans: str | Path | None = None,
    hdris: str | Path | None = None,
    hair: str | Path | None = None,
) -> None:
    """Pack a MakeHuman data folder into the file `path`.

    Args:
        path: file to write.
        assets: the folder.
        scans: file that `facelift synth scans` made; None for the one in the folder, if there is one.
        hdris: folder of equirectangular .exr or .hdr files; None for `hdri` in the folder, if there is one.
        hair: file that `facelift synth hair` made; None for the one in the folder, if there is one.

    Raises:
        UserError: for assets that are not there, a file that cannot be read or written, or too much for one
            pack.
    """
    folder = Assets.open(assets)
    if hdris is not None:
        maps = {name: read_hdri(file) for name, file in files_in(Path(hdris).expanduser()).items()}
    else:
        maps = {name: folder.hdri(name) for name in folder.hdris}
    if scans is None and folder.has_scans:
        scans = folder.path(FILE)
    if scans is not None:
        scans = Path(scans).expanduser()
        load_scans(scans)  # refuses what is none
    if hair is None and folder.names(HAIRSTYLES):
        hair = folder.path(HAIRSTYLES)
    if hair is not None:
        hair = Path(hair).expanduser()
        load_hairstyles(hair)
    with atomic_path(path) as aside:
        for size in TEXTURE_SIDES:
            _write(aside, folder, size)
            with zipfile.ZipFile(aside, "a") as pack:
                if scans is not None:
                    pack.write(scans, FILE)
                if hair is not None:
                    pack.write(hair, HAIRSTYLES)
                for name, radiance in maps.items():
                    pack.writestr(f"hdri/{name}.npz", _archive({"radiance": radiance.astype(np.float16)}))
            if aside.stat().st_size <= MAX_BYTES:
                return
        raise UserError(
            f"{assets} fills more than {MAX_BYTES // 1_000_000} MB: "
            "remove clothes, hair or HDRIs that you do not need."
        )


def _write(path: Path, assets: Assets, size: int) -> None:
    with zipfile.ZipFile(path, "w") as pack:
        pack.writestr(HEADER, json.dumps({"version": VERSION, "texture_size": size}))
        pack.writestr("3dobjs/base.obj", _archive(_mesh_arrays(assets.base)))
        for name in assets.names("targets/**/*.target*"):
            stem = name.removeprefix("targets/").split(".target")[0]
            if not stem.startswith(BODY_TARGETS):
                target = assets.target(stem)
                arrays: Arrays = {"indices": target.indices, "offsets": target.offsets}
                pack.writestr(f"targets/{stem}.target", _archive(arrays))
        materials = {assets.path(name).resolve(): name for name in assets.names("**/*.mhmat")}
        for name in assets.names("**/*.mhclo"):
            proxy = assets.proxy(name)
            material = materials.get(proxy.material.resolve(), "")
            pack.writestr(name, _archive(_proxy_arrays(proxy, material)))
        textures: dict[Path, str] = {}
        for name in assets.names("**/*.mhmat"):
            texture = assets.diffuse(name)
            if texture is not None:
                textures.setdefault(texture, f"textures/{len(textures):03d}_{texture.stem}.webp")
            pack.writestr(name, "" if texture is None else textures[texture])
        for texture, name in textures.items():
            buffer = io.BytesIO()
            shrunk(open_texture(texture), size).save(buffer, "WEBP", quality=IMAGE_QUALITY)
            pack.writestr(name, buffer.getvalue())


def _archive(arrays: Arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **cast(dict[str, Any], arrays))
    return buffer.getvalue()


def _mesh_arrays(mesh: Mesh) -> Arrays:
    groups = {f"group {name}": rows for name, rows in mesh.groups.items()}
    arrays = {name: getattr(mesh, name) for name in ("vertices", "uvs", "faces", "face_uvs")}
    return arrays | groups


def _proxy_arrays(proxy: Proxy, material: str) -> Arrays:
    arrays = {name: getattr(proxy, name) for name in ("anchors", "weights", "offsets", "hidden")}
    scale = np.array([[axis, i, j, length] for axis, (i, j, length) in proxy.scale.items()], np.float64)
    mesh = {f"mesh {name}": values for name, values in _mesh_arrays(proxy.mesh).items()}
    return arrays | mesh | {"scale": scale.reshape(-1, 4), "material": np.array(material)}


def _mesh(arrays: Arrays) -> Mesh:
    groups = {name.removeprefix("group "): rows for name, rows in arrays.items() if name.startswith("group ")}
    return Mesh(arrays["vertices"], arrays["uvs"], arrays["faces"], arrays["face_uvs"], groups)


def _proxy(arrays: Arrays) -> Proxy:
    mesh = {name.removeprefix("mesh "): rows for name, rows in arrays.items() if name.startswith("mesh ")}
    scale = {int(axis): (int(i), int(j), float(length)) for axis, i, j, length in arrays["scale"]}
    return Proxy(
        arrays["anchors"],
        arrays["weights"],
        arrays["offsets"],
        scale,
        arrays["hidden"],
        Path(str(arrays["material"])),
        _mesh(mesh),
    )


@dataclass
class PackedAssets(Assets):
    """The assets of a pack. Paths of materials and textures are names within it."""

    _pack: zipfile.ZipFile = field(kw_only=True, repr=False)

    @classmethod
    def open(cls, folder: str | Path) -> PackedAssets:
        """The pack in a file. Raises UserError for any other file."""
        try:
            pack = zipfile.ZipFile(folder)
            version = json.loads(pack.read(HEADER))["version"]
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise UserError(
                f"{folder} is no pack of assets: make one with `facelift synth pack`, or {WHERE}."
            ) from error
        if version != VERSION:
            raise UserError(
                f"{folder} is a pack of another version: make it again with `facelift synth pack`."
            )
        return cls((Path(folder),), _pack=pack)

    def names(self, pattern: str) -> list[str]:
        """As `Assets.names`."""
        wanted = pattern.split("/")

        def look() -> list[str]:
            split = ((name, name.split("/")) for name in self._pack.namelist())
            return sorted(
                name
                for name, parts in split
                if len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))
            )

        return self.cached(("names", pattern), look)

    def path(self, name: str) -> Path:
        """The name of a file in the pack. Raises UserError when there is none."""
        if name not in self._pack.NameToInfo:
            raise UserError(f"{self.roots[0]} lacks {name}: make the pack again with `facelift synth pack`.")
        return Path(name)

    @property
    def base(self) -> Mesh:
        """The base mesh."""
        return self.cached("base", lambda: _mesh(self._arrays("3dobjs/base.obj")))

    def target(self, name: str) -> Target:
        """As `Assets.target`."""
        return self.cached(("target", name), lambda: Target(**self._arrays(f"targets/{name}.target")))

    def proxy(self, name: str) -> Proxy:
        """As `Assets.proxy`."""
        return self.cached(("proxy", name), lambda: _proxy(self._arrays(name)))

    def diffuse(self, material: str | Path) -> Path | None:
        """As `Assets.diffuse`."""
        name = material if isinstance(material, str) else material.as_posix()
        if name == ".":  # a proxy without a material
            return None
        texture = self._read(name).decode()
        return Path(texture) if texture else None

    def texture(self, path: Path, size: int = 1024) -> Pixels:
        """As `Assets.texture`."""

        def read() -> Pixels:
            return fitted(Image.open(io.BytesIO(self._read(path.as_posix()))), size)

        return self.cached(("texture", path, size), read)

    def _hdri_paths(self) -> dict[str, str]:
        return {Path(name).stem: name for name in self.names("hdri/*.npz")}

    def _read_hdri(self, name: str) -> Floats:
        return self._arrays(f"hdri/{name}.npz")["radiance"].astype(np.float32)

    def _open(self, name: str) -> IO[bytes]:
        return io.BytesIO(self._read(name))

    def _read(self, name: str) -> bytes:
        return self._pack.read(self.path(name).as_posix())

    def _arrays(self, name: str) -> Arrays:
        with np.load(io.BytesIO(self._read(name)), allow_pickle=False) as archive:
            return dict(archive)


def open_assets(path: str | Path) -> Assets:
    """The assets in MakeHuman's data folder, or in a file that `facelift synth pack` made of them.

    Raises:
        UserError: when the base mesh, targets or proxies are not there, or the file is no pack.
    """
    path = Path(path).expanduser()
    return PackedAssets.open(path) if path.is_file() else Assets.open(path)
