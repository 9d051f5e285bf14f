"""What the view generator sees of heads and photos: latents of the views, and what conditions them."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from facelift.data.streaming import Heads
from facelift.devices import autocast
from facelift.errors import UserError
from facelift.train.augment import augment
from facelift.train.loader import Draw
from facelift.train.photographs import degrade
from facelift.train.task import generator_for
from facelift.train.unposed import UnposedPhotos
from facelift.views.generator import VIEWS, ViewGenerator
from facelift.views.warp import SurfaceDistances, warp_views

BACKGROUNDS = {"white": 1.0, "grey": 0.5, "black": 0.0}


@dataclass(frozen=True)
class PlainHeads:
    """Reads heads as they are, in whichever process.

    Attributes:
        heads: to choose from.
        size: side of the views, pixels.
        backgrounds: names of BACKGROUNDS, one of which is behind all views of a sample.
    """

    heads: Heads
    size: int
    backgrounds: list[str]

    def __post_init__(self) -> None:
        if not self.backgrounds or not set(self.backgrounds) <= set(BACKGROUNDS):
            raise UserError(f"`backgrounds` are some of {', '.join(BACKGROUNDS)}, not {self.backgrounds}.")

    def __call__(self, draw: Draw) -> Tensor:
        """(6, 4, S, S) bytes, RGB on the background and coverage."""
        head = self.heads.heads[draw.choose(len(self.heads))]
        chosen = int(torch.randint(len(self.backgrounds), (), generator=draw.rng()))
        shade = BACKGROUNDS[self.backgrounds[chosen]]
        views = self.heads.load(head).resized(self.size)
        images = views.images + (1 - views.alpha) * (shade - 1)  # they come on white
        return torch.cat([images, views.alpha], dim=1).clamp(0, 1).mul(255).round().byte()


@dataclass(frozen=True)
class AugmentedHeads:
    """Heads in several lights and framings, whose front view is sometimes as in a photo.

    Attributes:
        heads: to choose from.
        augmentations: how many lights and framings each has.
        degraded_share: how often the front view is degraded.
    """

    heads: Heads
    augmentations: int
    degraded_share: float

    def choose(self, draw: Draw) -> int:
        """The number of a head in some light and framing."""
        return draw.choose(len(self.heads) * self.augmentations)

    def load(self, index: int) -> Tensor:
        """(6, 4, S, S) RGB on white and coverage."""
        views = self.heads.load(self.heads.heads[index // self.augmentations])
        layers = augment(torch.cat([views.images, views.alpha], dim=1), generator_for(0, index))
        noise = np.random.default_rng(index)
        if noise.random() < self.degraded_share:
            layers[0] = degrade(layers[0], noise)
        return layers


@dataclass(frozen=True)
class Encoded:
    """What a view generator sees of a head.

    Attributes:
        latents: (6, C, h, w) of its views.
        condition: (1 or 6, C, h, w) of the portrait, or of the warped views.
        embedding: (1, D) CLIP's of the portrait; None for a model without.
        has_truth: (6,), 1 for views that are true and else 0.
    """

    latents: Tensor
    condition: Tensor
    embedding: Tensor | None
    has_truth: Tensor


class ViewEncoder:
    """Turns pictures into what the view generator sees.

    Args:
        generator: whose latents they become.
        distances: what warps the views, for a generator that works from warped ones.
        device: where they are.
    """

    def __init__(
        self, generator: ViewGenerator, distances: SurfaceDistances | None, device: torch.device
    ) -> None:
        self.generator, self.distances, self.device = generator, distances, device
        self.cache: dict[tuple[str, int], Encoded] = {}

    def with_empty_cache(self) -> ViewEncoder:
        """The same models, for other pictures of the same names."""
        other = copy(self)
        other.cache = {}
        return other

    def cached(self, name: tuple[str, int], load: Callable[[], Tensor]) -> Encoded:
        """The pictures (V, 4, S, S) of that name, loaded and encoded once."""
        if name not in self.cache:
            encoded = self.encode(load())
            embedding = None if encoded.embedding is None else encoded.embedding.half()
            self.cache[name] = replace(
                encoded,
                latents=encoded.latents.half(),
                condition=encoded.condition.half(),
                embedding=embedding,
            )
        return self.cache[name]

    @torch.no_grad()
    def encode(self, images: Tensor) -> Encoded:
        """Pictures (V, 4, S, S) in [0, 1] with their coverage: six views, or the front view of a photo.

        No view sees another but the front, so that nothing need be made up for the other five of a photo.
        """
        images, alpha = images.to(self.device).split([3, 1], dim=1)
        encode, embed = self.generator.autoencoder.encode, self.generator.image_embedding
        with autocast(self.device):
            warped = self.warped(images[0], alpha[0])
            condition = encode(images[:1] if warped is None else warped)
            latents = condition[:1]  # warping leaves the first view as it is
            if len(images) > 1:
                latents = torch.cat([latents, encode(images[1:])])
            embedding = None if embed is None else embed.embed(images[0])
        missing = latents.new_zeros(VIEWS - len(latents), *latents.shape[1:])
        has_truth = (torch.arange(VIEWS, device=self.device) < len(latents)).float()
        return Encoded(torch.cat([latents, missing]), condition, embedding, has_truth)

    def warped(self, portrait: Tensor, coverage: Tensor) -> Tensor | None:
        """(6, 3, S, S) views of a portrait (3, S, S) with its coverage; None if they are not wanted."""
        if self.distances is None:
            return None
        return warp_views(self.distances, portrait, coverage).images

    def photo(self, photos: UnposedPhotos, rng: torch.Generator) -> Encoded:
        """One of some photos."""
        index, portrait = photos.draw(rng)
        return self.cached(("photo", index), lambda: portrait[None])
