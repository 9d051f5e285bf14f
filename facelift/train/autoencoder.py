"""Training the autoencoder: L1 and L2 on pixels, L1 on their differences, a whiff of KL.

If its decoder draws a matte, that learns the coverage by cross-entropy, and the pixels are those on white.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from facelift.data.reader import HeadFolder
from facelift.devices import autocast
from facelift.train.augment import random_photometry
from facelift.train.task import Loss, channels_last, generator_for
from facelift.views.autoencoder import Autoencoder, composite_on_white, sample_posterior
from facelift.views.generator import ViewGenerator, ViewGeneratorConfig
from facelift.weights import save_model

SQUARED_WEIGHT = 8.0  # L1 alone gives up rare, strong colours
PCA_CROPS = 1000  # crops to which the linear components are fitted


@dataclass(frozen=True)
class AutoencoderTraining:
    """What the autoencoder learns from.

    Attributes:
        data: folders of heads; any rig.
        kl_weight: of the KL term.
        gradient_weight: of the loss on differences between neighbouring pixels.
        crop_size: side of the squares that are cut from the views, around something that is not background.
        centre_crop_share: how often a square is cut from the middle of the view instead: faces are small, but
            count most.
    """

    data: list[str]
    kl_weight: float = 1e-7
    gradient_weight: float = 0.5
    crop_size: int = 128
    centre_crop_share: float = 0.6


class AutoencoderTask:
    """Training of the autoencoder, with its matte if it has one."""

    def __init__(
        self, model: ViewGeneratorConfig, training: AutoencoderTraining, device: torch.device
    ) -> None:
        self.device, self.training, self.config = device, training, model
        self.folders = [HeadFolder(root) for root in training.data]
        self.model = Autoencoder(
            model.autoencoder, model.pixel_unshuffle, patch_pca=model.patch_pca, matte=model.matte
        )
        with torch.no_grad():
            # Almost no noise at first: channels that start as noise are ignored, and never come back.
            self.model.kl.quant_conv.bias[self.model.latent_channels :] = -6.0
            if self.model.linear is not None:  # the network starts as silent beside the linear code
                self.model.linear.fit(self._images(generator_for(0, 1), PCA_CROPS)[:, :3])
                self.model.kl.quant_conv.weight[: self.model.latent_channels] = 0
                self.model.kl.decoder.conv_out.weight.zero_()
                self.model.kl.decoder.conv_out.bias.zero_()
        channels_last(self.model.to(device))

    def held_out(self, training: AutoencoderTraining) -> AutoencoderTask:
        """The same model on the held-out heads of these folders."""
        other = copy(self)
        other.training = training
        other.folders = [HeadFolder(root, held_out=True) for root in training.data]
        return other

    def losses(self, step: int, batch: int, rng: torch.Generator) -> Iterator[Loss]:
        """Crops of true views against what is decoded of them."""
        images, coverage = self._images(rng, batch).to(self.device).split([3, 1], dim=1)
        with autocast(self.device):
            mean, logvar = (x.float() for x in self.model.posterior(images))
            latents = sample_posterior(mean, logvar) * self.model.scaling_factor
            color, logits = self.model.decode_layers(latents)
        decoded, matted = composite_on_white(color.float(), logits)[:, :3], matte_loss(logits, coverage)
        pixels = (decoded - images).abs().mean()
        squared = (decoded - images).square()
        edges = sum(
            ((decoded - decoded.roll(1, dim)) - (images - images.roll(1, dim))).abs().mean() for dim in (2, 3)
        )
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        total = (
            pixels
            + SQUARED_WEIGHT * squared.mean()
            + self.training.gradient_weight * edges
            + self.training.kl_weight * kl * mean[0].numel()
            + matted
        )
        psnr = -10 * squared.detach().mean(dim=(1, 2, 3)).log10().mean()
        yield Loss(total, {"l1": pixels.detach(), "psnr": psnr, "kl": kl.detach()}, batch)

    def _images(self, rng: torch.Generator, count: int) -> Tensor:
        return torch.cat([self._image(rng) for _ in range(count)])

    def _image(self, rng: torch.Generator) -> Tensor:
        """(1, 4, crop, crop) of a random view, its coverage last."""
        folder = self.folders[int(torch.randint(len(self.folders), (), generator=rng))]
        head = folder.heads[int(torch.randint(len(folder), (), generator=rng))]
        view = folder.load(head, [int(torch.randint(folder.count(head), (), generator=rng))])
        size, crop = view.images.shape[-1], self.training.crop_size
        if torch.rand((), generator=rng) < self.training.centre_crop_share:
            centre = (size * (0.5 + 0.08 * torch.randn(2, generator=rng))).long()
        else:
            covered = view.alpha[0, 0].nonzero()
            centre = covered[int(torch.randint(len(covered), (), generator=rng))]
        top, left = (centre - crop // 2).clamp(0, size - crop).tolist()
        layers = torch.cat([view.images, view.alpha], dim=1)[..., top : top + crop, left : left + crop]
        layers = layers.flip(-1) if torch.rand((), generator=rng) < 0.5 else layers
        return torch.cat([random_photometry(rng)(layers[:, :3]), layers[:, 3:]], dim=1)

    @torch.no_grad()
    def picture(self) -> Tensor:
        """Four views above what is decoded of them."""
        folder = self.folders[0]
        images = torch.cat([folder.load(folder.heads[i], [i]).images for i in range(min(4, len(folder)))])
        decoded = self.model.decode(self.model.encode(images.to(self.device)))[:, :3].cpu().clamp(0, 1)
        return torch.cat([torch.cat([*x], dim=2) for x in (images, decoded)], dim=1)

    @torch.no_grad()
    def export(self, folder: Path) -> None:
        """The autoencoder inside an untrained view generator, its latents scaled to unit variance."""
        images = self._images(generator_for(0, 0), 32)[:, :3].to(self.device)
        scale = 1.0 / float(self.model.posterior(images)[0].std())
        generator = ViewGenerator(replace(self.config, scaling_factor=scale))
        generator.autoencoder.load_state_dict(self.model.state_dict())
        save_model(generator, folder / "views")


def matte_loss(logits: Tensor | None, coverage: Tensor) -> Tensor:
    """Cross-entropy of a matte, if there is one, and the (B, 1, H, W) coverage in [0, 1]."""
    if logits is None:
        return coverage.new_zeros(())
    return F.binary_cross_entropy_with_logits(logits.float(), coverage)
