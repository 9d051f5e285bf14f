"""Training the view generator: denoising the latents of six views (FaceLift section 3.2).

What is predicted is the scheduler's to say. FaceLift's is v; ours, whose latents have many channels for so
narrow a network, is the clean sample, which needs no noise carried through it (Li and He, "Back to Basics:
Let Denoising Generative Models Denoise", 2025). Either way the loss is that of v.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from facelift.data.reader import HeadFolder
from facelift.data.streaming import Heads, open_heads
from facelift.devices import autocast
from facelift.errors import UserError
from facelift.train.critic import Critic, adversarial_losses
from facelift.train.distances import load_distances
from facelift.train.loader import Draw, SampleLoader, chunked
from facelift.train.lora import add_lora, merged
from facelift.train.start import starting_views
from facelift.train.task import Loss, channels_last
from facelift.train.unposed import UnposedPhotos
from facelift.train.view_samples import AugmentedHeads, Encoded, PlainHeads, ViewEncoder
from facelift.views.generator import VIEWS, ViewGenerator, ViewGeneratorConfig
from facelift.weights import save_model

MIN_NOISE_VARIANCE = 0.1  # below it the weight of the clean sample's error does not rise


@dataclass(frozen=True)
class ViewsTraining:
    """What the view generator learns from.

    Attributes:
        data: folder of heads, canonical rig.
        autoencoder: folder of a trained autoencoder, `OUT/views` of its training.
        init_from: the weights to start from, in place of an `autoencoder`: a view generator of ours, a
            diffusers folder of Stable Diffusion 2.1 unCLIP or of FaceLift, or a repository on the Hugging
            Face hub (`facelift.train.start`).
        reconstructor: for a model that works from warped views (`facelift.views.warp`) the folder of a
            reconstructor that was trained on the front view alone, too, whose depth warps them.
        portrait: the folder of the portrait's network, in its place or beside it
            (`facelift.train.distances`).
        condition_dropout: how often the portrait is dropped whole, for guidance.
        degraded_share: how often a portrait is blurred, noisy, compressed or partly hidden, as in a photo
            (`facelift.train.photographs`); the other views stay as they are.
        augmentations: how many lights, framings and mirrorings of each head there are; their latents stay in
            memory. 0, the paper's, takes heads as they are, and keeps nothing.
        backgrounds: "white", "grey", "black": one of them, by chance, is behind all views of a sample. Others
            than white are for heads as they are.
        train_prompts: whether what names the views is learnt; the paper's are six encoded sentences.
        snr_gamma: bound of the signal-to-noise ratio by which errors are weighted (Hang et al., "Efficient
            Diffusion Training via Min-SNR Weighting Strategy", 2023); None weights none.
        noise_levels: how many levels of noise are trained, those of a sampling in so many steps; None is all.
        adversarial_weight: norm of the gradient of a `facelift.train.critic.Critic`, over that of the
            gradient towards the true view. Above 0, a single step from pure noise is what is trained.
        critic_warmup: steps in which the critic alone learns.
        unposed_photos: folder of photos; some samples are of them, and only the front view counts.
        unposed_share: how often that is.
        micro_batch: samples that go through the model together; None is all of a process.
        gradient_checkpointing: whether activations are computed again for the gradient, a third more work in
            a fraction of the memory.
        compile: whether torch.compile makes the U-Net faster, after some minutes.
        lora_rank: rank of the additions to the attention that are trained in place of the whole U-Net
            (`facelift.train.lora`); None trains all of it.
        workers: processes that read heads ahead, for each process of the training; for heads as they are.
        streaming: keep the heads in the device's memory, and take in those that `facelift synth` draws
            meanwhile (`facelift.data.streaming`).
    """

    data: str
    autoencoder: str | None = None
    reconstructor: str | None = None
    portrait: str | None = None
    init_from: str | None = None
    condition_dropout: float = 0.05
    degraded_share: float = 0.0
    augmentations: int = 4
    backgrounds: list[str] = field(default_factory=lambda: ["white"])
    train_prompts: bool = True
    snr_gamma: float | None = None
    noise_levels: int | None = None
    adversarial_weight: float = 0.0
    critic_warmup: int = 120
    unposed_photos: str | None = None
    unposed_share: float = 0.1
    micro_batch: int | None = None
    gradient_checkpointing: bool = False
    compile: bool = False
    lora_rank: int | None = None
    workers: int = 0
    streaming: bool = False

    def __post_init__(self) -> None:
        if self.autoencoder is not None and self.init_from is not None:
            raise ValueError("`autoencoder` and `init_from` name the same thing: leave one of them out")


@dataclass(frozen=True)
class _Batch:
    """Some samples, on the device.

    Attributes:
        latents: (B, 6, C, h, w).
        condition: (B, 1 or 6, C, h, w), zeros where it is dropped.
        label: (B, 6, D), zeros where it is dropped; None for a model without.
        has_truth: (B, 6), 1 for views that are true and else 0.
        noise: like the latents, standard normal.
        timesteps: (B,) of the diffusion, on the CPU.
    """

    latents: Tensor
    condition: Tensor
    label: Tensor | None
    has_truth: Tensor
    noise: Tensor
    timesteps: Tensor


class ViewsTask:
    """Training of the view generator's U-Net and prompts."""

    def __init__(
        self, training: ViewsTraining, device: torch.device, model: ViewGeneratorConfig | None = None
    ) -> None:
        self.device, self.training = device, training
        start = training.autoencoder or training.init_from
        if start is None and model is None:
            raise ValueError("it names neither `autoencoder` nor `init_from`, and has no `model`")
        self.folder: Heads = open_heads(training.data, device if training.streaming else None)
        self.generator = (
            ViewGenerator(model) if start is None and model else starting_views(str(start), model)
        )
        self.generator.to(device)
        distances = None
        if self.generator.config.warped_views:
            distances = load_distances(training.portrait, training.reconstructor, device)
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
        self.generator.requires_grad_(False)
        unet: nn.Module = self.generator.unet
        if training.lora_rank is not None:
            unet = add_lora(self.generator.unet, training.lora_rank)
        _hold_in_half(self.generator, unet, training, device)
        self.model = _Trained(unet, self.generator.prompts if training.train_prompts else None, critic)
        self.model.requires_grad_(True)
        if training.gradient_checkpointing:
            self.generator.unet.enable_gradient_checkpointing()
        if training.compile:
            self.generator.unet.compile()
        self.timesteps = self._timesteps()
        self.encoder = ViewEncoder(self.generator, distances, device)
        size = self.generator.config.image_size
        self.photos = UnposedPhotos(training.unposed_photos, size) if training.unposed_photos else None
        self.heads, self.samples = self._open(training.workers)

    @property
    def names(self) -> list[str]:
        """Of the heads that it trains on."""
        return self.folder.heads

    def held_out(self, training: ViewsTraining) -> ViewsTask:
        """The same model on the held-out heads of this folder."""
        other = copy(self)
        other.training, other.folder = training, HeadFolder(training.data, held_out=True)
        other.encoder, other.photos = self.encoder.with_empty_cache(), None
        other.heads, other.samples = other._open(workers=0)
        return other

    def _open(self, workers: int) -> tuple[AugmentedHeads | PlainHeads, SampleLoader[int | Tensor]]:
        """The heads, and what reads them; augmented ones, of which most are in the cache, by their number."""
        training = self.training
        if training.augmentations:
            if training.workers or training.backgrounds != ["white"]:
                raise UserError(
                    "`workers` and `backgrounds` are for heads as they are: set `augmentations: 0`."
                )
            augmented = AugmentedHeads(self.folder, training.augmentations, training.degraded_share)
            return augmented, SampleLoader(augmented.choose)
        if self.generator.config.warped_views or training.degraded_share:
            raise UserError("Warped views and degraded portraits need `augmentations`: set at least 1.")
        plain = PlainHeads(self.folder, self.generator.config.image_size, training.backgrounds)
        return plain, SampleLoader(plain, 0 if training.streaming else workers)

    def losses(self, step: int, batch: int, rng: torch.Generator) -> Iterator[Loss]:
        """Denoising, or with an adversary one step from pure noise."""
        for drawn in chunked(self.samples(step, batch, rng), self.training.micro_batch or batch):
            if self.model.critic is not None:
                yield from self._adversarial_losses(self.model.critic, step, self._batch(drawn))
            else:
                yield self._denoising_loss(self._batch(drawn))

    def _denoising_loss(self, batch: _Batch) -> Loss:
        scheduler, timesteps = self.generator.scheduler, batch.timesteps.to(self.device)
        noisy = scheduler.add_noise(batch.latents, batch.noise, timesteps)
        clean = scheduler.config.prediction_type == "sample"
        target = batch.latents if clean else scheduler.get_velocity(batch.latents, batch.noise, timesteps)
        with autocast(self.device):
            predicted = self.generator.predict(noisy, timesteps, batch.condition, batch.label)
        errors = (predicted.float() - target).square().mean(dim=(2, 3, 4))
        losses = (errors * batch.has_truth).sum(dim=1) / batch.has_truth.sum(dim=1)
        parts = {"loss": losses.detach().mean()}
        early = batch.timesteps >= 800  # nearly all noise: what is predicted from the condition alone
        if early.any():
            parts["early"] = losses.detach()[early.to(self.device)].mean()
        weights = self._weights(batch.timesteps).to(self.device)
        return Loss((losses * weights).mean(), parts, len(losses))

    def _adversarial_losses(self, critic: Critic, step: int, batch: _Batch) -> Iterator[Loss]:
        """One step from pure noise, towards the true views and past the critic, which learns beside it."""
        latents, condition = batch.latents, batch.condition
        learns = step >= self.training.critic_warmup and torch.is_grad_enabled()
        with torch.set_grad_enabled(learns), autocast(self.device):
            generated = self.generator.predict_in_one_step(batch.noise, condition)[:, 1:].float()
        true, warped = latents[:, 1:], condition.expand_as(latents)[:, 1:]
        given = torch.cat([warped, latents[:, :1].expand_as(true)], dim=2)
        view = torch.arange(VIEWS - 1, device=self.device).repeat(len(latents))
        true, generated, given = (x.flatten(0, 1) for x in (true, generated, given))
        yield from adversarial_losses(
            critic, true, generated, given, view, self.training.adversarial_weight, len(latents)
        )

    def _batch(self, drawn: Sequence[tuple[Draw, int | Tensor]]) -> _Batch:
        """Samples as the U-Net sees them, each with random numbers of its own."""
        rngs = [draw.rng(1) for draw, _ in drawn]
        seen = [self._encoded(head, rng) for (_, head), rng in zip(drawn, rngs, strict=True)]
        latents = torch.stack([each.latents for each in seen]).to(self.device, torch.float32)
        condition = torch.stack([each.condition for each in seen]).to(self.device, torch.float32)
        timesteps = torch.cat([torch.randint(len(self.timesteps), (1,), generator=rng) for rng in rngs])
        noise = torch.stack([torch.randn(latents.shape[1:], generator=rng) for rng in rngs])
        kept = torch.cat([torch.rand(1, generator=rng) for rng in rngs]) >= self.training.condition_dropout
        kept = kept.to(self.device)
        label = None
        if (embed := self.generator.image_embedding) is not None:
            embeddings = torch.cat([each.embedding for each in seen if each.embedding is not None])
            spread = torch.cat([torch.randn(VIEWS, embed.dim, generator=rng) for rng in rngs])
            label = embed.label(embeddings.repeat_interleave(VIEWS, dim=0), spread.to(self.device))
            label = label.unflatten(0, (-1, VIEWS)) * kept[:, None, None]
        return _Batch(
            latents,
            condition * kept[:, None, None, None, None],
            label,
            torch.stack([each.has_truth for each in seen]),
            noise.to(self.device),
            self.timesteps[timesteps],
        )

    def _encoded(self, head: int | Tensor, rng: torch.Generator) -> Encoded:
        """A head, or in its place sometimes a photo."""
        if self.photos is not None and torch.rand((), generator=rng) < self.training.unposed_share:
            return self.encoder.photo(self.photos, rng)
        if isinstance(head, Tensor):
            return self.encoder.encode(head.float() / 255)
        assert isinstance(self.heads, AugmentedHeads)
        return self.encoder.cached(("head", head), partial(self.heads.load, head))

    def _timesteps(self) -> Tensor:
        """Those that are trained."""
        if self.training.noise_levels is None:
            return torch.arange(self.generator.scheduler.config.num_train_timesteps)
        sampler, steps, *_ = self.generator.resolve_sampling("ddim", self.training.noise_levels)
        sampler.set_timesteps(steps)
        return sampler.timesteps

    def _weights(self, timesteps: Tensor) -> Tensor:
        """Of the squared errors; an error e of the clean sample is one of e / sigma in v."""
        scheduler, gamma = self.generator.scheduler, self.training.snr_gamma
        signal = scheduler.alphas_cumprod[timesteps]
        clean = scheduler.config.prediction_type == "sample"
        if gamma is not None:
            ratio = signal / (1 - signal)
            return ratio.clamp_max(gamma) / (1 if clean else ratio + 1)
        return 1 / (1 - signal).clamp_min(MIN_NOISE_VARIANCE) if clean else torch.ones(len(timesteps))

    def picture(self) -> Tensor:
        """Three heads: the true views above the generated ones."""
        rows = []
        for head in self.folder.heads[:: max(1, len(self.folder) // 3)][:3]:
            truth = self.folder.load(head)
            with autocast(self.device):
                portrait, coverage = truth.images[0].to(self.device), truth.alpha[0].to(self.device)
                warped = self.encoder.warped(portrait, coverage)
                views = self.generator.generate(portrait, warped=warped).float().cpu()
            rows += [torch.cat([*truth.images.cpu()], dim=2), torch.cat([*views[:, :3]], dim=2)]
        return torch.cat(rows, dim=1)

    def export(self, folder: Path) -> None:
        """Write what `facelift.weights.load_views` reads."""
        generator = self.generator if self.training.lora_rank is None else merged(self.generator)
        save_model(generator, folder / "views")


class _Trained(nn.Module):
    """The part of a view generator that is trained, of its U-Net all or some; and its critic."""

    def __init__(self, unet: nn.Module, prompts: nn.Parameter | None, critic: Critic | None = None) -> None:
        super().__init__()
        self.unet, self.prompts, self.critic = unet, prompts, critic


def _hold_in_half(
    generator: ViewGenerator, trained: nn.Module, training: ViewsTraining, device: torch.device
) -> None:
    """On a GPU what is not trained is held in float16, as it is exported: 3 GB less at the paper's size."""
    if device.type != "cuda":
        return
    kept = {id(parameter) for parameter in trained.parameters()}
    frozen = [generator.image_embedding, generator.unet if training.lora_rank is not None else None]
    for module in filter(None, frozen):
        for parameter in module.parameters():
            if id(parameter) not in kept:
                parameter.data = parameter.data.half()
