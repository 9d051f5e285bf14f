"""Training GS-LRM: first its depth and opacity directly, which the generator knows, then what it renders."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facelift.cameras import Cameras, canonical_rig
from facelift.devices import autocast
from facelift.errors import UserError
from facelift.reconstruct import GSLRM, GaussianBatch, GSLRMConfig
from facelift.reconstruct.draft import imagine
from facelift.render import render
from facelift.train.augment import random_photometry
from facelift.train.data import HeadFolder, Views
from facelift.train.wild import WildFolder
from facelift.views import ViewGenerator
from facelift.weights import load_reconstructor, load_views, save_model


@dataclass(frozen=True)
class ReconstructorTraining:
    """Attributes:
    canonical: folder of heads with the six input views and their depth.
    orbit: folder of the same heads from other cameras, for supervision.
    geometry, image: weights of the direct loss on depth and opacity, and of the squared error of renders.
    render_from: step from which rendered views are compared as well.
    rendered_inputs, rendered_others: how many of each are rendered for a sample.
    render_size: side of the rendered images in pixels.
    clamp: keep centres in [-1, 1]^3 while training, as the paper does.
    start: folder of a trained reconstructor whose weights are the first ones.
    generator: folder of a trained view generator, `OUT/views` of its training; with it, some heads come as
        they do at inference: the true front view and five imagined ones. The truth stays the true head.
    imagined: how often that is.
    alone: how often the front view comes alone, as for a draft (`facelift.reconstruct.draft`); what it cannot
        show is asked of nobody, so that only the direct losses remain.
    wild: folder of photos; some samples are of them, with imagined views, and only the photo is compared.
    wild_share: how often that is.
    """

    canonical: str
    orbit: str
    geometry: float = 1.0
    image: float = 100.0
    render_from: int = 0
    rendered_inputs: int = 1
    rendered_others: int = 3
    render_size: int = 256
    clamp: bool = False
    start: str | None = None
    generator: str | None = None
    imagined: float = 0.5
    alone: float = 0.0
    wild: str | None = None
    wild_share: float = 0.15


class ReconstructorTask:
    def __init__(self, model: GSLRMConfig, training: ReconstructorTraining, device: torch.device) -> None:
        self.device, self.training = device, training
        self.inputs, self.others = HeadFolder(training.canonical), HeadFolder(training.orbit)
        self.heads = sorted(set(self.inputs.heads) & set(self.others.heads))
        self.model = GSLRM(model)
        self.model.init_weights()
        if training.start:
            self.model.load_state_dict(load_reconstructor(Path(training.start)).state_dict())
        self.model.to(device)
        self.generator: ViewGenerator | None = None
        if training.generator:
            self.generator = load_views(Path(training.generator)).to(device)
            self.first = deepcopy(self.model).requires_grad_(False)  # draws the drafts, always the same ones
        self.cache: dict[str, Tensor] = {}
        self.wild: WildFolder | None = None
        if training.wild:
            if self.generator is None:
                raise UserError("Photos need a `generator` in the `training`, to imagine their other views.")
            self.wild = WildFolder(training.wild, model.image_size)

    def backward(self, step: int, batch: int, rng: torch.Generator) -> dict[str, float]:
        totals: dict[str, list[float]] = {}
        for _ in range(batch):
            if self.wild is not None and torch.rand((), generator=rng) < self.training.wild_share:
                losses = self._wild_losses(*self.wild.draw(rng))
            else:
                head = self.heads[int(torch.randint(len(self.heads), (), generator=rng))]
                losses = self._losses(head, rng, rendered=step >= self.training.render_from)
            (torch.stack([*losses.values()]).sum() / batch).backward()
            for name, loss in losses.items():
                totals.setdefault(name, []).append(loss.item())
        return {name: fmean(values) for name, values in totals.items()}

    def _losses(self, head: str, rng: torch.Generator, rendered: bool) -> dict[str, Tensor]:
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
            front = torch.cat([images[0], views.alpha[0]])
            images = self._imagined(head, front, seed=self.heads.index(head))
        images = light(images).to(self.device)
        with autocast(self.device):
            predicted = self.model(images, views.cameras.to(self.device))
        depth, alpha = geometry_losses(predicted, views, self.model.config)
        losses = {"depth": self.training.geometry * depth, "alpha": 0.1 * self.training.geometry * alpha}
        if rendered and not alone:
            truth, cameras = self._targets(head, rng, front=imagined)
            image = render(predicted.activated(self.training.clamp), cameras.to(self.device)).image
            losses["image"] = self.training.image * (image - light(truth).to(self.device)).square().mean()
        return losses

    def _wild_losses(self, index: int, portrait: Tensor) -> dict[str, Tensor]:
        """Of a photo's portrait (4, S, S) only the front view is known."""
        images = self._imagined(f"photo {index}", portrait, seed=index).to(self.device)
        rig = canonical_rig(images.shape[-1]).to(self.device)
        with autocast(self.device):
            predicted = self.model(images, rig)
        drawn = render(predicted.activated(self.training.clamp), rig[[0]])
        error = (torch.cat([drawn.image, drawn.alpha], dim=1) - portrait.to(self.device)).square()
        return {"photo": self.training.image * error.mean()}

    @torch.no_grad()
    def _imagined(self, name: str, front: Tensor, seed: int) -> Tensor:
        """(6, 3, H, W): a front view (4, H, W) and what the generator makes of it, once for each name."""
        assert self.generator is not None
        if name not in self.cache:
            portrait, coverage = front.to(self.device).split([3, 1])
            with autocast(self.device):
                views = imagine(self.generator, self.first, portrait, coverage, seed=seed).images
            self.cache[name] = views.half().cpu()
        return torch.cat([front[None, :3], self.cache[name][1:].float()])

    def _targets(self, head: str, rng: torch.Generator, front: bool) -> tuple[Tensor, Cameras]:
        """Some inputs, the front view among them if it must be, and some other views, to be rendered."""
        size = self.training.render_size
        parts = []
        for folder, count in (
            (self.inputs, self.training.rendered_inputs),
            (self.others, self.training.rendered_others),
        ):
            if count:
                chosen = torch.randperm(folder.count(head), generator=rng)[:count].tolist()
                if front and folder is self.inputs:
                    chosen[0] = 0
                views = folder.load(head, chosen).resized(size)
                parts.append((views.images, views.cameras))
        images = torch.cat([part[0] for part in parts])
        cameras = Cameras(
            torch.cat([part[1].w2c for part in parts]),
            torch.cat([part[1].intrinsics for part in parts]),
            size,
            size,
        )
        return images, cameras

    @torch.no_grad()
    def picture(self, model: nn.Module) -> Tensor:
        """Three heads: other views, true above rendered; the PSNR of each is in no picture but in the log."""
        rows = []
        for head in self.heads[:: max(1, len(self.heads) // 3)][:3]:
            inputs, others = (
                self.inputs.load(head),
                self.others.load(head, [*range(min(6, self.others.count(head)))]),
            )
            assert isinstance(model, GSLRM)
            with autocast(self.device):
                gaussians = model.reconstruct(inputs.images.to(self.device), inputs.cameras.to(self.device))
            rendered = render(gaussians, others.cameras.to(self.device)).image.cpu().clamp(0, 1)
            rows += [torch.cat([*others.images], dim=2), torch.cat([*rendered], dim=2)]
        return torch.cat(rows, dim=1)

    def export(self, model: nn.Module, folder: Path) -> None:
        save_model(model, folder / "reconstructor")


def geometry_losses(predicted: GaussianBatch, views: Views, config: GSLRMConfig) -> tuple[Tensor, Tensor]:
    """How far each Gaussian is from the surface that its ray meets, and its opacity from the coverage there.

    Nothing is known of the margin.

    Returns:
        depth: mean smooth L1 of the distance along the ray, in world units, over covered cells, divided by
            its knee of 0.02 so that it is a plain L1 in knees beyond it.
        alpha: mean binary cross-entropy of the opacity.
    """
    assert views.depth is not None
    side = config.patch_size // config.gaussians_per_side
    z = views.depth.masked_fill(views.depth == 0, float("inf"))
    z = -F.max_pool2d(-z[:, None], side)[:, 0]  # the nearest surface within the cell
    below = (0, 0, 0, config.margin // side)
    z = F.pad(z, below, value=float("inf"))
    coverage = F.pad(F.avg_pool2d(views.alpha, side), below, value=float("nan")).flatten()
    cells = replace(views.cameras.resized(z.shape[-1]), height=z.shape[-2])
    _, directions = cells.rays()
    along = (directions * cells.w2c[:, None, None, 2, :3]).sum(-1)  # z-depth of one unit along the ray

    device, index = predicted.distance.device, predicted.pixel.cpu()
    truth = (z / along).flatten()[index].to(device)
    covered = truth.isfinite() & (coverage[index].to(device) > 0.25)
    depth = F.smooth_l1_loss(predicted.distance[covered], truth[covered], beta=0.02) / 0.02
    opacity = predicted.opacity_logits[predicted.learned :]
    target = coverage[index].to(device).clamp(0.0, 0.98)
    known = target.isfinite()
    alpha = F.binary_cross_entropy_with_logits(opacity[known], target[known])
    return depth, alpha
