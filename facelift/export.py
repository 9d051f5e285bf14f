"""Every kind of file that a head can be written as, chosen by the end of the file's name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from facelift.choices import PlyLayout
from facelift.errors import UserError
from facelift.formats.files import PathLike
from facelift.formats.ply import write_ply
from facelift.formats.splats import SPLAT_FORMATS, splat_format
from facelift.gaussians import Gaussians
from facelift.mesh.mesh import MESH_FORMATS, Mesh, files_of_mesh, is_mesh_name, write_mesh
from facelift.page.html import write_html

PAGE = ".html"
Writer = Callable[[PathLike, Gaussians], None]
MakeMesh = Callable[[Gaussians], Mesh]


def suffixes() -> dict[str, str]:
    """What the names of files that `writer` knows end in, and what these files are."""
    splats = {format.suffix: format.name for format in SPLAT_FORMATS if format.write}
    meshes = {suffix: format.name for suffix, format in MESH_FORMATS.items() if suffix not in splats}
    return splats | {PAGE: "a page that shows the head in 3D, in any browser"} | meshes


def default_mesh(gaussians: Gaussians) -> Mesh:
    """The mesh of a head with the defaults of `facelift.mesh.extract.mesh_from_gaussians`."""
    from facelift.mesh.extract import mesh_from_gaussians

    return mesh_from_gaussians(gaussians)


def is_mesh(path: PathLike, mesh: bool = False) -> bool:
    """Whether a file of this name holds a mesh; `mesh` says that one which may hold splats as well does."""
    return is_mesh_name(path) and (mesh or splat_format(path) is None)


def is_ply(path: PathLike) -> bool:
    """Whether a file of this name is a plain PLY, which has several layouts."""
    format = splat_format(path)
    return format is not None and format.suffix == ".ply"


def writer(
    path: PathLike,
    ply: PlyLayout = "standard",
    title: str | None = None,
    mesh: bool = False,
    make_mesh: MakeMesh = default_mesh,
) -> Writer:
    """What writes a file of this name: give it the path and Gaussians of our world.

    Args:
        path: its longest end that is one of `suffixes` counts, in whatever case.
        ply: how a PLY lists its Gaussians, see `facelift.formats.ply.write_ply`.
        title: what a page says above the head; None is the file's name.
        mesh: a `.glb` holds a mesh, and not splats.
        make_mesh: makes a mesh of the Gaussians.

    Raises:
        UserError: nothing is written under such a name.
    """
    if Path(path).suffix.lower() == PAGE:
        return partial(write_html, title=title or Path(path).stem)
    if is_mesh(path, mesh):
        return lambda path, gaussians: write_mesh(path, make_mesh(gaussians))
    format = splat_format(path)
    if format is None or format.write is None:
        known = ", ".join(suffixes())
        raise UserError(f"No file of a head is called {Path(path).name}: let the name end in {known}.")
    return partial(write_ply, layout=ply) if is_ply(path) else format.write


def files_of(path: PathLike, mesh: bool = False) -> list[Path]:
    """All files that the `writer` of this name writes: an OBJ has its material and its picture beside it."""
    return files_of_mesh(path) if is_mesh(path, mesh) else [Path(path)]


def chosen_suffix(word: str) -> str:
    """The one of `suffixes` that a word means: "spz" is ".spz".

    Raises:
        UserError: it means none.
    """
    suffix = f".{word.lower().lstrip('.')}"
    if suffix not in suffixes():
        known = ", ".join(suffix[1:] for suffix in suffixes())
        raise UserError(f"A head is not written as {word}: choose {known}.")
    return suffix
