"""What the reconstructor is trained on: true views, any views, the front alone, generated views, photos.

Each kind of sample is a class. `SampleMix` draws a photo or a head, and then a kind by its share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from facelift.cameras import canonical_rig
from facelift.data.reader import Views
from facelift.data.split import seed_of
from facelift.data.streaming import Heads, wait_until
from facelift.devices import autocast
from facelift.errors import UserError
from facelift.train.augment import random_photometry
from facelift.train.loader import Draw
from facelift.train.unposed import UnposedPhotos
from facelift.views import ViewGenerator
from facelift.views.warp import SurfaceDistances, generate_views

Relight = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Sample:
    """One head as the model is to see it, and what is compared.

    Attributes:
        images: (V, 3, S, S) its input views.
        truth: these views of the true head; after them that from above, in the light of `images`, if there is
            one. Of a photo the front view alone.
        targets: views to be rendered, if any.
        of_photo: whether it is of a photo, of which nothing else is known.
    """

    images: Tensor
    truth: Views
    targets: Views | None = None
    of_photo: bool = False

    def to(self, device: torch.device) -> Sample:
        """The same sample on a device."""
        targets = None if self.targets is None else self.targets.to(device)
        return replace(self, images=self.images.to(device), truth=self.truth.to(device), targets=targets)


class HeadSampler(Protocol):
    """One kind of sample of a synthetic head."""

    def sample(self, head: str, light: Relight, rng: torch.Generator, rendered: bool) -> Sample:
        """The head of that name in that light, with targets if some are to be rendered."""


@dataclass
class CommonHeads:
    """The heads that several folders have.

    Attributes:
        inputs: the six input views and their depth.
        others: views from other cameras.
        overhead: the view from above and its depth, for a model with overhead tokens.
    """

    inputs: Heads
    others: Heads
    overhead: Heads | None = None

    def __post_init__(self) -> None:
        self._names: list[str] = []

    @property
    def names(self) -> list[str]:
        """Those that every folder has; when streaming ever more of them, the new ones last."""
        folders = [folder for folder in (self.inputs, self.others, self.overhead) if folder is not None]
        if len(self._names) < min(map(len, folders)):
            complete = set.intersection(*(set(folder.heads) for folder in folders))
            self._names += sorted(complete - set(self._names))
        return self._names

    def require_some(self, streaming: bool) -> None:
        """Raise UserError unless there is a head; when streaming, after waiting for one."""
        if not self.names and not (streaming and wait_until(lambda: len(self.names) > 0)):
            raise UserError("The folders of the training have no head in common: draw the same seeds.")


@dataclass(frozen=True)
class RenderTargets:
    """Views of a head to compare renders with.

    Attributes:
        heads: whose views.
        inputs: how many of the input views.
        others: how many of the other views.
        size: side of the images, pixels.
    """

    heads: CommonHeads
    inputs: int
    others: int
    size: int

    def draw(self, head: str, light: Relight, rng: torch.Generator, front: bool = False) -> Views:
        """Some inputs, the front view among them if it must be, and some other views."""
        parts = []
        for folder, count in ((self.heads.inputs, self.inputs), (self.heads.others, self.others)):
            if count:
                chosen = torch.randperm(folder.count(head), generator=rng)[:count].tolist()
                if front and folder is self.heads.inputs:
                    chosen[0] = 0
                parts.append(folder.load(head, chosen).resized(self.size))
        targets = Views.concatenate(parts)
        return replace(targets, images=light(targets.images))


@dataclass(frozen=True)
class TrueViews:
    """The six true views."""

    targets: RenderTargets

    def sample(self, head: str, light: Relight, rng: torch.Generator, rendered: bool) -> Sample:
        """See `HeadSampler`."""
        views = self.targets.heads.inputs.load(head, depth=True)
        return Sample(light(views.images), views, self.targets.draw(head, light, rng) if rendered else None)


@dataclass(frozen=True)
class AnyViews:
    """Some of the other views at random as inputs, and these and more of them to be rendered: GS-LRM's way.

    Attributes:
        heads: whose views.
        inputs: how many are seen.
        targets: how many are rendered, the inputs among them.
        input_size, render_size: sides of their images, pixels.
    """

    heads: CommonHeads
    inputs: int
    targets: int
    input_size: int
    render_size: int

    def sample(self, head: str, light: Relight, rng: torch.Generator, rendered: bool) -> Sample:
        """See `HeadSampler`."""
        there = self.heads.others.count(head)
        if there < self.targets:
            raise UserError(f"{head} has {there} views and {self.targets} are wanted: draw more --views.")
        chosen = torch.randperm(there, generator=rng)[: self.targets].tolist()
        views = self.heads.others.load(head, chosen)
        views = replace(views, images=light(views.images))
        seen = views[: self.inputs].resized(self.input_size)
        return Sample(seen.images, seen, views.resized(self.render_size) if rendered else None)


@dataclass(frozen=True)
class FrontView:
    """The front view alone, every other time mirrored.

    What it cannot show is not compared: there are no targets.
    """

    heads: CommonHeads

    def sample(self, head: str, light: Relight, rng: torch.Generator, rendered: bool) -> Sample:
        """See `HeadSampler`."""
        view = self.heads.inputs.load(head, [0], depth=True)
        if torch.rand((), generator=rng) < 0.5:
            view = view.mirrored()
        return Sample(light(view.images), view)


class CachedGenerator:
    """The view generator and the distances that warp its input, as they are at the start.

    Args:
        generator: makes the views.
        distances: along the rays of the front view, see `facelift.views.warp.generate_views`.
        device: where they are.
    """

    def __init__(self, generator: ViewGenerator, distances: SurfaceDistances, device: torch.device) -> None:
        self.generator, self.distances, self.device = generator, distances, device
        self._views: dict[str, Tensor] = {}

    def with_empty_cache(self) -> CachedGenerator:
        """The same models, for other heads of the same names."""
        return CachedGenerator(self.generator, self.distances, self.device)

    @torch.no_grad()
    def views(self, name: str, front: Tensor, seed: int) -> Tensor:
        """(6, 3, S, S): a front view (4, S, S) and five generated ones, generated once for each name."""
        if name not in self._views:
            portrait, coverage = front.to(self.device).split([3, 1])
            with autocast(self.device):
                generated = generate_views(self.generator, self.distances, portrait, coverage, seed=seed)
            self._views[name] = generated.images.half().cpu()
        return torch.cat([front[None, :3], self._views[name][1:].to(front)])


@dataclass(frozen=True)
class GeneratedViews:
    """The true front view and five generated ones, as at inference; the truth is the true head."""

    targets: RenderTargets
    generator: CachedGenerator

    def sample(self, head: str, light: Relight, rng: torch.Generator, rendered: bool) -> Sample:
        """See `HeadSampler`."""
        views = self.targets.heads.inputs.load(head, depth=True)
        front = torch.cat([views.images[0], views.alpha[0]])
        images = self.generator.views(head, front, seed_of(head) or 0)
        targets = self.targets.draw(head, light, rng, front=True) if rendered else None
        return Sample(light(images), views, targets)


@dataclass(frozen=True)
class WithOverheadView:
    """What another sampler gives, and the view from above among what is true."""

    sampler: HeadSampler
    overhead: Heads

    def sample(self, head: str, light: Relight, rng: torch.Generator, rendered: bool) -> Sample:
        """See `HeadSampler`."""
        sample = self.sampler.sample(head, light, rng, rendered)
        above = self.overhead.load(head, depth=True)
        above = replace(above, images=light(above.images))
        return replace(sample, truth=Views.concatenate([sample.truth, above]))


@dataclass(frozen=True)
class PhotoViews:
    """The portrait of a photo, as it is, and five generated views."""

    photos: UnposedPhotos
    generator: CachedGenerator

    def sample(self, rng: torch.Generator) -> Sample:
        """One photo; what is true of it is its front view."""
        index, portrait = self.photos.draw(rng)
        images = self.generator.views(f"photo {index}", portrait, seed=index)
        color, alpha = portrait[None].split([3, 1], dim=1)
        truth = Views(color, alpha, None, canonical_rig(portrait.shape[-1])[[0]])
        return Sample(images, truth, of_photo=True)


@dataclass(frozen=True)
class SampleMix:
    """Samples of every kind.

    Attributes:
        heads: the heads that are drawn from.
        kinds: samplers of heads and their shares, each of what those before leave.
        rest: the sampler of what all of them leave.
        render_start_step: the first step of which samples have targets.
        relit: whether heads come in another light.
        photos: the sampler of photos, if there are any.
        photo_share: how often it is one of these.
    """

    heads: CommonHeads
    kinds: Sequence[tuple[float, HeadSampler]]
    rest: HeadSampler
    render_start_step: int = 0
    relit: bool = True
    photos: PhotoViews | None = None
    photo_share: float = 0.0

    def sample(self, draw: Draw) -> Sample:
        """The sample of that number."""
        rng, rendered = draw.rng(), draw.step >= self.render_start_step
        if self.photos is not None and torch.rand((), generator=rng) < self.photo_share:
            return self.photos.sample(rng)
        names = self.heads.names
        head = names[draw.choose(len(names))]
        light = random_photometry(rng) if self.relit else _as_it_is
        for share, kind in self.kinds:
            if torch.rand((), generator=rng) < share:
                return kind.sample(head, light, rng, rendered)
        return self.rest.sample(head, light, rng, rendered)


def _as_it_is(images: Tensor) -> Tensor:
    return images
