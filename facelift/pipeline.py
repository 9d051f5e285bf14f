"""FaceLift, the whole method: a photo becomes a portrait, six views, and a head of 3D Gaussians."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, overload

import torch
from torch import Tensor
from torch.nn import functional as F

from facelift import hub, weights
from facelift.cameras import VIEW_NAMES, Cameras, canonical_rig
from facelift.checks import check_images, check_whole
from facelift.choices import DType, Matting, Memory, Scheduler
from facelift.devices import (
    autocast,
    choose_device,
    choose_dtype,
    choose_memory,
    geometry_device,
    inference_copy,
    on_device,
    portraits_at_once,
)
from facelift.errors import UserError
from facelift.estimate import seconds_per_photo
from facelift.gaussians import Gaussians
from facelift.head import Head, Progress
from facelift.isolation import ForkSafeLock, isolated, synchronized
from facelift.out_of_memory import Load, check_memory, out_of_memory_explained
from facelift.portrait import Framing, Portrait, prepare_portrait
from facelift.portrait.depth import surface_distances
from facelift.portrait.network import PortraitNetwork
from facelift.quantization import hold_in_eight_bits
from facelift.reconstruct import GSLRM
from facelift.refine import RefineConfig, add_detail, refine
from facelift.timings import Timings
from facelift.views import ViewGenerator
from facelift.views.generator import MAX_SEED
from facelift.views.warp import generate_views, mean_distances
from facelift.weights import Settings


class FaceLift:
    """The two models, and the way through them.

    The same photo, seed and options give the same head, bit for bit, on the same machine with the same number
    of threads (`torch.set_num_threads`), the same dtype and the same versions of the packages. Modes of torch
    and NumPy and global generators of noise that the caller has set change nothing, and stay as they are.
    `torch.set_float32_matmul_precision` holds for the whole process, and is heeded as it is set.

    Threads may share one: a lock, `lock`, has them work one after the other, for each call uses all cores or
    the whole GPU as it is. Start processes with multiprocessing's "spawn": one that is forked after the first
    use has none of torch's threads, and is refused with a `UserError` unless it computes with a single one.

    Args:
        views, reconstructor: the two stages. They stay as they are: `FaceLift.views` and
            `FaceLift.reconstructor` are copies to compute with, which share what need not be cast or moved.
        device: where to compute: "cpu", "cuda", "cuda:1", "mps", or "auto". On Apple's mps the Gaussians are
            placed, fitted and drawn on the CPU.
        settings: what the models ask of the pipeline.
        dtype: what to compute in; "auto" is what the settings say for the device, and "int8" the same with
            the U-Net's weights in eight bits.
        memory: how much of the device's memory to take, see `facelift.devices`.
        portrait_network: frames people in photos, cuts them out and tells how far their surface is; see
            `facelift.portrait.network`.
        documents: the model card and the licence, which are saved with the model: file names and contents.

    Raises:
        UserError: there is no such device, dtype or memory level.
    """

    @isolated()
    def __init__(
        self,
        views: ViewGenerator,
        reconstructor: GSLRM,
        device: str | torch.device = "auto",
        settings: Settings | None = None,
        dtype: DType = "auto",
        memory: Memory = "auto",
        portrait_network: PortraitNetwork | None = None,
        documents: Mapping[str, bytes] | None = None,
    ) -> None:
        self.lock = ForkSafeLock()
        self.settings = settings or Settings()
        self.documents = documents or {}
        self.device = choose_device(device)
        self.dtype = choose_dtype(dtype, self.device, self.settings.dtype)
        self._originals = views, reconstructor, portrait_network
        self._eight_bits = dtype == "int8"
        if self._eight_bits or views.unet.dtype != self.dtype:  # else weights stay mapped from their file
            originals = views, reconstructor
            pixels = len(VIEW_NAMES) * views.config.image_size**2
            check_memory(Load.of(self.device, "sliced", self.dtype, originals, self._eight_bits, pixels))
        self.views = inference_copy(views, self.dtype, "unet" if self._eight_bits else None)
        self.reconstructor = inference_copy(reconstructor, self.dtype)
        if self._eight_bits:
            hold_in_eight_bits(self.views.unet, self.dtype)
        self.portrait_network = (
            None if portrait_network is None else inference_copy(portrait_network, torch.float32)
        )
        models, pixels = (self.views, self.reconstructor), len(VIEW_NAMES) * self.size**2
        self.memory = choose_memory(memory, self.device, models, pixels, self.dtype)
        if self.memory != "offload":
            with out_of_memory_explained(self._load()):
                for model in models:
                    model.to(self.device)

    @classmethod
    @isolated()
    def from_pretrained(
        cls,
        model: str | Path | None = None,
        device: str | torch.device = "auto",
        revision: str | None = None,
        dtype: DType = "auto",
        memory: Memory = "auto",
    ) -> FaceLift:
        """Load a model: a packaged one by name (None is `mini`), a folder, or owner/model on the hub.

        FaceLift's released weights are "wlyu/OpenFaceLift", or a folder of that layout. `revision` is of the
        repository on the hub; None is the pinned one. For the rest see the class.

        Raises:
            UserError: there is no such model, device, dtype or memory level, or something is wrong with it.
        """
        device = choose_device(device)
        loaded = weights.load_model(weights.find_model(model, revision))
        return cls(
            loaded.views,
            loaded.reconstructor,
            device,
            loaded.settings,
            dtype,
            memory,
            loaded.portrait,
            loaded.documents,
        )

    @synchronized
    def save_pretrained(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        """Write a folder that `from_pretrained` reads: JSON, safetensors, the model card and the licence.

        Args:
            folder: where to; it is made.
            dtype: what the weights become. None writes what was loaded, bit for bit, whatever dtype the model
                computes in; weights that were changed since are written as they are held.

        Raises:
            UserError: the folder cannot be written.
        """
        folder = Path(folder)
        views, reconstructor, portrait_network = self._originals
        held = views if self._eight_bits else self.views
        weights.save_model(held, folder / "views", dtype, views)
        weights.save_model(self.reconstructor, folder / "reconstructor", dtype, reconstructor)
        if self.portrait_network is not None and self.settings.license == Settings.license:
            # Models of others find the packaged one.
            weights.save_model(self.portrait_network, folder / "portrait", dtype, portrait_network)
        weights.save_settings(self.settings, folder, self.documents)

    def push_to_hub(self, repository: str, private: bool = False) -> str:
        """Put what `save_pretrained` writes on the Hugging Face hub as owner/model; returns its address.

        Raises:
            UserError: not logged in, no permission, no network.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            return hub.upload(Path(folder), repository, private)

    @property
    def size(self) -> int:
        """Side of the views in pixels, unless a finished portrait says otherwise."""
        return self.views.config.image_size

    @property
    def portrait_size(self) -> int:
        """Side of the portrait in pixels, unless a finished one says otherwise."""
        return self.size * self.settings.portrait_scale

    @synchronized
    def estimate(
        self,
        steps: int | None,
        guidance: float | None,
        scheduler: Scheduler,
        cache_interval: int | None = None,
    ) -> float | None:
        """About how many seconds a photo takes; None where that is soon: on a GPU, or with a small model."""
        if self.device.type != "cpu":
            return None
        _, steps, guidance, _ = self.views.resolve_sampling(scheduler, steps, guidance)
        interval = cache_interval or self.views.config.cache_interval
        return seconds_per_photo(
            self.views, self.reconstructor.config, steps, guidance, interval, self.autocast()
        )

    @synchronized
    def prepare(
        self,
        photo: Any,
        matting: Matting = "auto",
        prepared: bool = False,
        framing: Framing | None = None,
    ) -> Portrait:
        """The portrait that `__call__` makes of a photo, to look at or to correct before.

        Args:
            photo: as in `__call__`.
            matting: as in `__call__`.
            prepared: as in `__call__`.
            framing: as in `__call__`.

        Raises:
            UserError: the photo cannot be used, or an option is not as it must be.
        """
        size = None if prepared and self.views.config.any_size else self.portrait_size
        return prepare_portrait(photo, size, matting, prepared, self.portrait_network, framing)

    @overload
    def __call__(self, photo: list[Any], *args: Any, **options: Any) -> list[Head]: ...
    @overload
    def __call__(self, photo: Any, *args: Any, **options: Any) -> Head: ...
    @synchronized  # type: ignore[misc]  # the overloads would repeat every option
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
        framing: Framing | None = None,
        batch_size: int | None = None,
        cache_interval: int | None = None,
    ) -> Head | list[Head]:
        """Lift one photo to a head, or a list of photos to a list of heads.

        Args:
            photo: a path, bytes, a file object, a PIL image, an array (H, W, 3 or 4) or a tensor (3, H, W),
                RGB and not BGR; see `facelift.portrait.load_photo`. Or what `prepare` made of one, to which
                `matting`, `prepared` and `framing` no longer apply. Or a list of these: their heads are those
                that each gives alone, but for rounding.
            seed: of all noise; it means the same on every device.
            steps: of the sampling; None is what the model was made for.
            guidance: of the sampling; None is what the model was made for.
            eta: of the sampling; None is what the model was made for.
            scheduler: "ddim", or "dpm++" with fewer steps; see `ViewGenerator.generate`.
            matting: how the background is removed, see `facelift.portrait.prepare_portrait`.
            prepared: whether the photo is a portrait already, see `facelift.portrait.prepare_portrait`. For
                a model that can work at any size, it stays as large as it is.
            refinement: the settings of the fit to the views, or only its steps, 0 for none; None is the
                model's own.
            timings: gathers the time of each stage.
            progress: wraps the diffusion steps, to show them.
            framing: another face, a tilt, a zoom or a shift; see `facelift.portrait.Framing`.
            batch_size: how many of a list go through both models at once; None is as many as the memory of a
                GPU takes, and 1 on a CPU.
            cache_interval: every so many steps of the sampling are computed whole, see
                `ViewGenerator.generate`; None is the model's own.

        Raises:
            UserError: a photo cannot be used, or an option is not as it must be.
        """
        check_whole(batch_size, "batch size", 1)
        check_whole(cache_interval, "cache interval", 1)
        check_whole(seed, "seed", 0, MAX_SEED, optional=False)
        self.views.resolve_sampling(
            scheduler, steps, guidance, eta
        )  # which refuses what cannot be, before the work
        config = self._refinement(refinement)
        timings = timings or Timings()
        sampling = {
            "seed": seed,
            "steps": steps,
            "guidance": guidance,
            "eta": eta,
            "scheduler": scheduler,
            "cache_interval": cache_interval,
            "progress": progress,
        }
        photos = photo if isinstance(photo, list) else [photo]
        with timings("portrait"):
            portraits = [self._portrait(each, matting, prepared, framing) for each in photos]
        heads: list[Head] = []
        for batch in self._batches(portraits, batch_size):
            side = batch[0].image.shape[-1] // self.settings.portrait_scale
            with out_of_memory_explained(self._load(side, len(batch))):
                heads += self._lift(batch, sampling, config, timings)
        return heads if isinstance(photo, list) else heads[0]

    def _lift(
        self, portraits: list[Portrait], sampling: dict[str, Any], config: RefineConfig, timings: Timings
    ) -> list[Head]:
        """The heads of portraits of one size, all at once."""
        layers = (torch.stack([getattr(each, name) for each in portraits]) for name in ("image", "alpha"))
        images, mattes = (
            F.avg_pool2d(layer, self.settings.portrait_scale).to(self.device) for layer in layers
        )
        with timings("views"), self.autocast():
            generated = generate_views(
                self.views,
                self._distances,
                images,
                mattes,
                sliced=self.memory != "fast",
                **sampling,
            )
            place = geometry_device(self.device)
            views, coverage, confidence = (
                x.to(place) for x in (generated.images, generated.coverage, generated.confidence)
            )
            images, mattes = images.to(place), mattes.to(place)
            if self.settings.keep_portrait:  # the first view is the input: its every pixel is known
                views[:, 0], coverage[:, 0] = images, mattes
        with timings("reconstruction"):
            gaussians = self._reconstruct(views)
        with timings("refinement"):
            rig = self._rig(views)
            fits = zip(gaussians, views, coverage, confidence, strict=True)
            gaussians = [refine(g, seen, rig, config, alpha, sure) for g, seen, alpha, sure in fits]
        with timings("detail"):
            finer = self.settings.keep_portrait and self.settings.portrait_scale > 1
            if finer and generated.distance is not None:
                shown = zip(gaussians, portraits, generated.distance.to(place), strict=True)
                gaussians = [self._detailed(g, each, distance, config) for g, each, distance in shown]
        return [
            Head(each.image.to(place), seen, g, each.faces, each.warnings, self.settings.ply_layout)
            for seen, g, each in zip(views, gaussians, portraits, strict=True)
        ]

    @synchronized
    def reconstruct(self, views: Tensor, refinement: int | RefineConfig | None = None) -> Gaussians:
        """Stage 2 alone: six true views become Gaussians.

        Args:
            views: (6, 3, S, S) RGB in [0, 1] on white, in the order of VIEW_NAMES; or (6, 4, S, S), their
                coverage after the colours, which helps the refinement.
            refinement: as in `__call__`.

        Raises:
            UserError: these are not six such views.
        """
        channels = 4 if isinstance(views, Tensor) and views.ndim == 4 and views.shape[1] == 4 else 3
        check_images(views, "views", (len(VIEW_NAMES), channels, "S", "S"))
        _check_size("views", views, self.reconstructor.config.patch_size)
        config = self._refinement(refinement)
        views = views.float()
        with out_of_memory_explained(self._load(views.shape[-1])):
            (gaussians,) = self._reconstruct(views[None, :, :3])
        views = views.to(geometry_device(self.device))
        coverage = views[:, 3:] if channels == 4 else None
        return refine(gaussians, views[:, :3], self._rig(views), config, coverage)

    def _load(self, size: int | None = None, portraits: int = 1) -> Load:
        models, pixels = (self.views, self.reconstructor), len(VIEW_NAMES) * (size or self.size) ** 2
        return Load.of(self.device, self.memory, self.dtype, models, self._eight_bits, pixels, portraits)

    def _portrait(self, photo: Any, matting: Matting, prepared: bool, framing: Framing | None) -> Portrait:
        portrait = photo if isinstance(photo, Portrait) else self.prepare(photo, matting, prepared, framing)
        cell = math.lcm(self.views.autoencoder.downsampling, self.reconstructor.config.patch_size)
        _check_size("portrait", portrait.image, cell * self.settings.portrait_scale)
        if not self.views.config.any_size and portrait.image.shape[-1] != self.portrait_size:
            raise UserError(
                f"The portrait must be {self.portrait_size} pixels wide, not {portrait.image.shape[-1]}: "
                "have the model's `prepare` make it."
            )
        return portrait

    def _detailed(
        self, gaussians: Gaussians, portrait: Portrait, distance: Tensor, config: RefineConfig
    ) -> Gaussians:
        """The head with the portrait's own pixels, which are finer than its view's."""
        image, alpha = (x.to(gaussians.means.device) for x in (portrait.image, portrait.alpha))
        return add_detail(gaussians, image, alpha, distance, self._rig(image)[[0]], config)

    def _batches(self, portraits: list[Portrait], batch_size: int | None) -> Iterator[list[Portrait]]:
        """Portraits of one size, in their order, as many as go through the models at once."""
        models = self.views, self.reconstructor
        for shape, group in groupby(portraits, key=lambda portrait: portrait.image.shape):
            same, pixels = list(group), len(VIEW_NAMES) * (shape[-1] // self.settings.portrait_scale) ** 2
            while same:
                most = batch_size or portraits_at_once(self.memory, self.device, models, pixels, self.dtype)
                yield same[:most]
                same = same[most:]

    def _reconstruct(self, views: Tensor) -> list[Gaussians]:
        """The Gaussians of (B, 6, 3, S, S) views, before the fit."""
        images = views.to(self.device)
        with self.autocast(), on_device(self.reconstructor, self.device):
            heads = self.reconstructor.reconstruct_batch(images, self._rig(images))
        return [gaussians.to(geometry_device(self.device)) for gaussians in heads]

    def _refinement(self, wanted: int | RefineConfig | None) -> RefineConfig:
        if isinstance(wanted, RefineConfig):
            return wanted
        check_whole(wanted, "number of steps of the refinement", 0)
        return self.settings.refinement if wanted is None else replace(self.settings.refinement, steps=wanted)

    def _distances(self, image: Tensor, camera: Cameras) -> Tensor:
        with on_device(self.reconstructor, self.device):
            if self.portrait_network is None:
                return self.reconstructor.distances(image, camera)
            by_network = partial(surface_distances, self.portrait_network)
            return mean_distances(by_network, self.reconstructor.distances)(image, camera)

    def _rig(self, views: Tensor) -> Cameras:
        return canonical_rig(views.shape[-1]).to(views.device)

    def autocast(self) -> torch.autocast:
        """The context in which the models compute."""
        return autocast(self.device, self.dtype)


def _check_size(name: str, images: Tensor, cell: int) -> None:
    if images.shape[-1] % cell:
        raise UserError(f"The {name} must be a multiple of {cell} pixels wide, not {images.shape[-1]}.")
