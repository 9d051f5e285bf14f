"""`facelift export`: a file of Gaussians becomes others."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facelift.cli.options import OUTPUT, FrameOption, PlyLayoutOption
from facelift.cli.splats import read_drawable
from facelift.cli.terminal import status, tell
from facelift.errors import UserError

if TYPE_CHECKING:
    from facelift.gaussians import Gaussians
    from facelift.mesh.mesh import Mesh


def export(
    source: Annotated[Path, typer.Argument(help="A file of Gaussians, of any tool.", metavar="IN")],
    out: Annotated[
        list[Path], typer.Argument(help="Files to write; their names say as what.", metavar="OUT...")
    ],
    frame: FrameOption = None,
    ply_layout: PlyLayoutOption = None,
    mesh: Annotated[
        bool, typer.Option("--mesh", help="A .glb holds a mesh, and not splats.", rich_help_panel=OUTPUT)
    ] = False,
    faces: Annotated[
        int | None,
        typer.Option(
            help="Triangles of a mesh, at most: 500 to 200,000.", show_default="20000", rich_help_panel=OUTPUT
        ),
    ] = None,
    texture_size: Annotated[
        int | None,
        typer.Option(
            help="Side of a mesh's texture in pixels: 64 to 8192.",
            show_default="1024",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
) -> None:
    """Turn a file of Gaussians into other kinds: splats or meshes for other tools, a page to send."""
    with status(f"Reading {source}"):
        from facelift.export import files_of, is_mesh, is_ply, writer

        if (mesh or faces is not None or texture_size is not None) and not any(
            is_mesh(path, mesh) for path in out
        ):
            raise UserError("No file here is a mesh: name one that ends in .obj, or add --mesh to a .glb.")

        if ply_layout and not any(is_ply(path) for path in out):
            raise UserError("No file here has a PLY layout: name one that ends in .ply.")

        @cache  # one mesh for all the files
        def make_mesh(gaussians: Gaussians) -> Mesh:
            from facelift.mesh.extract import mesh_from_gaussians
            from facelift.mesh.mesh import DEFAULT_FACES, DEFAULT_TEXTURE_SIZE

            return mesh_from_gaussians(
                gaussians,
                DEFAULT_FACES if faces is None else faces,
                DEFAULT_TEXTURE_SIZE if texture_size is None else texture_size,
            )

        writers = {
            path: writer(path, ply_layout or "standard", mesh=mesh, make_mesh=make_mesh) for path in out
        }
        _check_places([file for path in out for file in files_of(path, mesh)], overwrite)
        gaussians = read_drawable(source, frame)
    for path, write in writers.items():
        with status(f"Writing {path}"):
            write(path, gaussians)
        tell(f"{source} -> {path}")


def _check_places(paths: list[Path], overwrite: bool) -> None:
    """Refuse before the work what would lose a file.

    Raises:
        UserError: two names are one file, or a file is there already.
    """
    for number, path in enumerate(paths):
        if path.resolve() in [other.resolve() for other in paths[:number]]:
            raise UserError(f"{path} is named twice; give each file a name of its own.")
        if path.exists() and not overwrite:
            raise UserError(f"{path} is there already; choose another name, or add --overwrite.")
