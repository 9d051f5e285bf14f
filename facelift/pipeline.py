"""FaceLift, the whole method: a photo becomes a portrait, six views, and a head of 3D Gaussians."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from facelift import weights
from facelift.cameras import Cameras, canonical_rig, turntable_rig
from facelift.formats.mp4 import write_mp4
from facelift.formats.ply import write_ply
from facelift.gaussians import Gaussians
from facelift.portrait import prepare_portrait
from facelift.portrait.align import Matting
from facelift.reconstruct import GSLRM
from facelift.reconstruct.refine import refine
from facelift.render import render
from facelift.timings import Timings
from facelift.views import ViewGenerator

REFINEMENT = 40

Progress = Callable[[Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True)
class Head:
    """What one photo became.

    Attributes:
        portrait: (3, S, S) the prepared photo, RGB in [0, 1] on white.
        views: (6, 3, S, S) the six views that the Gaussians were made from, in the order of VIEW_NAMES.
        gaussians: the head; see DESIGN's conventions in `facelift.gaussians` and `facelift.cameras`.
        faces: how many faces the photo shows; the largest was used.
    """

    portrait: Tensor
    views: Tensor
    gaussians: Gaussians
    faces: int

    def render(self, cameras: Cameras) -> Tensor:
        """(N, 3, H, W) RGB in [0, 1] on white."""
        return render(self.gaussians, cameras).image.clamp(0, 1)

    def save(self, path: str | Path) -> None:
        """Write the Gaussians as a PLY that any splat viewer opens."""
        write_ply(path, self.gaussians)

    def turntable(
        self, path: str | Path, frames: int = 150, size: int | None = None, progress: Progress = iter
    ) -> None:
        """Write one turn around the head as MP4, 30 frames a second."""
        rig = turntable_rig(frames, size or self.portrait.shape[-1])
        images = (
            self.render(rig[i])[0].mul(255).round().byte().movedim(0, -1).cpu().numpy() for i in range(frames)
        )
        write_mp4(path, progress(images))


class FaceLift:
    """The two models, and the way through them."""

    def __init__(self, views: ViewGenerator, reconstructor: GSLRM, device: torch.device) -> None:
        self.views = views.to(device)
        self.reconstructor = reconstructor.to(device)
        self.device = device

    @classmethod
    def from_pretrained(cls, model: str | Path | None = None, device: str = "auto") -> FaceLift:
        """Load a packaged model by name (None is `mini`) or a folder of weights."""
        folder = weights.find_model(model)
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        return cls(
            weights.load_views(folder / "views"),
            weights.load_reconstructor(folder / "reconstructor"),
            torch.device(device),
        )

    @property
    def size(self) -> int:
        """Side of the portrait and of the views in pixels."""
        return self.views.config.image_size

    @torch.no_grad()
    def __call__(
        self,
        photo: Any,
        seed: int = 0,
        steps: int | None = None,
        guidance: float | None = None,
        matting: Matting = "auto",
        prepared: bool = False,
        refinement: int = REFINEMENT,
        timings: Timings | None = None,
        progress: Progress = iter,
    ) -> Head:
        """Lift one photo (a path, a PIL image or an array) to a head.

        Args:
            seed: of the view generator's noise.
            steps, guidance: of the sampling; None is what the model was made for.
            matting, prepared: see `facelift.portrait.prepare_portrait`.
            refinement: steps of `facelift.reconstruct.refine`; 0 leaves it out.
            timings: gathers the time of each stage.
            progress: wraps the diffusion steps, to show them.
        """
        timings = timings or Timings()
        with timings("portrait"):
            portrait = prepare_portrait(photo, self.size, matting=matting, prepared=prepared)
            image = portrait.image.to(self.device)
        with timings("views"), self._autocast():
            views = self.views.generate(image, seed, steps, guidance, progress=progress).float()
            views[0] = image  # the first view is the input: its every pixel is known
        with timings("reconstruction"):
            gaussians = self.reconstruct(views)
        with timings("refinement"):
            gaussians = refine(gaussians, views, self._rig(), refinement)
        return Head(image, views, gaussians, portrait.faces)

    @torch.no_grad()
    def reconstruct(self, views: Tensor) -> Gaussians:
        """Stage 2 alone: (6, 3, S, S) RGB in [0, 1] on white, in the order of VIEW_NAMES, to Gaussians."""
        with self._autocast():
            return self.reconstructor.reconstruct(views.to(self.device), self._rig())

    def _rig(self) -> Cameras:
        return canonical_rig(self.size).to(self.device)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16)
