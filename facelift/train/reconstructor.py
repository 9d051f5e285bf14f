"""Training GS-LRM: first its depth and opacity directly, which the generator knows, then what it renders."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy, deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from facelift.cameras import canonical_rig, joined
from facelift.data.reader import Views, side_by_side
from facelift.data.split import seed_of
from facelift.data.streaming import awaited, open_heads
from facelift.devices import autocast
from facelift.errors import UserError
from facelift.reconstruct import GSLRM, GSLRMConfig
from facelift.render import render, render_each
from facelift.train.augment import random_photometry
from facelift.train.features import load_features, perceptual_loss
from facelift.train.geometry import geometry_losses, overhead_color_loss
from facelift.train.task import Loss
from facelift.train.unposed import UnposedPhotos
from facelift.views import ViewGenerator
from facelift.views.warp import generate_views
from facelift.weights import load_reconstructor, load_views, save_model, take_weights


@dataclass(frozen=True)
class ReconstructorTraining:
    """What the reconstructor learns from.

    Attributes:
        canonical: folder of heads with the six input views and their depth.
        orbit: folder of the same heads from other cameras, for supervision.
        overhead: folder of the same heads from above, for a model with overhead tokens.
        geometry, color, image: weights of the direct loss on depth and opacity, of that on the colours of the
            overhead tokens, and of the squared error of renders.
        perceptual: weight of how the features of renders differ from those of the truth.
        features: folder of the network whose features they are, `OUT/features` of its training
            (`facelift.train.features`); None leaves this out.
        render_from: step from which rendered views are compared as well.
        rendered_inputs, rendered_others: how many of each are rendered for a sample.
        render_size: side of the rendered images in pixels.
        start: folder of a trained reconstructor whose weights are the first ones; what it lacks begins anew.
        generator: folder of a trained view generator, `OUT/views` of its training; with it, some heads come
            as they do at inference: the true front view and five imagined ones. The truth stays the true
            head.
        imagined: how often that is.
        alone: how often the front view comes alone, as for a draft (`facelift.views.warp`); what it cannot
            show is asked of nobody, so that only the direct losses remain.
        unposed_photos: folder of photos; some samples are of them, with imagined views, and only the photo is
            compared.
        unposed_share: how often that is.
        at_once: heads that go through the model side by side; None is one on a CPU, and all of a batch on a
            GPU, which is idle with one.
        streaming: keep the heads in the device's memory, and take in those that `facelift synth` draws
            meanwhile (`facelift.data.streaming`).
    """

    canonical: str
    orbit: str
    overhead: str | None = None
    geometry: float = 1.0
    color: float = 1.0
    image: float = 100.0
    perceptual: float = 0.5
    features: str | None = None
    render_from: int = 0
    rendered_inputs: int = 1
    rendered_others: int = 3
    render_size: int = 256
    start: str | None = None
    generator: str | None = None
    imagined: float = 0.5
    alone: float = 0.0
    unposed_photos: str | None = None
    unposed_share: float = 0.15
    at_once: int | None = None
    streaming: bool = False


@dataclass(frozen=True)
class _Sample:
    """One head as the model is to see it, and what is compared; on the device.

    Attributes:
        images: (V, 3, S, S) its input views.
        truth: these views of the true head; after them that from above, in the light of `images`, if there is
            one.
        targets: views to be rendered, if any.
    """

    images: Tensor
    truth: Views
    targets: Views | None


class ReconstructorTask:
    """Training of the reconstructor."""

    def __init__(self, model: GSLRMConfig, training: ReconstructorTraining, device: torch.device) -> None:
        self.device, self.training = device, training
        if (training.overhead is None) != (model.overhead_tokens is None):
            raise UserError(
                "`overhead_tokens` in the `model` and `overhead` in the `training` belong together."
            )
        self._open(held_out=False)
        self.model = GSLRM(model)
        self.model.init_weights()
        if training.start:
            start = Path(training.start)
            take_weights(self.model, load_reconstructor(start), start)
        self.model.to(device)
        self.generator: ViewGenerator | None = None
        if training.generator:
            self.generator = load_views(Path(training.generator)).to(device)
            self.first = deepcopy(self.model).requires_grad_(False)  # draws the drafts, always the same ones
        self.features = load_features(Path(training.features)).to(device) if training.features else None
        self.cache: dict[str, Tensor] = {}
        self.photos: UnposedPhotos | None = None
        if training.unposed_photos:
            if self.generator is None:
                raise UserError("Photos need a `generator` in the `training`, to imagine their other views.")
            self.photos = UnposedPhotos(training.unposed_photos, model.image_size)

    def _open(self, held_out: bool) -> None:
        training = self.training
        memory = self.device if training.streaming else None
        self.inputs = open_heads(training.canonical, memory, depth=True, held_out=held_out)
        self.others = open_heads(training.orbit, memory, held_out=held_out)
        self.overhead = None
        if training.overhead:
            self.overhead = open_heads(training.overhead, memory, depth=True, held_out=held_out)
        self.common: list[str] = []
        if not self.heads and not (training.streaming and awaited(lambda: len(self.heads) > 0)):
            raise UserError("The folders of the training have no head in common: draw the same seeds.")

    def held_out(self, training: ReconstructorTraining) -> ReconstructorTask:
        """The same models on the held-out heads of these folders."""
        other = copy(self)
        other.training, other.photos, other.cache = (
            replace(training, streaming=False, unposed_photos=None),
            None,
            {},
        )
        other._open(held_out=True)
        return other

    def losses(self, step: int, batch: int, rng: torch.Generator) -> Iterator[Loss]:
        """Direct losses on each head's rays, and those of its renders once they are compared."""
        samples: dict[int, list[_Sample]] = {}  # by the number of their views
        for _ in range(batch):
            if self.photos is not None and torch.rand((), generator=rng) < self.training.unposed_share:
                yield _summed(self._photo_losses(*self.photos.draw(rng)), 1)
            else:
                sample = self._sample(rng, rendered=step >= self.training.render_from)
                samples.setdefault(len(sample.images), []).append(sample)
        at_once = self.training.at_once or (batch if self.device.type == "cuda" else 1)
        for alike in samples.values():
            for i in range(0, len(alike), at_once):
                chunk = alike[i : i + at_once]
                yield _summed(self._losses(chunk), len(chunk))

    @property
    def heads(self) -> list[str]:
        """Those that every folder has; when streaming ever more of them, the new ones last."""
        folders = [folder for folder in (self.inputs, self.others, self.overhead) if folder is not None]
        if len(self.common) < min(map(len, folders)):
            known, complete = set(self.common), set.intersection(*(set(folder.heads) for folder in folders))
            self.common += sorted(complete - known)
        return self.common

    def _sample(self, rng: torch.Generator, rendered: bool) -> _Sample:
        heads = self.heads
        head = heads[int(torch.randint(len(heads), (), generator=rng))]
        light = random_photometry(rng)
        alone = bool(torch.rand((), generator=rng) < self.training.alone)
        views = self.inputs.load(head, [0] if alone else None, depth=True)
        if alone and torch.rand((), generator=rng) < 0.5:
            views = views.mirrored()
        imagined = (
            self.generator is not None
            and not alone
            and bool(torch.rand((), generator=rng) < self.training.imagined)
        )
        images = views.images
        if imagined:
            images = self._imagined(head, torch.cat([images[0], views.alpha[0]]), seed_of(head) or 0)
        targets = None
        if rendered and not alone:
            targets = self._targets(head, rng, front=imagined)
            targets = replace(targets, images=light(targets.images)).to(self.device)
        if self.overhead is not None and not alone:
            above = self.overhead.load(head, depth=True)
            views = side_by_side([views, replace(above, images=light(above.images))])
        return _Sample(light(images).to(self.device), views.to(self.device), targets)

    def _losses(self, samples: list[_Sample]) -> dict[str, Tensor]:
        """Mean losses of some heads that have as many views each."""
        rigs = [sample.truth.cameras[: len(sample.images)] for sample in samples]
        images = torch.cat([sample.images for sample in samples])
        with autocast(self.device):
            predicted = self.model(images, joined(*rigs), len(samples))
        truth, training = side_by_side([sample.truth for sample in samples]), self.training
        depth, alpha = geometry_losses(predicted, truth, self.model.config)
        losses = {"depth": training.geometry * depth, "alpha": 0.1 * training.geometry * alpha}
        if len(samples[0].truth.images) > len(samples[0].images):  # there is one from above
            loss = overhead_color_loss(predicted, truth, len(samples), self.model.config)
            losses["color"] = training.color * loss
        targets = [sample.targets for sample in samples if sample.targets is not None]
        if targets:
            drawn = render_each(predicted.each(), [target.cameras for target in targets])
            errors = [
                (drawing.image - target.images).square().mean()
                for drawing, target in zip(drawn, targets, strict=True)
            ]
            losses["image"] = training.image * torch.stack(errors).mean()
            if self.features is not None:
                images = torch.cat([drawing.image for drawing in drawn])
                true = torch.cat([target.images for target in targets])
                losses["perceptual"] = training.perceptual * perceptual_loss(self.features, images, true)
        return losses

    def _photo_losses(self, index: int, portrait: Tensor) -> dict[str, Tensor]:
        """Of a photo's portrait (4, S, S) only the front view is known."""
        images = self._imagined(f"photo {index}", portrait, seed=index).to(self.device)
        rig = canonical_rig(images.shape[-1]).to(self.device)
        with autocast(self.device):
            predicted = self.model(images, rig)
        (drawn,) = render_each([predicted.activated()], [rig[[0]]])
        error = (torch.cat([drawn.image, drawn.alpha], dim=1) - portrait.to(self.device)).square()
        return {"photo": self.training.image * error.mean()}

    @torch.no_grad()
    def _imagined(self, name: str, front: Tensor, seed: int) -> Tensor:
        """(6, 3, H, W): a front view (4, H, W) and what the generator makes of it, once for each name."""
        assert self.generator is not None
        if name not in self.cache:
            portrait, coverage = front.to(self.device).split([3, 1])
            with autocast(self.device):
                distances = self.first.distances
                views = generate_views(self.generator, distances, portrait, coverage, seed=seed).images
            self.cache[name] = views.half().cpu()
        return torch.cat([front[None, :3], self.cache[name][1:].to(front)])

    def _targets(self, head: str, rng: torch.Generator, front: bool) -> Views:
        """Some inputs, the front view among them if it must be, and some other views, to be rendered."""
        parts = []
        for folder, count in (
            (self.inputs, self.training.rendered_inputs),
            (self.others, self.training.rendered_others),
        ):
            if count:
                chosen = torch.randperm(folder.count(head), generator=rng)[:count].tolist()
                if front and folder is self.inputs:
                    chosen[0] = 0
                parts.append(folder.load(head, chosen).resized(self.training.render_size))
        return side_by_side(parts)

    @torch.no_grad()
    def picture(self) -> Tensor:
        """Three heads: other views, true above rendered; the PSNR of each is in no picture but in the log."""
        rows = []
        for head in self.heads[:: max(1, len(self.heads) // 3)][:3]:
            inputs, others = (
                self.inputs.load(head),
                self.others.load(head, [*range(min(6, self.others.count(head)))]),
            )
            with autocast(self.device):
                gaussians = self.model.reconstruct(
                    inputs.images.to(self.device), inputs.cameras.to(self.device)
                )
            rendered = render(gaussians, others.cameras.to(self.device)).image.cpu().clamp(0, 1)
            rows += [torch.cat([*others.images.cpu()], dim=2), torch.cat([*rendered], dim=2)]
        return torch.cat(rows, dim=1)

    def export(self, folder: Path) -> None:
        """Write what `facelift.weights.load_reconstructor` reads."""
        save_model(self.model, folder / "reconstructor")


def _summed(losses: dict[str, Tensor], samples: int) -> Loss:
    total = torch.stack([*losses.values()]).sum()
    return Loss(total, {name: loss.detach() for name, loss in losses.items()}, samples)
