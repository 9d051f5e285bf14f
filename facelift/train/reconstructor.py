"""Training GS-LRM: first its depth and opacity directly, which synthetic heads have, then what it renders."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy, deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from facelift.cameras import Cameras, canonical_rig
from facelift.data.reader import Views
from facelift.data.streaming import open_heads
from facelift.devices import autocast
from facelift.errors import UserError
from facelift.reconstruct import GSLRM, GaussianBatch, GSLRMConfig
from facelift.render import render, render_batch
from facelift.train.distances import load_distances
from facelift.train.features import FeatureNetwork, load_features, perceptual_loss
from facelift.train.geometry import geometry_losses, overhead_color_loss
from facelift.train.loader import SampleLoader
from facelift.train.samplers import (
    AnyViews,
    CachedGenerator,
    CommonHeads,
    FrontView,
    GeneratedViews,
    HeadSampler,
    PhotoViews,
    RenderTargets,
    Sample,
    SampleMix,
    TrueViews,
    WithOverheadView,
)
from facelift.train.start import starting_reconstructor
from facelift.train.task import Loss
from facelift.train.unposed import UnposedPhotos
from facelift.train.vgg import load_vgg19
from facelift.views.warp import SurfaceDistances, mean_distances
from facelift.weights import load_views, save_model


@dataclass(frozen=True)
class ReconstructorTraining:
    """What the reconstructor learns from.

    Attributes:
        canonical: folder of heads with the six input views and their depth.
        orbit: folder of the same heads from other cameras, for supervision.
        overhead: folder of the same heads from above, for a model with overhead tokens.
        geometry_weight, color_weight, image_weight: of the direct loss on depth and opacity, of that on the
            colours of the overhead tokens, and of the squared error of renders.
        perceptual_weight: of how the features of renders differ from those of the truth.
        features: folder of the network whose features they are, `OUT/features` of its training
            (`facelift.train.features`); None leaves this out.
        vgg19: the paper's network in its place, a file or a repository (`facelift.train.vgg`).
        perceptual_start_step: step from which features are compared.
        render_start_step: step from which rendered views are compared as well.
        rendered_inputs, rendered_others: how many of each are rendered for a sample.
        render_size: side of the rendered images in pixels.
        any_inputs: how many of the other views are the input, chosen at random, in place of the six canonical
            ones; then `rendered_others` of them are rendered, the inputs among them, `rendered_inputs` means
            nothing, and no depth is needed without `geometry_weight`. 0 for the six.
        relit: whether heads come in another light each time.
        clamp_positions: whether Gaussians outside of [-1, 1]^3 are moved to its faces before they are
            rendered, as in the paper; those of learned tokens are not.
        init_from: the weights to start from: a trained reconstructor, FaceLift's released folder, or a
            repository on the Hugging Face hub (`facelift.train.start`); what they lack begins anew.
        generator: folder of a trained view generator, `OUT/views` of its training; with it, some heads come
            as they do at inference: the true front view and five generated ones. The truth stays the true
            head.
        portrait: folder of the portrait's network; the mean of its depth and of the reconstructor's, as it is
            at the start, warps the views for the generator. With None the latter does.
        generated_share: how often that is.
        front_only_share: how often the front view comes alone, as for warping (`facelift.views.warp`); what
            it cannot show is not compared, so that only the direct losses remain.
        unposed_photos: folder of photos; some samples are of them, with generated views, and only the photo
            is compared.
        unposed_share: how often that is.
        micro_batch: heads that go through the model together; None is one on a CPU, and the whole batch on a
            GPU, which one head would not keep busy.
        gradient_checkpointing: whether activations are computed again for the gradient, a third more work in
            a fraction of the memory.
        compile: whether torch.compile makes the transformer's blocks faster, after some minutes.
        workers: processes that read heads ahead, for each process of the training.
        streaming: keep the heads in the device's memory, and take in those that `facelift synth` draws
            meanwhile (`facelift.data.streaming`).
    """

    canonical: str
    orbit: str
    overhead: str | None = None
    geometry_weight: float = 1.0
    color_weight: float = 1.0
    image_weight: float = 100.0
    perceptual_weight: float = 0.5
    features: str | None = None
    vgg19: str | None = None
    perceptual_start_step: int = 0
    render_start_step: int = 0
    rendered_inputs: int = 1
    rendered_others: int = 3
    render_size: int = 256
    any_inputs: int = 0
    relit: bool = True
    clamp_positions: bool = False
    init_from: str | None = None
    generator: str | None = None
    portrait: str | None = None
    generated_share: float = 0.5
    front_only_share: float = 0.0
    unposed_photos: str | None = None
    unposed_share: float = 0.15
    micro_batch: int | None = None
    gradient_checkpointing: bool = False
    compile: bool = False
    workers: int = 0
    streaming: bool = False


class ReconstructorTask:
    """Training of the reconstructor."""

    def __init__(self, model: GSLRMConfig, training: ReconstructorTraining, device: torch.device) -> None:
        self.device, self.training = device, training
        if (training.overhead is None) != (model.overhead_tokens is None):
            raise UserError(
                "`overhead_tokens` in the `model` and `overhead` in the `training` belong together."
            )
        self.heads = _open(training, device)
        if training.init_from:
            self.model = starting_reconstructor(training.init_from, model)
        else:
            self.model = GSLRM(model)
            self.model.init_weights()
        self.model.to(device)
        self.model.gradient_checkpointing = training.gradient_checkpointing
        if training.compile:
            for block in self.model.blocks:
                block.compile()
        self.generator: CachedGenerator | None = None
        if training.generator:
            distances: SurfaceDistances = (
                deepcopy(self.model).requires_grad_(False).distances
            )  # whatever is learnt
            if training.portrait:
                distances = mean_distances(load_distances(training.portrait, None, device), distances)
            views = load_views(Path(training.generator)).to(device)
            self.generator = CachedGenerator(views, distances, device)
        self.features = _load_features(training, device)
        photos = None
        if training.unposed_photos:
            if self.generator is None:
                raise UserError("Photos need a `generator` in the `training`, to generate their other views.")
            photos = PhotoViews(UnposedPhotos(training.unposed_photos, model.image_size), self.generator)
        self.samples = _loaded(training, self.heads, self.generator, photos, model.image_size)

    @property
    def names(self) -> list[str]:
        """Of the heads that it trains on."""
        return self.heads.names

    def held_out(self, training: ReconstructorTraining) -> ReconstructorTask:
        """The same models on the held-out heads of these folders."""
        other = copy(self)
        other.training = replace(training, streaming=False, unposed_photos=None, workers=0)
        other.heads = _open(other.training, self.device, held_out=True)
        if self.generator is not None:
            other.generator = self.generator.with_empty_cache()
        size = self.model.config.image_size
        other.samples = _loaded(other.training, other.heads, other.generator, None, size)
        return other

    def losses(self, step: int, batch: int, rng: torch.Generator) -> Iterator[Loss]:
        """Direct losses on each head's rays, and those of its renders once they are compared."""
        waiting: dict[int, list[Sample]] = {}  # by the number of their views
        micro_batch = self.training.micro_batch or (batch if self.device.type == "cuda" else 1)
        for _, sample in self.samples(step, batch, rng):
            sample = sample.to(self.device)
            if sample.of_photo:
                yield _summed(self._photo_losses(sample), 1)
                continue
            alike = waiting.setdefault(len(sample.images), [])
            alike.append(sample)
            if len(alike) == micro_batch:
                yield _summed(self._losses(alike, step), len(alike))
                alike.clear()
        for alike in filter(None, waiting.values()):
            yield _summed(self._losses(alike, step), len(alike))

    def _losses(self, samples: list[Sample], step: int) -> dict[str, Tensor]:
        """Mean losses of some heads that have as many views each."""
        rigs = [sample.truth.cameras[: len(sample.images)] for sample in samples]
        images = torch.cat([sample.images for sample in samples])
        with autocast(self.device):
            predicted = self.model(images, Cameras.concatenate(rigs), len(samples))
        truth, training = Views.concatenate([sample.truth for sample in samples]), self.training
        losses = {}
        if truth.depth is not None:
            depth, alpha = geometry_losses(predicted, truth, self.model.config)
            losses["depth"] = training.geometry_weight * depth
            losses["alpha"] = 0.1 * training.geometry_weight * alpha
        if len(samples[0].truth.images) > len(samples[0].images):  # there is one from above
            loss = overhead_color_loss(predicted, truth, len(samples), self.model.config)
            losses["color"] = training.color_weight * loss
        targets = [sample.targets for sample in samples if sample.targets is not None]
        if targets:
            if training.clamp_positions:
                predicted = clamped(predicted)
            drawn = render_batch(predicted.unbatch(), [target.cameras for target in targets])
            errors = [
                (drawing.image - target.images).square().mean()
                for drawing, target in zip(drawn, targets, strict=True)
            ]
            losses["image"] = training.image_weight * torch.stack(errors).mean()
            if self.features is not None and step >= training.perceptual_start_step:
                images = torch.cat([drawing.image for drawing in drawn])
                true = torch.cat([target.images for target in targets])
                losses["perceptual"] = training.perceptual_weight * perceptual_loss(
                    self.features, images, true
                )
        return losses

    def _photo_losses(self, sample: Sample) -> dict[str, Tensor]:
        """The front view's squared error; nothing is true of a photo's other views."""
        rig = canonical_rig(sample.images.shape[-1]).to(self.device)
        with autocast(self.device):
            predicted = self.model(sample.images, rig)
        (drawn,) = render_batch([predicted.activated()], [sample.truth.cameras])
        truth = torch.cat([sample.truth.images, sample.truth.alpha], dim=1)
        error = (torch.cat([drawn.image, drawn.alpha], dim=1) - truth).square()
        return {"photo": self.training.image_weight * error.mean()}

    @torch.no_grad()
    def picture(self) -> Tensor:
        """Three heads: other views, true above rendered; the PSNR of each is in no picture but in the log."""
        rows, names = [], self.heads.names
        for head in names[:: max(1, len(names) // 3)][:3]:
            inputs = self.heads.inputs.load(head)
            others = self.heads.others.load(head, [*range(min(6, self.heads.others.count(head)))])
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


def _open(training: ReconstructorTraining, device: torch.device, held_out: bool = False) -> CommonHeads:
    memory = device if training.streaming else None
    heads = CommonHeads(
        open_heads(training.canonical, memory, depth=True, held_out=held_out),
        open_heads(training.orbit, memory, held_out=held_out),
        open_heads(training.overhead, memory, depth=True, held_out=held_out) if training.overhead else None,
    )
    heads.require_some(training.streaming)
    return heads


def clamped(predicted: GaussianBatch) -> GaussianBatch:
    """Gaussians on rays within [-1, 1]^3."""
    free, placed = predicted.means.tensor_split([predicted.learned])
    return replace(predicted, means=torch.cat([free, placed.clamp(-1, 1)]))


def _load_features(training: ReconstructorTraining, device: torch.device) -> FeatureNetwork | None:
    if training.features and training.vgg19:
        raise UserError("`features` and `vgg19` are two networks for one loss: leave one of them out.")
    if training.vgg19:
        return load_vgg19(training.vgg19).to(device)
    return load_features(Path(training.features)).to(device) if training.features else None


def _loaded(
    training: ReconstructorTraining,
    heads: CommonHeads,
    generator: CachedGenerator | None,
    photos: PhotoViews | None,
    input_size: int,
) -> SampleLoader[Sample]:
    """Samples in the shares that the training asks for."""
    if training.workers and (generator is not None or training.streaming):
        raise UserError("`workers` read true heads from files: leave `generator` and streaming out.")
    return SampleLoader(_mixed(training, heads, generator, photos, input_size).sample, training.workers)


def _mixed(
    training: ReconstructorTraining,
    heads: CommonHeads,
    generator: CachedGenerator | None,
    photos: PhotoViews | None,
    input_size: int,
) -> SampleMix:
    start, relit = training.render_start_step, training.relit
    if training.any_inputs:
        if generator is not None or training.front_only_share or heads.overhead is not None:
            raise UserError(
                "`any_inputs` is GS-LRM's own training, without generator, front view alone or overhead."
            )
        if training.geometry_weight:
            raise UserError("`any_inputs` are compared by renders alone: set `geometry_weight: 0.0`.")
        seen, rendered, size = training.any_inputs, training.rendered_others, training.render_size
        if seen > rendered:
            raise UserError(f"`rendered_others`, {rendered}, count the {seen} of `any_inputs`: set more.")
        return SampleMix(heads, [], AnyViews(heads, seen, rendered, input_size, size), start, relit)
    targets = RenderTargets(heads, training.rendered_inputs, training.rendered_others, training.render_size)
    kinds: list[tuple[float, HeadSampler]] = [(training.front_only_share, FrontView(heads))]
    if generator is not None:
        kinds.append((training.generated_share, _with_overhead(GeneratedViews(targets, generator), heads)))
    rest = _with_overhead(TrueViews(targets), heads)
    return SampleMix(heads, kinds, rest, start, relit, photos, training.unposed_share)


def _with_overhead(sampler: HeadSampler, heads: CommonHeads) -> HeadSampler:
    return sampler if heads.overhead is None else WithOverheadView(sampler, heads.overhead)


def _summed(losses: dict[str, Tensor], samples: int) -> Loss:
    total = torch.stack([*losses.values()]).sum()
    return Loss(total, {name: loss.detach() for name, loss in losses.items()}, samples)
