"""The latent space in which the views are generated."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional as F

MATTE_SHARPNESS = 5.0  # factor on the matte's logits: coverage is to be nearly 0 or 1


class Autoencoder(nn.Module):
    """diffusers' AutoencoderKL between images in [0, 1] and latents of about unit variance.

    `pixel_unshuffle` r moves blocks of r x r pixels into channels before the first convolution (and back
    after the last), so that a small model never works at full resolution; 1, as in Stable Diffusion, does
    nothing.
    With `patch_pca`, a fixed linear code of each cell's pixels stands beside the network, which learns
    the rest (the shortcuts of Chen et al., "Deep Compression Autoencoder", but fitted beforehand).

    With `matte`, the decoder gives the colour of the person in each pixel, and a logit of whether the person
    covers it. Generated latents, a mean of many heads, have blurred outlines; thresholding the logit makes
    them sharp.
    """

    def __init__(
        self,
        config: dict[str, Any],
        pixel_unshuffle: int = 1,
        scaling_factor: float = 0.18215,
        patch_pca: bool = False,
        matte: bool = False,
    ) -> None:
        super().__init__()
        self.pixel_unshuffle = pixel_unshuffle
        layers = 4 if matte else 3
        self.kl = AutoencoderKL(
            in_channels=3 * pixel_unshuffle**2, out_channels=layers * pixel_unshuffle**2, **config
        )
        self.scaling_factor = scaling_factor
        self.linear = PatchPCA(self.latent_channels, self.downsampling) if patch_pca else None

    @property
    def latent_channels(self) -> int:
        """Channels of a latent."""
        return self.kl.config.latent_channels

    @property
    def downsampling(self) -> int:
        """Pixels along one side of a latent cell."""
        return self.pixel_unshuffle * 2 ** (len(self.kl.config.block_out_channels) - 1)

    def encode(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1] -> (B, C, h, w): the posterior's mode, scaled."""
        return self.posterior(images)[0] * self.scaling_factor

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the latents, unscaled, each (B, C, h, w)."""
        distribution = self.kl.encode(F.pixel_unshuffle(images * 2 - 1, self.pixel_unshuffle)).latent_dist
        mean = distribution.mean if self.linear is None else distribution.mean + self.linear.encode(images)
        return mean, distribution.logvar

    def decode(self, latents: Tensor) -> Tensor:
        """(B, C, h, w) scaled latents -> (B, 3, H, W) RGB on white, about [0, 1] but not clamped.

        With a matte (B, 4, H, W): coverage comes after the colours.
        """
        return composite_on_white(*self.decode_layers(latents))

    def decode_layers(self, latents: Tensor) -> tuple[Tensor, Tensor | None]:
        """(B, C, h, w) scaled latents -> (B, 3, H, W) RGB, and a matte's (B, 1, H, W) logits or None."""
        latents = latents / self.scaling_factor
        base = 0.5 if self.linear is None else self.linear.decode(latents)
        layers = F.pixel_shuffle(self.kl.decode(latents).sample, self.pixel_unshuffle)
        return layers[:, :3] / 2 + base, layers[:, 3:] if layers.shape[1] > 3 else None


class PatchPCA(nn.Module):
    """Principal components of the pixels of a cell: (B, 3, H, W) in [0, 1] <-> (B, C, H / side, W / side).

    Coefficients are divided by the root of their standard deviation: closer to equal than they are, so that
    noise does not hide the fine ones, yet not equal, since the coarse ones matter more.
    """

    mean: Tensor  # (3 side^2,), pixels in the order of pixel_unshuffle
    basis: Tensor  # (3 side^2, C), orthonormal columns
    spread: Tensor  # (C,) what the coefficients are divided by

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.register_buffer("mean", torch.full((3 * side**2,), 0.5))
        self.register_buffer("basis", torch.eye(3 * side**2, channels))
        self.register_buffer("spread", torch.ones(channels))

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Take the components of (B, 3, H, W) images; cells of one colour are left out."""
        pixels = self._pixels(images).flatten(0, 2)
        pixels = pixels[pixels.std(dim=1) > 1e-3]
        self.mean.copy_(pixels.mean(dim=0))
        variances, vectors = torch.linalg.eigh(torch.cov(pixels.T))
        order = variances.argsort(descending=True)[: self.basis.shape[1]]
        self.basis.copy_(vectors[:, order])
        self.spread.copy_(variances[order].clamp_min(1e-8) ** 0.25)

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) become coefficients (B, C, H / side, W / side)."""
        return (((self._pixels(images) - self.mean) @ self.basis) / self.spread).movedim(-1, 1)

    def decode(self, coefficients: Tensor) -> Tensor:
        """Coefficients (B, C, h, w) become images (B, 3, h side, w side)."""
        pixels = (coefficients.movedim(1, -1) * self.spread) @ self.basis.T + self.mean
        return F.pixel_shuffle(pixels.movedim(-1, 1), self.side)

    def _pixels(self, images: Tensor) -> Tensor:
        """(B, h, w, 3 side^2)."""
        return F.pixel_unshuffle(images, self.side).movedim(1, -1)


def composite_on_white(color: Tensor, logits: Tensor | None) -> Tensor:
    """What `Autoencoder.decode_layers` gave, as `Autoencoder.decode` gives it."""
    if logits is None:
        return color
    coverage = (MATTE_SHARPNESS * logits).sigmoid()
    return torch.cat([1 + coverage * (color - 1), coverage], dim=1)


def sample_posterior(mean: Tensor, logvar: Tensor) -> Tensor:
    """A latent drawn from the normal distribution of that mean and logarithm of the variance."""
    return mean + torch.randn_like(mean) * (0.5 * logvar).exp()
