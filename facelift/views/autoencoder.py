"""The latent space in which the views are imagined."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional as F


class Autoencoder(nn.Module):
    """diffusers' AutoencoderKL between images in [0, 1] and latents of about unit variance.

    `fold` moves blocks of fold x fold pixels into channels before the first convolution (and back after the
    last), so that a small model never works at full resolution; 1, as in Stable Diffusion, does nothing.
    """

    def __init__(self, config: dict[str, Any], fold: int = 1, scaling_factor: float = 0.18215) -> None:
        super().__init__()
        self.fold = fold
        self.kl = AutoencoderKL(in_channels=3 * fold**2, out_channels=3 * fold**2, **config)
        self.scaling_factor = scaling_factor

    @property
    def latent_channels(self) -> int:
        return self.kl.config.latent_channels

    @property
    def downsampling(self) -> int:
        """Pixels along one side of a latent cell."""
        return self.fold * 2 ** (len(self.kl.config.block_out_channels) - 1)

    def encode(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1] -> (B, C, h, w): the posterior's mode, scaled."""
        return self.posterior(images)[0] * self.scaling_factor

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the latents, unscaled, each (B, C, h, w)."""
        distribution = self.kl.encode(F.pixel_unshuffle(images * 2 - 1, self.fold)).latent_dist
        return distribution.mean, distribution.logvar

    def decode(self, latents: Tensor) -> Tensor:
        """(B, C, h, w) scaled latents -> (B, 3, H, W) RGB, about [0, 1] but not clamped."""
        return F.pixel_shuffle(self.kl.decode(latents / self.scaling_factor).sample, self.fold) / 2 + 0.5


def sample_posterior(mean: Tensor, logvar: Tensor) -> Tensor:
    return mean + torch.randn_like(mean) * (0.5 * logvar).exp()
