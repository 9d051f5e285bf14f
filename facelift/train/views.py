"""Training the view generator: denoising the latents of six views (FaceLift section 3.2).

What is predicted is the scheduler's to say. FaceLift's is v; ours, whose latents have many channels for so
narrow a network, is the clean sample, which needs no noise carried through it (Li and He, "Back to Basics:
Let Denoising Generative Models Denoise", 2025). Either way the loss is that of v.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from facelift.devices import autocast
from facelift.errors import UserError
from facelift.reconstruct.draft import draft
from facelift.train.augment import random_framing, random_photometry
from facelift.train.data import HeadFolder
from facelift.train.loop import channels_last, draws
from facelift.views.generator import ViewGenerator
from facelift.weights import load_reconstructor, load_views, save_model

LEAST_NOISE = 0.1  # variance below which the sample's weight does not rise


@dataclass(frozen=True)
class ViewsTraining:
    """Attributes:
    data: folder of heads, canonical rig.
    autoencoder: folder of a trained autoencoder, `OUT/views` of its training.
    reconstructor: folder of a trained reconstructor that knows the front view alone, for a model that works
        from drafts (`facelift.reconstruct.draft`).
    drop_condition: how often the portrait is dropped whole, for guidance.
    snr_gamma: Min-SNR weighting (Hang et al., 2023); None is the plain loss on v, whose weight does not
        vanish where all is noise and the portrait alone decides.
    variants: how many lights and framings of each head there are; their latents are kept in memory.
    """

    data: str
    autoencoder: str
    reconstructor: str | None = None
    drop_condition: float = 0.05
    snr_gamma: float | None = None
    variants: int = 4


class ViewsTask:
    def __init__(self, training: ViewsTraining, device: torch.device) -> None:
        self.device, self.training = device, training
        self.folder = HeadFolder(training.data)
        self.generator = load_views(Path(training.autoencoder)).to(device)
        self.reconstructor = None
        if self.generator.config.drafts:
            if training.reconstructor is None:
                raise UserError("A view generator with drafts needs a `reconstructor` in its `training`.")
            self.reconstructor = load_reconstructor(Path(training.reconstructor)).to(device)
        channels_last(self.generator)
        self.model = _Trained(self.generator)
        self.model.requires_grad_(True)
        self.cache: dict[int, tuple[Tensor, Tensor]] = {}

    def backward(self, step: int, batch: int, rng: torch.Generator) -> dict[str, float]:
        latents, condition = self._batch(rng, batch)
        timesteps = torch.randint(
            self.generator.scheduler.config.num_train_timesteps, (batch,), generator=rng
        )
        noise = torch.randn(latents.shape, generator=rng).to(self.device)
        scheduler = self.generator.scheduler
        noisy = scheduler.add_noise(latents, noise, timesteps.to(self.device))
        clean = scheduler.config.prediction_type == "sample"
        target = latents if clean else scheduler.get_velocity(latents, noise, timesteps.to(self.device))
        with autocast(self.device):
            predicted = self.generator.predict(noisy, timesteps.to(self.device), condition)
        losses = (predicted.float() - target).square().mean(dim=(1, 2, 3, 4))
        (losses * self._weights(timesteps).to(self.device)).mean().backward()
        early = timesteps >= 800  # nearly all noise: how well the portrait alone tells the other views
        shown = {"loss": losses.mean().item()}
        return shown | ({"early": losses[early.to(self.device)].mean().item()} if early.any() else {})

    def _batch(self, rng: torch.Generator, batch: int) -> tuple[Tensor, Tensor]:
        """Latents (B, 6, C, h, w) and their condition (B, 1 or 6, C, h, w), dropped for some."""
        drawn = torch.randint(len(self.folder) * self.training.variants, (batch,), generator=rng)
        latents, condition = (
            torch.stack(parts).to(self.device, torch.float32)
            for parts in zip(*(self._latents(int(i)) for i in drawn), strict=True)
        )
        kept = torch.rand(batch, generator=rng) >= self.training.drop_condition
        return latents, condition * kept.to(self.device)[:, None, None, None, None]

    @torch.no_grad()
    def _latents(self, index: int) -> tuple[Tensor, Tensor]:
        """(6, C, h, w) of one head in one of its lights and framings, and its condition, encoded once."""
        if index not in self.cache:
            rng = draws(0, index)
            images = self.folder.load(self.folder.heads[index // self.training.variants]).images
            images = random_framing(rng)(random_photometry(rng)(images)).to(self.device)
            with autocast(self.device):
                drafts = self._drafts(images[0])
                condition = self.generator.autoencoder.encode(images[:1] if drafts is None else drafts)
                latents = self.generator.autoencoder.encode(images)
            self.cache[index] = latents.half(), condition.half()
        return self.cache[index]

    def _drafts(self, portrait: Tensor) -> Tensor | None:
        return None if self.reconstructor is None else draft(self.reconstructor, portrait).images

    def _weights(self, timesteps: Tensor) -> Tensor:
        scheduler = self.generator.scheduler
        signal = scheduler.alphas_cumprod[timesteps]
        weights = torch.ones(len(timesteps))
        if scheduler.config.prediction_type == "sample":  # an error e of the sample is one of e / sigma in v
            weights = 1 / (1 - signal).clamp_min(LEAST_NOISE)
        if self.training.snr_gamma is not None:
            snr = signal / (1 - signal)
            weights = weights * snr.clamp_max(self.training.snr_gamma) / (snr + 1)
        return weights

    def picture(self, model: nn.Module) -> Tensor:
        """Three heads: the true views above the generated ones."""
        assert isinstance(model, _Trained)
        rows = []
        for head in self.folder.heads[:: max(1, len(self.folder) // 3)][:3]:
            truth = self.folder.load(head).images
            with autocast(self.device):
                portrait = truth[0].to(self.device)
                views = self._with(model).generate(portrait, drafts=self._drafts(portrait)).float().cpu()
            rows += [torch.cat([*truth], dim=2), torch.cat([*views], dim=2)]
        return torch.cat(rows, dim=1)

    def export(self, model: nn.Module, folder: Path) -> None:
        assert isinstance(model, _Trained)
        save_model(self._with(model), folder / "views")

    def _with(self, model: _Trained) -> ViewGenerator:
        """The generator with these weights: its own autoencoder, another U-Net and prompts."""
        generator = ViewGenerator(self.generator.config).to(self.device)
        generator.autoencoder = self.generator.autoencoder
        generator.unet, generator.prompts = model.unet, model.prompts
        return generator.eval()


class _Trained(nn.Module):
    """The part of a view generator that is trained: all but the autoencoder."""

    def __init__(self, generator: ViewGenerator) -> None:
        super().__init__()
        self.unet, self.prompts = generator.unet, generator.prompts
