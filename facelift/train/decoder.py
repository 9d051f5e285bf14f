"""Training the decoder on what the U-Net generates: pixels that look like a person's, not like an average.

Ours, not in the paper. The autoencoder learned to decode true latents. Generated ones are blurred where the
portrait does not settle what they show: an outline between two places, hair without strands. Here the decoder
alone is trained against a critic of pixels (Isola et al., "Image-to-Image Translation with Conditional
Adversarial Networks", 2017, judge patches so), the views blended with the warped views as at inference.
Its matte learns by cross-entropy where people most likely end. The latents and the U-Net stay what they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy, deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facelift.data.reader import HeadFolder
from facelift.devices import autocast
from facelift.errors import UserError
from facelift.train.augment import augment
from facelift.train.autoencoder import matte_loss
from facelift.train.critic import Critic, adversarial_losses
from facelift.train.distances import load_distances
from facelift.train.task import Loss, channels_last, generator_for
from facelift.views.autoencoder import Autoencoder, composite_on_white
from facelift.views.generator import VIEWS
from facelift.views.warp import warp_views
from facelift.weights import load_views, save_model

PIXEL_UNSHUFFLE = 4  # side of the blocks of pixels that the critic sees as one place
MIN_CONFIDENCE = 128  # of 255; crops are cut around warped pixels with less


@dataclass(frozen=True)
class DecoderTraining:
    """What the decoder learns from.

    Attributes:
        data: folder of heads, canonical rig.
        generator: folder of a trained view generator with warped views that takes one step.
        reconstructor: folder of the reconstructor whose depth warps the photo.
        portrait: folder of the portrait's network, in its place or beside it (`facelift.train.distances`).
        augmentations: how many lights, framings and mirrorings of each head there are; they stay in memory.
        crop_size: side of the squares that are decoded, a multiple of a latent cell.
        crops_per_head: how many are cut from one head.
        adversarial_weight: norm of the adversarial gradient, over that of the gradient towards the true view.
        critic_warmup: steps in which the critic alone learns.
        critic_width: its channels.
    """

    data: str
    generator: str
    reconstructor: str | None = None
    portrait: str | None = None
    augmentations: int = 2
    crop_size: int = 128
    crops_per_head: int = 4
    adversarial_weight: float = 1.0
    critic_warmup: int = 50
    critic_width: int = 64


@dataclass(frozen=True)
class _GeneratedViews:
    """A head's five other views, half precision and bytes.

    Attributes:
        true: (5, 4, S, S) RGB and coverage.
        warped: (5, 3, S, S).
        confidence: (5, 1, S, S) of `warped`, see `facelift.views.warp`.
        latents: (5, C, h, w).
    """

    true: Tensor
    warped: Tensor
    confidence: Tensor
    latents: Tensor


class DecoderTask:
    """Training of the decoder and of the critic that judges it."""

    def __init__(self, training: DecoderTraining, device: torch.device) -> None:
        self.device, self.training = device, training
        self.folder = HeadFolder(training.data)
        self.generator = load_views(Path(training.generator)).to(device)
        if not self.generator.config.warped_views or self.generator.config.steps != 1:
            raise UserError("A decoder needs a view generator with warped views that takes one step.")
        self.distances = load_distances(training.portrait, training.reconstructor, device)
        channels_last(self.generator)
        self.first = deepcopy(self.generator.autoencoder)
        channels = 3 * PIXEL_UNSHUFFLE**2
        critic = Critic(channels, channels, VIEWS - 1, training.critic_width)
        self.model = _Trained(self.generator.autoencoder, critic)
        self.model.to(device).requires_grad_(True)
        self.cache: dict[int, _GeneratedViews] = {}

    def held_out(self, training: DecoderTraining) -> DecoderTask:
        """The same models on the held-out heads of this folder."""
        other = copy(self)
        other.training, other.folder = training, HeadFolder(training.data, held_out=True)
        other.cache = {}
        return other

    def losses(self, step: int, batch: int, rng: torch.Generator) -> Iterator[Loss]:
        """Crops of what the U-Net generates against the true views; then the critic's own loss."""
        heads = -(-batch // self.training.crops_per_head)
        indices = torch.randint(
            len(self.folder) * self.training.augmentations, (heads,), generator=rng
        ).tolist()
        crops = [self._crop(self._generated(indices[i % heads]), rng) for i in range(batch)]
        true, warped, confidence, latents, view = (
            torch.stack(x).to(self.device) for x in zip(*crops, strict=True)
        )
        learns = step >= self.training.critic_warmup and torch.is_grad_enabled()
        with torch.set_grad_enabled(learns), autocast(self.device):
            color, logits = self.generator.autoencoder.decode_layers(latents)
        generated = torch.lerp(composite_on_white(color.float(), logits)[:, :3], warped, confidence)
        true, coverage = true.split([3, 1], dim=1)
        other_losses = {"matte": matte_loss(logits, coverage)}
        true, generated, warped = (
            F.pixel_unshuffle(4 * x - 2, PIXEL_UNSHUFFLE) for x in (true, generated, warped)
        )
        yield from adversarial_losses(
            self.model.critic,
            true,
            generated,
            warped,
            view,
            self.training.adversarial_weight,
            batch,
            other_losses,
        )

    def _crop(self, head: _GeneratedViews, rng: torch.Generator) -> tuple[Tensor, ...]:
        """A square of one view, around something that the portrait does not tell, and which view it is."""
        cell, size = self.generator.autoencoder.downsampling, self.training.crop_size
        view = torch.randint(VIEWS - 1, (), generator=rng)
        places = ((head.confidence[view, 0] < MIN_CONFIDENCE) & (head.true[view, 3] > 0)).nonzero()
        places = places if len(places) else torch.zeros(1, 2)
        place = places[torch.randint(len(places), (), generator=rng)]
        place = (place + torch.randint(-size // 4, size // 4, (2,), generator=rng) - size // 2) // cell
        room = (head.true.shape[-1] - size) // cell
        top, left = place.long().clamp(0, room).tolist()
        y, x = slice(top * cell, top * cell + size), slice(left * cell, left * cell + size)
        images = (part[view, :, y, x].float() / 255 for part in (head.true, head.warped, head.confidence))
        cells = slice(top, top + size // cell), slice(left, left + size // cell)
        return *images, head.latents[view, :, *cells].float(), view

    @torch.no_grad()
    def _generated(self, index: int) -> _GeneratedViews:
        """One head in one of its lights and framings, its views generated once."""
        if index not in self.cache:
            rng = generator_for(0, index)
            views = self.folder.load(self.folder.heads[index // self.training.augmentations])
            layers = augment(torch.cat([views.images, views.alpha], dim=1), rng)
            warped, confidence, latents = self._sample(layers[0].to(self.device), rng)
            true, warped, confidence = ((255 * x).round().byte() for x in (layers[1:], warped, confidence))
            self.cache[index] = _GeneratedViews(true, warped, confidence, latents.half())
        return self.cache[index]

    def _sample(self, portrait: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """A portrait's (4, S, S) five other views: warped, their confidence, and latents; on the CPU."""
        with autocast(self.device):
            warped = warp_views(self.distances, *portrait.split([3, 1]))
            condition = self.generator.autoencoder.encode(warped.images)[None]
            noise = torch.randn(condition.shape, generator=rng).to(self.device)
            latents = self.generator.predict_in_one_step(noise, condition)[0]
        return warped.images[1:].cpu(), warped.confidence[1:].cpu(), latents[1:].float().cpu()

    @torch.no_grad()
    def picture(self) -> Tensor:
        """Three heads: the true views, those of the first decoder, and those of this one."""
        rows = []
        for index in range(0, len(self.folder), max(1, len(self.folder) // 3))[:3]:
            head = self._generated(index * self.training.augmentations)
            true, warped, confidence = (x.float() / 255 for x in (head.true, head.warped, head.confidence))
            rows.append(true[:, :3])
            for decoder in (self.first, self.generator.autoencoder):
                views = decoder.decode(head.latents.float().to(self.device))[:, :3].float().cpu()
                rows.append(torch.lerp(views, warped, confidence))
        return torch.cat([torch.cat([*row], dim=2) for row in rows], dim=1).clamp(0, 1)

    def export(self, folder: Path) -> None:
        """The view generator with this decoder."""
        save_model(self.generator, folder / "views")


class _Trained(nn.Module):
    """The part of an autoencoder that decodes, and its critic."""

    def __init__(self, autoencoder: Autoencoder, critic: Critic) -> None:
        super().__init__()
        self.post_quant_conv, self.decoder = autoencoder.kl.post_quant_conv, autoencoder.kl.decoder
        self.critic = critic
