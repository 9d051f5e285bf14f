"""What one photo becomes: the portrait, six views and the Gaussians, and what is made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from facelift.cameras import Cameras, turntable_rig
from facelift.choices import PlyLayout
from facelift.export import writer
from facelift.gaussians import Gaussians
from facelift.mesh.mesh import DEFAULT_FACES, DEFAULT_TEXTURE_SIZE, Mesh
from facelift.page.html import html_page
from facelift.page.show import notebook_frame, show
from facelift.pictures import write_pictures
from facelift.portrait.quality import PhotoWarning
from facelift.render import render

Progress = Callable[[Iterable[Any]], Iterable[Any]]
"""Wraps the steps of some work, to show how far it is, as `tqdm` does."""


@dataclass(frozen=True)
class Head:
    """What one photo became.

    Attributes:
        portrait: (3, S, S) the prepared photo, RGB in [0, 1] on white.
        views: (6, 3, S, S) the six views that the Gaussians were made from, in the order of VIEW_NAMES.
        gaussians: the head; see `facelift.gaussians` for their fields and `facelift.cameras` for the axes.
        faces: how many faces the photo shows; one was used, mostly the largest.
        warnings: what in the photo may spoil the head; each has a `kind`, and as a string is a sentence.
        ply_layout: how a PLY of it lists the Gaussians, see `facelift.formats.ply.write_ply`.
    """

    portrait: Tensor
    views: Tensor
    gaussians: Gaussians
    faces: int
    warnings: tuple[PhotoWarning, ...] = ()
    ply_layout: PlyLayout = "standard"

    def render(self, cameras: Cameras) -> Tensor:
        """(N, 3, H, W) RGB in [0, 1] on white."""
        return render(self.gaussians, cameras).image.clamp(0, 1)

    def save(self, path: str | Path, title: str | None = None) -> None:
        """Write the head as what the end of the name says, upright in the tools that read such files.

        Args:
            path: ends in `.ply`, which any splat viewer opens, in `.html`, a page to send, in `.obj`, a mesh,
                or in another of `facelift.export.suffixes()`.
            title: what a page says above the head; None is the file's name.

        Raises:
            UserError: no such file is written, or `path` cannot be.
        """
        writer(path, self.ply_layout, title)(path, self.gaussians)

    def show(self) -> None:
        """Show the head in 3D: in the notebook that runs, or else in the browser until Ctrl-C."""
        show(html_page(self.gaussians))

    def _repr_html_(self) -> str:
        """What a notebook shows for a head that is the last line of a cell."""
        return notebook_frame(html_page(self.gaussians))

    def mesh(self, faces: int = DEFAULT_FACES, texture_size: int = DEFAULT_TEXTURE_SIZE) -> Mesh:
        """One watertight, textured surface for tools that know no splats: `head.mesh().save("head.glb")`.

        Args:
            faces: how many triangles at most, 500 to 200,000.
            texture_size: side of the texture in pixels, 64 to 8192.

        Raises:
            UserError: a number is out of range, the Gaussians show no head, or the extra `mesh` is missing.
        """
        from facelift.mesh.extract import mesh_from_gaussians

        return mesh_from_gaussians(self.gaussians, faces, texture_size)

    def turntable(
        self, path: str | Path, frames: int = 150, size: int | None = None, progress: Progress = iter
    ) -> None:
        """Write one turn around the head, 30 frames a second, as MP4 or whatever `path` ends in.

        `facelift.pictures.write_pictures` lists the kinds, and draws other paths and backgrounds.
        """
        rig = turntable_rig(frames, size or self.portrait.shape[-1])
        write_pictures(path, self.gaussians, rig, progress=progress)
