"""Stage 1: one portrait becomes six views, by latent diffusion (FaceLift section 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from diffusers import DDIMScheduler
from torch import Tensor, nn

from facelift.cameras import VIEW_NAMES
from facelift.views.autoencoder import Autoencoder
from facelift.views.unet import build_unet

VIEWS = len(VIEW_NAMES)


@dataclass(frozen=True)
class ViewGeneratorConfig:
    """How to build a view generator, and the sampling it was made for.

    Attributes:
        image_size: side of the square views in pixels.
        unet: arguments of UNet2DConditionModel; in_channels is twice the latent's.
        autoencoder: arguments of AutoencoderKL.
        fold, components: see `Autoencoder`.
        scaling_factor: see `Autoencoder`.
        prompt_tokens: learned tokens that name a view to the U-Net, in place of an encoded sentence.
        scheduler: arguments of DDIMScheduler.
        steps, guidance, eta: the default sampling.
    """

    image_size: int
    unet: dict[str, Any]
    autoencoder: dict[str, Any]
    fold: int = 1
    components: bool = False
    scaling_factor: float = 0.18215
    prompt_tokens: int = 1
    scheduler: dict[str, Any] = field(default_factory=dict)
    steps: int = 50
    guidance: float = 3.0
    eta: float = 1.0

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


class ViewGenerator(nn.Module):
    """A multi-view latent diffusion model whose first view is the portrait itself."""

    def __init__(self, config: ViewGeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.autoencoder = Autoencoder(
            config.autoencoder, config.fold, config.scaling_factor, config.components
        )
        self.unet = build_unet(config.unet, VIEWS)
        self.prompts = nn.Parameter(
            torch.randn(VIEWS, config.prompt_tokens, self.unet.config.cross_attention_dim)
        )
        self.scheduler = DDIMScheduler(**config.scheduler)

    def predict(self, noisy: Tensor, timesteps: Tensor, condition: Tensor) -> Tensor:
        """One pass of the U-Net.

        Args:
            noisy: (B, 6, C, h, w) noisy latents of the six views.
            timesteps: (B,) of the diffusion.
            condition: (B, C, h, w) latent of the portrait, the same for all six views; zeros drop it.

        Returns:
            (B, 6, C, h, w) what the scheduler's prediction type asks for (v for ours).
        """
        batch = len(noisy)
        inputs = torch.cat([noisy, condition[:, None].expand_as(noisy)], dim=2).flatten(0, 1)
        output = self.unet(
            inputs,
            timesteps.repeat_interleave(VIEWS),
            encoder_hidden_states=self.prompts.to(inputs.dtype).repeat(batch, 1, 1),
        ).sample
        return output.unflatten(0, (batch, VIEWS))

    @torch.no_grad()
    def generate(
        self,
        portrait: Tensor,
        seed: int = 0,
        steps: int | None = None,
        guidance: float | None = None,
        eta: float | None = None,
        progress: Callable[[Iterable[Tensor]], Iterable[Tensor]] = iter,
    ) -> Tensor:
        """Imagine the six canonical views of a prepared portrait.

        Args:
            portrait: (3, S, S) RGB in [0, 1] on white, S the model's image size.
            seed: of the noise, drawn on the CPU so that it means the same on every device.
            steps, guidance, eta: override the model's own sampling. With guidance g the prediction is
                unconditional + g (conditional - unconditional); 1 needs one pass a step instead of two.
            progress: wraps the steps, to show them.

        Returns:
            (6, 3, S, S) RGB in [0, 1], in the order of cameras.VIEW_NAMES; the first shows the portrait.
        """
        steps = self.config.steps if steps is None else steps
        guidance = self.config.guidance if guidance is None else guidance
        eta = self.config.eta if eta is None else eta
        device = portrait.device
        noise = torch.Generator().manual_seed(seed)
        condition = self.autoencoder.encode(portrait[None])
        latents = torch.randn(1, VIEWS, *condition.shape[1:], generator=noise).to(condition)

        self.scheduler.set_timesteps(steps)
        for t in progress(self.scheduler.timesteps):
            timesteps = t.to(device)[None]
            prediction = self.predict(latents, timesteps, condition)
            if guidance != 1.0:
                unconditional = self.predict(latents, timesteps, torch.zeros_like(condition))
                prediction = unconditional + guidance * (prediction - unconditional)
            variance_noise = torch.randn(latents.shape, generator=noise).to(latents) if eta > 0 else None
            latents = self.scheduler.step(
                prediction, t, latents, eta=eta, variance_noise=variance_noise, return_dict=False
            )[0]
        return self.autoencoder.decode(latents[0]).clamp(0, 1)
