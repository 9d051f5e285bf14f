"""Training the portrait's network, on synthetic people and on portraits that other networks have labelled."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from facelift.data.attributes import ATTRIBUTES, attributes_of
from facelift.data.portraits import PortraitFolder
from facelift.data.reader import HeadFolder
from facelift.devices import autocast
from facelift.portrait.network import (
    MAP_STRIDE,
    PortraitNetwork,
    PortraitNetworkConfig,
    PortraitPrediction,
    stack_inputs,
)
from facelift.train.portrait_samples import HAIR, UNKNOWN, Chances, PortraitSample, PortraitSampler
from facelift.train.task import Loss, channels_last, generator_for
from facelift.weights import load_weights, save_model, take_weights

SCALES = 4  # resolutions at which depths' gradients are compared
EDGE = 0.06  # largest step of depth between pixels of one surface, world units


@dataclass(frozen=True)
class PortraitTraining:
    """What the portrait's network learns from.

    Attributes:
        data: folder of heads, canonical rig, drawn with all truth.
        portraits: folder of labelled portraits, see `facelift.data.portraits`; None for none.
        init_from: folder of a trained network to start from, `OUT/portrait` of its training; what it
            lacks begins anew.
        size: side of the pictures, pixels.
        matte_weight, parts_weight, hair_weight, depth_weight, gradient_weight, normals_weight,
            landmark_weight, relief_weight, attribute_weight: of the losses.
        chances: how often the photos show what.
    """

    data: str
    portraits: str | None = None
    init_from: str | None = None
    size: int = 256
    matte_weight: float = 1.0
    parts_weight: float = 0.3
    hair_weight: float = 0.3
    depth_weight: float = 5.0
    gradient_weight: float = 5.0
    normals_weight: float = 0.5
    landmark_weight: float = 0.04
    relief_weight: float = 2.0
    attribute_weight: float = 0.03
    chances: Chances = field(default_factory=Chances)


class PortraitTask:
    """Training of all that the portrait's network tells."""

    def __init__(
        self, model: PortraitNetworkConfig, training: PortraitTraining, device: torch.device
    ) -> None:
        self.device, self.training = device, training
        folder = HeadFolder(training.data)
        self.model = PortraitNetwork(replace(model, attributes=ATTRIBUTES))
        if training.init_from:
            start = Path(training.init_from)
            take_weights(self.model, load_weights(PortraitNetwork, PortraitNetworkConfig, start), start)
        fronts = torch.stack([folder.landmarks(head)[0] for head in folder.heads])
        side = float(folder.cameras(folder.heads[0]).width)
        self.model.framing.fit(fronts, torch.tensor([side / 2, side / 2, side]).expand(len(fronts), 3))
        self.sampler = self._sampler(folder, training)
        self.model.to(device)
        channels_last(self.model)

    def _sampler(self, folder: HeadFolder, training: PortraitTraining) -> PortraitSampler:
        answers = {head: attributes_of(folder, head) for head in folder.heads}
        portraits = PortraitFolder(training.portraits) if training.portraits else None
        framing = self.model.framing
        return PortraitSampler(
            folder, training.size, training.chances, portraits, framing, answers.__getitem__
        )

    def held_out(self, training: PortraitTraining) -> PortraitTask:
        """The same model on the held-out heads of this folder."""
        other = copy(self)
        other.training = training
        other.sampler = other._sampler(HeadFolder(training.data, held_out=True), training)
        return other

    def losses(self, step: int, batch: int, rng: torch.Generator) -> Iterator[Loss]:
        """A third of the photos are framed as portraits, the others only about so."""
        samples = [self.sampler.photo(rng, moved=i % 3 != 0) for i in range(batch)]
        photos = torch.stack([sample.photo for sample in samples]).to(self.device)
        layers = stack_inputs(*photos.split([3, 1], dim=1)).contiguous(memory_format=torch.channels_last)
        with autocast(self.device):
            output = self.model(layers)
        weighted, parts = self._losses(output, samples)
        yield Loss(torch.stack(weighted).sum(), {name: part.detach() for name, part in parts.items()}, batch)

    def _losses(
        self, output: PortraitPrediction, samples: list[PortraitSample]
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        training = self.training

        def stack(name: str) -> Tensor:
            return torch.stack([getattr(sample, name) for sample in samples]).to(self.device)

        alpha, depth, normals = stack("alpha"), stack("depth"), stack("normals")
        logits, predicted = output.logits.float(), output.depth.float()
        known = alpha.isfinite()
        matte = F.binary_cross_entropy_with_logits(logits[known], alpha[known])
        scores = output.parts.float().log_softmax(1)
        parts = F.nll_loss(scores, stack("parts"), ignore_index=UNKNOWN)
        hair = hair_loss(scores[:, HAIR], stack("hair"))
        solid = depth.isfinite() & (alpha > 0.9)
        off = (predicted - depth)[solid].abs()
        steps = gradient_loss(predicted, torch.where(solid, depth, torch.nan))
        facing = solid[:, 0] & (normals.norm(dim=1) > 0.5)
        cosine = (output.normals.float() * normals).sum(1)[facing]
        points = stack("points")
        inside = ((points > 0) & (points < training.size)).all(-1)
        places = maps_loss(output.maps.float()[inside], points[inside])
        relief = relief_loss(predicted, samples)
        answers = [self._answers(output, samples, name) for name in output.attributes]
        apart = (output.points.float() - points).norm(dim=-1)[inside]
        weighted = [
            training.matte_weight * matte,
            training.parts_weight * _or_zero(parts),
            training.hair_weight * _or_zero(hair),
            training.depth_weight * _or_zero(off.mean()),
            training.gradient_weight * steps,
            training.normals_weight * _or_zero(1 - cosine.mean()),
            training.landmark_weight * places,
            training.relief_weight * _or_zero(relief),
            training.attribute_weight * _or_zero(torch.stack(answers).nansum()) if answers else matte * 0,
        ]
        logged = {
            "matte": matte,
            "wrong": (logits.sigmoid() - alpha)[known].abs().mean(),
            "parts": parts,
            "hair": hair,
            "depth": off.mean(),
            "steps": steps,
            "degrees": cosine.clamp(-1, 1).acos().rad2deg().mean(),
            "pixels": apart.mean(),
            "relief": relief,
        } | dict(zip(output.attributes, answers, strict=True))
        return weighted, {name: part for name, part in logged.items() if part.isfinite()}

    def _answers(self, output: PortraitPrediction, samples: list[PortraitSample], name: str) -> Tensor:
        wanted = torch.tensor([sample.attributes.get(name, -1) for sample in samples], device=self.device)
        return F.cross_entropy(output.attributes[name].float(), wanted, ignore_index=-1)

    @torch.no_grad()
    def picture(self) -> Tensor:
        """Photos, what is kept of them, depth, normals and the likeliest parts."""
        columns = []
        for i in range(8):
            rgb, prior_logits = (
                self.sampler.photo(generator_for(1, i), moved=i > 3).photo.to(self.device).split([3, 1])
            )
            found = self.model(stack_inputs(rgb[None], prior_logits[None]))
            alpha = found.logits[0].sigmoid()
            columns.append(
                torch.cat(
                    [
                        _marked(rgb, found.points[0]),
                        1 + alpha * (rgb - 1),
                        (0.5 - found.depth[0] / 2).clamp(0, 1).expand(3, -1, -1) * alpha,
                        (found.normals[0] * torch.tensor([1.0, -1, -1])[:, None, None] + 1) / 2 * alpha,
                        (found.parts[0].argmax(0) / len(found.parts[0])).expand(3, -1, -1),
                    ],
                    dim=1,
                )
            )
        return torch.cat(columns, dim=2).cpu()

    def export(self, folder: Path) -> None:
        """Write the network that `facelift.weights.load_portrait_network` reads."""
        save_model(self.model, folder / "portrait")


def maps_loss(maps: Tensor, points: Tensor) -> Tensor:
    """Cross-entropy of N maps (N, h, w) of logits of where points (N, 2) are, in pixels.

    What is wanted are the four cells around each point, by nearness: their mean place is the point, but for
    points within half a cell of the border.
    """
    h, w = maps.shape[-2:]
    place = points / MAP_STRIDE - 0.5
    corner = place.floor()
    wanted = torch.zeros_like(maps)
    for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
        cell = corner + torch.tensor([dx, dy], device=corner.device)
        share = (1 - (place - cell).abs()).prod(-1)
        x, y = (cell[:, i].long().clamp(0, n - 1) for i, n in enumerate((w, h)))
        wanted[torch.arange(len(maps)), y, x] += share
    return F.cross_entropy(maps.flatten(1), wanted.flatten(1))


def hair_loss(log_share: Tensor, hair: Tensor) -> Tensor:
    """Binary cross-entropy of hair (B, H, W), NaN where it is unknown, and the logarithm of its share."""
    known = hair.isfinite()
    log_share, hair = log_share[known].clamp(-12, -1e-4), hair[known]
    return -(hair * log_share + (1 - hair) * torch.log1p(-log_share.exp())).mean()


def gradient_loss(depth: Tensor, truth: Tensor) -> Tensor:
    """Mean difference of the steps from pixel to pixel, at several resolutions (Li and Snavely, CVPR 2018).

    Args:
        depth: (B, 1, H, W) world units.
        truth: the same, NaN where it is unknown. Steps of more than EDGE are of two surfaces and count not.
    """
    losses = []
    for scale in range(SCALES):
        step = 2**scale
        for axis in (-1, -2):
            rest = truth.shape[axis] - step
            wanted = truth.narrow(axis, step, rest) - truth.narrow(axis, 0, rest)
            found = depth.narrow(axis, step, rest) - depth.narrow(axis, 0, rest)
            same = wanted.abs() < EDGE * (1 + scale)  # false where it is NaN
            losses.append((found - wanted)[same].abs().sum() / same.sum().clamp_min(1) / step**0.5)
    return torch.stack(losses).mean()


def relief_loss(depth: Tensor, samples: list[PortraitSample]) -> Tensor:
    """Mean difference of depth, around its median, from the relief of faces; NaN if there is none.

    Args:
        depth: (B, 1, H, W) world units.
        samples: of the B pictures.
    """
    size = depth.shape[-1]
    losses = []
    for shown, sample in zip(depth, samples, strict=True):
        if len(sample.relief):
            x, y, behind = sample.relief.to(depth.device).unbind(-1)
            grid = torch.stack([x, y], dim=-1) / size * 2 - 1
            found = F.grid_sample(shown[None], grid[None, None], align_corners=False)[0, 0, 0]
            off = found - behind
            losses.append((off - off.median()).abs().mean())
    return torch.stack(losses).mean() if losses else depth.new_tensor(torch.nan)


def _or_zero(loss: Tensor) -> Tensor:
    """A mean over nothing counts nothing."""
    return loss if loss.isfinite() else torch.zeros_like(loss)


def _marked(rgb: Tensor, points: Tensor) -> Tensor:
    marked = rgb.clone()
    x, y = points.long().clamp(0, rgb.shape[-1] - 1).mT
    marked[:, y, x] = torch.tensor([[0.0], [1.0], [0.0]], device=rgb.device)
    return marked
