"""Stage 1: one portrait becomes six views, by latent diffusion (FaceLift section 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
from torch import Tensor, nn

from facelift import old_names
from facelift.cameras import VIEW_NAMES
from facelift.checks import check_images, check_number, check_whole
from facelift.choices import Scheduler
from facelift.devices import on_device
from facelift.errors import UserError
from facelift.old_names import renamed
from facelift.views.autoencoder import Autoencoder
from facelift.views.embedding import ImageEmbedding
from facelift.views.feature_cache import FeatureCache
from facelift.views.unet import build_unet

VIEWS = len(VIEW_NAMES)
DPM_STEPS = 20
MAX_SEED = 2**63 - 1


@dataclass(frozen=True)
class ViewGeneratorConfig:
    """How to build a view generator, and the sampling it was made for.

    Attributes:
        image_size: side of the square views in pixels.
        warped_views: the condition of each view is its warped view (`facelift.views.warp`), not the portrait.
            The U-Net predicts the clean sample, and has one more output channel than the latents: the share
            of the condition that is kept in each cell, so that what it has right need not pass through a
            narrow network. The front view's condition is the portrait itself.
        any_size: a finished portrait of another side is taken as it is, and the views follow it.
        unet: arguments of UNet2DConditionModel; in_channels is twice the latent's.
        autoencoder: arguments of AutoencoderKL.
        pixel_unshuffle, patch_pca, matte: see `Autoencoder`.
        scaling_factor: see `Autoencoder`.
        prompt_tokens: tokens that name a view to the U-Net: learned ones, or an encoded sentence.
        image_encoder: arguments of transformers' CLIPVisionConfig; None has the U-Net see the portrait
            through its latent alone.
        image_noise: arguments of the DDPMScheduler that adds noise to the encoded image.
        scheduler: arguments of DDIMScheduler.
        steps, guidance, eta, cache_interval: the default sampling.
    """

    image_size: int
    unet: dict[str, Any]
    autoencoder: dict[str, Any]
    pixel_unshuffle: int = 1
    patch_pca: bool = False
    matte: bool = False
    scaling_factor: float = 0.18215
    prompt_tokens: int = 1
    scheduler: dict[str, Any] = field(default_factory=dict)
    steps: int = 50
    guidance: float = 3.0
    eta: float = 1.0
    cache_interval: int = 1
    warped_views: bool = False
    any_size: bool = False
    image_encoder: dict[str, Any] | None = None
    image_noise: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, **values: Any) -> ViewGeneratorConfig:
        """A configuration as `config.json` holds it; the names of version 0.1 are still read."""
        return cls(**renamed(values, old_names.VIEW_GENERATOR))

    def to_dict(self) -> dict[str, object]:
        """Plain values, as JSON holds them."""
        return asdict(self)


class ViewGenerator(nn.Module):
    """A multi-view latent diffusion model whose first view is the portrait itself."""

    def __init__(self, config: ViewGeneratorConfig) -> None:
        super().__init__()
        self.config = config
        if config.warped_views and config.scheduler.get("prediction_type") != "sample":
            raise ValueError("a view generator with warped views predicts the clean sample")
        self.autoencoder = Autoencoder(
            config.autoencoder, config.pixel_unshuffle, config.scaling_factor, config.patch_pca, config.matte
        )
        self.unet = build_unet(config.unet, VIEWS)
        if config.warped_views:
            with torch.no_grad():  # the first prediction is nearly the condition
                nn.init.zeros_(self.unet.conv_out.weight)
                nn.init.zeros_(self.unet.conv_out.bias)[-1] = 2.0
        self.prompts = nn.Parameter(
            torch.randn(VIEWS, config.prompt_tokens, self.unet.config.cross_attention_dim)
        )
        self.image_embedding = (
            ImageEmbedding(config.image_encoder, config.image_noise) if config.image_encoder else None
        )
        with torch.device("cpu"):  # a table that no checkpoint holds, even where the weights come later
            self.scheduler = DDIMScheduler(**config.scheduler)

    def predict(
        self,
        noisy: Tensor,
        timesteps: Tensor,
        condition: Tensor,
        label: Tensor | None = None,
        unet: FeatureCache | None = None,
    ) -> Tensor:
        """One pass of the U-Net.

        Args:
            noisy: (B, 6, C, h, w) noisy latents of the six views.
            timesteps: (B,) of the diffusion.
            condition: (B, 1, C, h, w) latent of the portrait, the same for all six views, or (B, 6, C, h, w)
                latents of the warped views; zeros drop it.
            label: (B, 6, D) embedding of the portrait, for a model that has one; zeros drop it.
            unet: the model's own with a cache around it; None is it itself.

        Returns:
            (B, 6, C, h, w) what the scheduler's prediction type asks for (v for ours).
        """
        batch = len(noisy)
        inputs = torch.cat([noisy, condition.expand_as(noisy)], dim=2).flatten(0, 1)
        output = (unet or self.unet)(
            inputs,
            timesteps.repeat_interleave(VIEWS),
            encoder_hidden_states=self.prompts.to(inputs).repeat(batch, 1, 1),
            class_labels=None if label is None else label.flatten(0, 1),
        ).sample.unflatten(0, (batch, VIEWS))
        if self.config.warped_views:
            generated, kept = output.split([noisy.shape[2], 1], dim=2)
            output = generated + kept.sigmoid() * condition
            output = torch.cat([condition[:, :1], output[:, 1:]], dim=1)
        return output

    def predict_in_one_step(self, noise: Tensor, condition: Tensor) -> Tensor:
        """`predict` where all is noise: for a model of one step, the six views themselves."""
        last = self.scheduler.config.num_train_timesteps - 1
        return self.predict(noise, torch.full((len(noise),), last, device=noise.device), condition)

    @torch.no_grad()
    def generate(
        self,
        portrait: Tensor,
        seed: int = 0,
        steps: int | None = None,
        guidance: float | None = None,
        eta: float | None = None,
        scheduler: Scheduler = "ddim",
        sliced: bool = True,
        warped: Tensor | None = None,
        cache_interval: int | None = None,
        progress: Callable[[Iterable[Tensor]], Iterable[Tensor]] = iter,
    ) -> Tensor:
        """Generate the six canonical views of a prepared portrait, or of several at once.

        Args:
            portrait: (3, S, S) or (B, 3, S, S) RGB in [0, 1] on white, S the model's image size, or with
                `any_size` another multiple of `downsampling`. Its device is where the work is done; parts of
                the model that are elsewhere come for as long as they are needed, one after the other.
            seed: of the noise, drawn on the CPU so that it means the same on every device, and in a batch
                the same for each portrait as for it alone.
            steps: of denoising; None is the model's own number.
            guidance: g of the prediction unconditional + g (conditional - unconditional); 1 needs one pass a
                step instead of two, and None is the model's own.
            eta: share of DDPM's noise that each step adds, in [0, 1]; None is the model's own.
            scheduler: "ddim" (Song et al., 2021), the model's own; or "dpm++", DPM-Solver++ (Lu et al.,
                2022), which needs fewer steps, by default 20, and adds no noise between them.
            sliced: the two passes of guidance one after the other, and one view decoded at a time; otherwise
                each all at once, which takes more memory.
            warped: (6, 3, S, S) or (B, 6, 3, S, S) the warped views, for a model that is conditioned on them.
            cache_interval: every so many steps the U-Net is computed whole, and only its finest features
                between, see `facelift.views.feature_cache`; 1 computes every step whole, and None is the
                model's own.
            progress: wraps the steps, to show them.

        Returns:
            (6, 3, S, S) or (B, 6, 3, S, S) RGB in [0, 1], in the order of cameras.VIEW_NAMES; the first shows
            the portrait. With a matte it has four channels: coverage comes after the colours.

        Raises:
            UserError: the portrait or the warped views are not as they must be, they are missing or
                the model takes none, or there is no such sampling.
        """
        size = "S" if self.config.any_size else self.config.image_size
        batch = ("B",) if isinstance(portrait, Tensor) and portrait.ndim == 4 else ()
        check_images(portrait, "portrait", (*batch, 3, size, size))
        if (warped is not None) != self.config.warped_views:
            raise UserError("Warped views belong to a view generator that was trained with them, no other.")
        if warped is not None:
            shape = (*portrait.shape[:-3], VIEWS, *portrait.shape[-3:])
            check_images(warped, "warped views", shape, portrait.device)
        check_whole(seed, "seed", 0, MAX_SEED, optional=False)
        check_whole(cache_interval, "cache interval", 1)
        sampler, steps, guidance, eta = self.resolve_sampling(scheduler, steps, guidance, eta)
        device, portraits = portrait.device, portrait.reshape(-1, *portrait.shape[-3:])
        noise = torch.Generator().manual_seed(int(seed))

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=noise, dtype=torch.float32).to(device)

        label = None
        if self.image_embedding is not None:
            with on_device(self.image_embedding, device):
                trace = draw(VIEWS, self.image_embedding.dim)
                label = torch.stack([self.image_embedding(each, trace) for each in portraits])
        with on_device(self.autoencoder, device):
            shown = portraits[:, None] if warped is None else warped.reshape(-1, *warped.shape[-4:])
            condition = torch.stack([self.autoencoder.encode(each) for each in shown])
        latents = draw(1, VIEWS, *condition.shape[2:]).expand(len(portraits), -1, -1, -1, -1)

        sampler.set_timesteps(steps)
        # The halves of the guidance have features of their own.
        unets = [FeatureCache(self.unet, cache_interval or self.config.cache_interval) for _ in range(2)]
        with on_device(self.unet, device):
            for t in progress(sampler.timesteps):
                prediction = self._guided(latents, t.to(device), condition, label, guidance, sliced, unets)
                more = {"eta": eta, "variance_noise": draw(1, *latents.shape[1:]) if eta > 0 else None}
                latents = sampler.step(
                    prediction, t, latents, **(more if scheduler == "ddim" else {})
                ).prev_sample
        with on_device(self.autoencoder, device):
            cells = latents.flatten(0, 1).split(1 if sliced else VIEWS)
            views = torch.cat([self.autoencoder.decode(x) for x in cells]).clamp(0, 1)
        return views.view(*portrait.shape[:-3], VIEWS, *views.shape[1:])

    def _guided(
        self,
        latents: Tensor,
        timestep: Tensor,
        condition: Tensor,
        label: Tensor | None,
        guidance: float,
        sliced: bool,
        unets: Sequence[FeatureCache],
    ) -> Tensor:
        """The prediction with classifier-free guidance (Ho and Salimans, 2021), float32."""
        timesteps = timestep.expand(len(latents))
        if guidance == 1.0:
            return self.predict(latents, timesteps, condition, label, unets[0]).float()
        nothing = torch.zeros_like(condition)
        no_label = None if label is None else torch.zeros_like(label)
        if sliced:
            conditional = self.predict(latents, timesteps, condition, label, unets[0])
            unconditional = self.predict(latents, timesteps, nothing, no_label, unets[1])
        else:
            conditional, unconditional = self.predict(
                latents.repeat(2, 1, 1, 1, 1),
                timesteps.repeat(2),
                torch.cat([condition, nothing]),
                None if label is None or no_label is None else torch.cat([label, no_label]),
                unets[0],
            ).chunk(2)
        return unconditional.float() + guidance * (conditional.float() - unconditional.float())

    def resolve_sampling(
        self,
        scheduler: Scheduler = "ddim",
        steps: int | None = None,
        guidance: float | None = None,
        eta: float | None = None,
    ) -> tuple[Any, int, float, float]:
        """A fresh scheduler, the number of steps, guidance and eta; None stands for the model's own value.

        Raises:
            UserError: there is no such scheduler, or it cannot do that.
        """
        if scheduler not in get_args(Scheduler):
            raise UserError(f"There is no scheduler {scheduler!r}: choose ddim or dpm++.")
        check_whole(steps, "number of steps", 1)
        most = self.scheduler.config.num_train_timesteps
        if steps is not None and steps > most:
            raise UserError(f"The model was trained with {most} steps: take no more, not {steps}.")
        check_number(guidance, "guidance", 0)
        check_number(eta, "eta", 0, 1)
        guidance = self.config.guidance if guidance is None else guidance
        if scheduler == "ddim":
            sampler = DDIMScheduler.from_config(self.scheduler.config)
            return sampler, steps or self.config.steps, guidance, self.config.eta if eta is None else eta
        if eta:
            raise UserError("DPM-Solver++ adds no noise between its steps: leave eta out, or take ddim.")
        sampler = DPMSolverMultistepScheduler.from_config(self.scheduler.config, algorithm_type="dpmsolver++")
        return sampler, steps or DPM_STEPS, guidance, 0.0
