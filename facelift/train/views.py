"""Training the view generator: denoising the latents of six views (FaceLift section 3.2).

What is predicted is the scheduler's to say. FaceLift's is v; ours, whose latents have many channels for so
narrow a network, is the clean sample, which needs no noise carried through it (Li and He, "Back to Basics:
Let Denoising Generative Models Denoise", 2025). Either way the loss is that of v.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from facelift.data.reader import HeadFolder
from facelift.data.streaming import Heads, open_heads
from facelift.devices import autocast
from facelift.errors import UserError
from facelift.train.augment import augment
from facelift.train.critic import Critic, adversarial_losses
from facelift.train.photographs import degrade
from facelift.train.task import Loss, channels_last, generator_for
from facelift.train.unposed import UnposedPhotos
from facelift.views.generator import VIEWS, ViewGenerator
from facelift.views.warp import warp_views
from facelift.weights import load_reconstructor, load_views, save_model

MIN_NOISE_VARIANCE = 0.1  # below it the weight of the clean sample's error does not rise


@dataclass(frozen=True)
class ViewsTraining:
    """What the view generator learns from.

    Attributes:
        data: folder of heads, canonical rig.
        autoencoder: folder of a trained autoencoder, `OUT/views` of its training.
        reconstructor: folder of a reconstructor that was trained on the front view alone, too, for a model
            that works from warped views (`facelift.views.warp`).
        condition_dropout: how often the portrait is dropped whole, for guidance.
        degraded_share: how often a portrait is blurred, noisy, compressed or partly hidden, as in a photo
            (`facelift.train.photographs`); the other views stay as they are.
        augmentations: how many lights, framings and mirrorings of each head there are; their latents stay in
            memory.
        noise_levels: how many levels of noise are trained, those of a sampling in so many steps; None is all.
        adversarial_weight: norm of the gradient of a `facelift.train.critic.Critic`, over that of the
            gradient towards the true view. Above 0, a single step from pure noise is what is trained.
        critic_warmup: steps in which the critic alone learns.
        unposed_photos: folder of photos; some samples are of them, and only the front view counts.
        unposed_share: how often that is.
        streaming: keep the heads in the device's memory, and take in those that `facelift synth` draws
            meanwhile (`facelift.data.streaming`).
    """

    data: str
    autoencoder: str
    reconstructor: str | None = None
    condition_dropout: float = 0.05
    degraded_share: float = 0.0
    augmentations: int = 4
    noise_levels: int | None = None
    adversarial_weight: float = 0.0
    critic_warmup: int = 120
    unposed_photos: str | None = None
    unposed_share: float = 0.1
    streaming: bool = False


class ViewsTask:
    """Training of the view generator's U-Net and prompts."""

    def __init__(self, training: ViewsTraining, device: torch.device) -> None:
        self.device, self.training = device, training
        self.folder: Heads = open_heads(training.data, device if training.streaming else None)
        self.generator = load_views(Path(training.autoencoder)).to(device)
        self.reconstructor = None
        if self.generator.config.warped_views:
            if training.reconstructor is None:
                raise UserError("Warped views need a `reconstructor` in the `training`.")
            self.reconstructor = load_reconstructor(Path(training.reconstructor)).to(device)
        channels_last(self.generator)
        critic = None
        if training.adversarial_weight:
            if self.generator.config.scheduler.get("prediction_type") != "sample":
                raise UserError("An adversary is for a view generator that predicts the clean sample.")
            channels = self.generator.autoencoder.latent_channels
            critic = Critic(channels, 2 * channels, VIEWS - 1)
            self.generator.config = replace(self.generator.config, steps=1)
            if training.unposed_photos:
                raise UserError("Photos have no true views for an adversary: leave one of them out.")
        self.model = _Trained(self.generator, critic)
        self.model.requires_grad_(True)
        self.timesteps = self._timesteps()
        self.cache: dict[tuple[str, int], tuple[Tensor, Tensor]] = {}
        size = self.generator.config.image_size
        self.photos = UnposedPhotos(training.unposed_photos, size) if training.unposed_photos else None

    def held_out(self, training: ViewsTraining) -> ViewsTask:
        """The same model on the held-out heads of this folder."""
        other = copy(self)
        other.training, other.folder = training, HeadFolder(training.data, held_out=True)
        other.cache, other.photos = {}, None
        return other

    def losses(self, step: int, batch: int, rng: torch.Generator) -> Iterator[Loss]:
        """Denoising, or with an adversary one step from pure noise."""
        if self.model.critic is not None:
            yield from self._adversarial_losses(self.model.critic, step, batch, rng)
            return
        latents, condition, has_truth = self._batch(rng, batch)
        timesteps = self.timesteps[torch.randint(len(self.timesteps), (batch,), generator=rng)]
        noise = torch.randn(latents.shape, generator=rng).to(self.device)
        scheduler = self.generator.scheduler
        noisy = scheduler.add_noise(latents, noise, timesteps.to(self.device))
        clean = scheduler.config.prediction_type == "sample"
        target = latents if clean else scheduler.get_velocity(latents, noise, timesteps.to(self.device))
        with autocast(self.device):
            predicted = self.generator.predict(noisy, timesteps.to(self.device), condition)
        errors = (predicted.float() - target).square().mean(dim=(2, 3, 4))
        losses = (errors * has_truth).sum(dim=1) / has_truth.sum(dim=1)
        parts = {"loss": losses.detach().mean()}
        early = timesteps >= 800  # nearly all noise: what is predicted from the condition alone
        if early.any():
            parts["early"] = losses.detach()[early.to(self.device)].mean()
        yield Loss((losses * self._weights(timesteps).to(self.device)).mean(), parts, batch)

    def _adversarial_losses(
        self, critic: Critic, step: int, batch: int, rng: torch.Generator
    ) -> Iterator[Loss]:
        """One step from pure noise, towards the true views and past the critic, which learns beside it."""
        latents, condition, _ = self._batch(rng, batch)
        noise = torch.randn(latents.shape, generator=rng).to(self.device)
        learns = step >= self.training.critic_warmup and torch.is_grad_enabled()
        with torch.set_grad_enabled(learns), autocast(self.device):
            generated = self.generator.predict_in_one_step(noise, condition)[:, 1:].float()
        true, warped = latents[:, 1:], condition.expand_as(latents)[:, 1:]
        given = torch.cat([warped, latents[:, :1].expand_as(true)], dim=2)
        view = torch.arange(VIEWS - 1, device=self.device).repeat(batch)
        true, generated, given = (x.flatten(0, 1) for x in (true, generated, given))
        yield from adversarial_losses(
            critic, true, generated, given, view, self.training.adversarial_weight, batch
        )

    def _batch(self, rng: torch.Generator, batch: int) -> tuple[Tensor, Tensor, Tensor]:
        """Latents of a batch, what conditions them, and which of them have a true view.

        Returns:
            (B, 6, C, h, w); (B, 1 or 6, C, h, w), dropped for some; (B, 6), 1 for these and else 0.
        """
        parts = zip(*(self._sample(rng) for _ in range(batch)), strict=True)
        latents, condition, has_truth = (torch.stack(part).to(self.device, torch.float32) for part in parts)
        kept = torch.rand(batch, generator=rng) >= self.training.condition_dropout
        return latents, condition * kept.to(self.device)[:, None, None, None, None], has_truth

    def _sample(self, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """One head in some light and framing, or one photo: latents, condition, which views are true."""
        if self.photos is not None and torch.rand((), generator=rng) < self.training.unposed_share:
            index, portrait = self.photos.draw(rng)
            # No view sees another but the front, so that nothing need be made up for the other five.
            latents, condition = self._encoded(("photo", index), lambda: portrait[None])
            latents = torch.cat([latents, torch.zeros_like(latents).expand(VIEWS - 1, -1, -1, -1)])
            return latents, condition, torch.eye(VIEWS)[0]
        index = int(torch.randint(len(self.folder) * self.training.augmentations, (), generator=rng))
        return *self._encoded(("head", index), lambda: self._head(index)), torch.ones(VIEWS)

    def _head(self, index: int) -> Tensor:
        """(6, 4, S, S) RGB on white and coverage."""
        views = self.folder.load(self.folder.heads[index // self.training.augmentations])
        layers = augment(torch.cat([views.images, views.alpha], dim=1), generator_for(0, index))
        noise = np.random.default_rng(index)
        if noise.random() < self.training.degraded_share:
            layers[0] = degrade(layers[0], noise)
        return layers

    @torch.no_grad()
    def _encoded(self, name: tuple[str, int], load: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
        """(V, C, h, w) of the V images (V, 4, S, S) of that name, the front one first, and the condition."""
        if name not in self.cache:
            images, alpha = load().to(self.device).split([3, 1], dim=1)
            with autocast(self.device):
                warped = self._warped(images[0], alpha[0])
                condition = self.generator.autoencoder.encode(images[:1] if warped is None else warped)
                latents = condition[:1]  # warping leaves the first view as it is
                if len(images) > 1:
                    latents = torch.cat([latents, self.generator.autoencoder.encode(images[1:])])
            self.cache[name] = latents.half(), condition.half()
        return self.cache[name]

    def _timesteps(self) -> Tensor:
        """Those that are trained."""
        if self.training.noise_levels is None:
            return torch.arange(self.generator.scheduler.config.num_train_timesteps)
        sampler, steps, *_ = self.generator.resolve_sampling("ddim", self.training.noise_levels)
        sampler.set_timesteps(steps)
        return sampler.timesteps

    def _warped(self, portrait: Tensor, coverage: Tensor) -> Tensor | None:
        if self.reconstructor is None:
            return None
        return warp_views(self.reconstructor.distances, portrait, coverage).images

    def _weights(self, timesteps: Tensor) -> Tensor:
        scheduler = self.generator.scheduler
        if scheduler.config.prediction_type != "sample":
            return torch.ones(len(timesteps))
        noise = 1 - scheduler.alphas_cumprod[timesteps]
        return 1 / noise.clamp_min(MIN_NOISE_VARIANCE)  # an error e of the sample is one of e / sigma in v

    def picture(self) -> Tensor:
        """Three heads: the true views above the generated ones."""
        rows = []
        for head in self.folder.heads[:: max(1, len(self.folder) // 3)][:3]:
            truth = self.folder.load(head)
            with autocast(self.device):
                portrait, coverage = truth.images[0].to(self.device), truth.alpha[0].to(self.device)
                warped = self._warped(portrait, coverage)
                views = self.generator.generate(portrait, warped=warped).float().cpu()
            rows += [torch.cat([*truth.images.cpu()], dim=2), torch.cat([*views[:, :3]], dim=2)]
        return torch.cat(rows, dim=1)

    def export(self, folder: Path) -> None:
        """Write what `facelift.weights.load_views` reads."""
        save_model(self.generator, folder / "views")


class _Trained(nn.Module):
    """The part of a view generator that is trained, all but the autoencoder; and its critic."""

    def __init__(self, generator: ViewGenerator, critic: Critic | None = None) -> None:
        super().__init__()
        self.unet, self.prompts, self.critic = generator.unet, generator.prompts, critic
