"""FaceLift, the whole method: a photo becomes a portrait, six views, and a head of 3D Gaussians."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facelift import hub, weights
from facelift.cameras import VIEW_NAMES, Cameras, canonical_rig, turntable_rig
from facelift.choices import DType, Matting, Memory, Scheduler
from facelift.devices import autocast, choose_dtype, choose_memory, hold, resident
from facelift.errors import UserError
from facelift.estimate import seconds_per_photo
from facelift.formats.mp4 import write_mp4
from facelift.formats.ply import write_ply
from facelift.gaussians import Gaussians
from facelift.portrait import prepare_portrait
from facelift.portrait.segment import Segmenter
from facelift.reconstruct import GSLRM
from facelift.refine import RefineConfig, refine
from facelift.render import render
from facelift.timings import Timings
from facelift.views import ViewGenerator
from facelift.views.warp import generate_views
from facelift.weights import Settings

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
        # In NumPy, for torch's threads would spin between frames and take cores from the rasteriser's.
        images = (render(self.gaussians, rig[i]).image[0].movedim(0, -1).cpu().numpy() for i in range(frames))
        write_mp4(path, progress(np.rint(255 * image.clip(0, 1)).astype(np.uint8) for image in images))


class FaceLift:
    """The two models, and the way through them.

    Args:
        views, reconstructor: the two stages.
        device: where to compute.
        settings: what the models ask of the pipeline.
        dtype: what to compute in; "auto" is what the settings say for the device.
        memory: how much of the device's memory to take, see `facelift.devices`.
        segmenter: frames people in photos and cuts them out; see `facelift.portrait.prepare_portrait`.
    """

    def __init__(
        self,
        views: ViewGenerator,
        reconstructor: GSLRM,
        device: torch.device,
        settings: Settings | None = None,
        dtype: DType = "auto",
        memory: Memory = "auto",
        segmenter: Segmenter | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.segmenter = segmenter
        self.device = device
        self.dtype = choose_dtype(dtype, device, self.settings.dtype)
        self.views, self.reconstructor = hold(views, self.dtype), hold(reconstructor, self.dtype)
        models, pixels = (views, reconstructor), len(VIEW_NAMES) * self.size**2
        self.memory = choose_memory(memory, device, models, pixels, self.dtype)
        if self.memory != "offload":
            self.views, self.reconstructor = views.to(device), reconstructor.to(device)

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path | None = None,
        device: str = "auto",
        revision: str | None = None,
        dtype: DType = "auto",
        memory: Memory = "auto",
    ) -> FaceLift:
        """Load a model: a packaged one by name (None is `mini`), a folder, or owner/model on the hub.

        FaceLift's released weights are "wlyu/OpenFaceLift", or a folder of that layout. `revision` is of the
        repository on the hub; None is the pinned one. For the rest see the class.

        Raises:
            UserError: there is no such model, or something is wrong with it.
        """
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        folder = weights.find_model(model, revision)
        views, reconstructor, settings = weights.load_model(folder)
        segmenter = weights.load_segmenter(folder)
        return cls(views, reconstructor, torch.device(device), settings, dtype, memory, segmenter)

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        """Write a folder that `from_pretrained` reads: JSON, and safetensors in `dtype` or as held."""
        folder = Path(folder)
        weights.save_model(self.views, folder / "views", dtype)
        weights.save_model(self.reconstructor, folder / "reconstructor", dtype)
        if self.segmenter is not None and self.settings.license == Settings.license:
            weights.save_model(self.segmenter, folder / "portrait", dtype)  # others find the packaged one
        weights.save_settings(self.settings, folder)

    def push_to_hub(self, repository: str, private: bool = False) -> str:
        """Put the model on the Hugging Face hub as owner/model; returns its address."""
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            return hub.upload(Path(folder), repository, private)

    @property
    def size(self) -> int:
        """Side of the portrait and of the views in pixels, unless a finished portrait says otherwise."""
        return self.views.config.image_size

    def estimate(self, steps: int | None, guidance: float | None, scheduler: Scheduler) -> float | None:
        """About how many seconds a photo takes; None where that is soon: on a GPU, or with a small model."""
        if self.device.type != "cpu":
            return None
        _, steps, _ = self.views.sampling(scheduler, steps, None)
        guidance = self.views.config.guidance if guidance is None else guidance
        return seconds_per_photo(self.views, self.reconstructor.config, steps, guidance, self.autocast())

    @torch.no_grad()
    def __call__(
        self,
        photo: Any,
        seed: int = 0,
        steps: int | None = None,
        guidance: float | None = None,
        eta: float | None = None,
        scheduler: Scheduler = "ddim",
        matting: Matting = "auto",
        prepared: bool = False,
        refinement: int | RefineConfig | None = None,
        timings: Timings | None = None,
        progress: Progress = iter,
    ) -> Head:
        """Lift one photo to a head.

        Args:
            photo: a path, bytes, a file object, a PIL image, an array (H, W, 3 or 4) or a tensor (3, H, W),
                RGB and not BGR; see `facelift.portrait.load_photo`.
            seed: of all noise; it means the same on every device.
            steps, guidance, eta: of the sampling; None is what the model was made for.
            scheduler: "ddim", or "dpm++" with fewer steps; see `ViewGenerator.generate`.
            matting, prepared: see `facelift.portrait.prepare_portrait`. The views of a prepared portrait have
                its size if the model can work at any.
            refinement: the settings of the fit to the views, or only its steps, 0 for none; None is the
                model's own.
            timings: gathers the time of each stage.
            progress: wraps the diffusion steps, to show them.
        """
        timings = timings or Timings()
        with timings("portrait"):
            size = None if prepared and self.views.config.any_size else self.size
            portrait = prepare_portrait(photo, size, matting, prepared, self.segmenter)
            self._check_size(portrait.image.shape[-1])
            image, matte = portrait.image.to(self.device), portrait.alpha.to(self.device)
        with timings("views"), self.autocast():
            generated = generate_views(
                self.views,
                self._distances,
                image,
                matte,
                seed=seed,
                steps=steps,
                guidance=guidance,
                eta=eta,
                scheduler=scheduler,
                sliced=self.memory != "fast",
                progress=progress,
            )
            views, coverage = generated.images, generated.coverage
            if self.settings.keep_portrait:  # the first view is the input: its every pixel is known
                views[0], coverage[0] = image, matte
        with timings("reconstruction"):
            gaussians = self.reconstruct(views, refinement=0)
        with timings("refinement"):
            config = self._refinement(refinement)
            gaussians = refine(gaussians, views, self._rig(views), config, coverage, generated.confidence)
        return Head(image, views, gaussians, portrait.faces)

    @torch.no_grad()
    def reconstruct(self, views: Tensor, refinement: int | RefineConfig | None = None) -> Gaussians:
        """Stage 2 alone: six true views become Gaussians.

        Args:
            views: (6, 3, S, S) RGB in [0, 1] on white, in the order of VIEW_NAMES; or (6, 4, S, S), their
                coverage after the colours, which helps the refinement.
            refinement: as in `__call__`.
        """
        views, coverage = views[:, :3].to(self.device), views[:, 3:].to(self.device)
        with self.autocast(), resident(self.reconstructor, self.device):
            gaussians = self.reconstructor.reconstruct(views, self._rig(views))
        config = self._refinement(refinement)
        return refine(gaussians, views, self._rig(views), config, coverage if coverage.shape[1] else None)

    def _refinement(self, wanted: int | RefineConfig | None) -> RefineConfig:
        if isinstance(wanted, RefineConfig):
            return wanted
        return self.settings.refinement if wanted is None else replace(self.settings.refinement, steps=wanted)

    def _distances(self, image: Tensor, camera: Cameras) -> Tensor:
        with resident(self.reconstructor, self.device):
            return self.reconstructor.distances(image, camera)

    def _check_size(self, size: int) -> None:
        cell = math.lcm(self.views.autoencoder.downsampling, self.reconstructor.config.patch_size)
        if size % cell:
            raise UserError(f"The portrait is {size} pixels wide: make it a multiple of {cell}.")

    def _rig(self, views: Tensor) -> Cameras:
        return canonical_rig(views.shape[-1]).to(self.device)

    def autocast(self) -> torch.autocast:
        """The context in which the models compute."""
        return autocast(self.device, self.dtype)
