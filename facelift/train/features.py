"""A network that knows faces, for losses that compare what pictures show and not pixels alone.

The paper's perceptual loss takes VGG-19, trained on photos of a thousand kinds of things (Simonyan and
Zisserman, ICLR 2015), which has to be fetched. Ours learns from synthetic people, whose parts,
identity and expression are known. Its features are then compared
as Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric" (CVPR 2018), compare
those of other networks. It is used in training alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facelift.data.parts import PARTS
from facelift.data.reader import HeadFolder
from facelift.devices import autocast
from facelift.errors import UserError
from facelift.train.augment import random_photometry
from facelift.train.task import Loss, channels_last
from facelift.weights import load_weights, save_model

GROUP_SIZE = 8  # channels that are normalised together
PIXEL_UNSHUFFLE = 2  # side of the blocks whose pixels become channels
PART_CLASSES = len(PARTS) + 1  # of the segmentation: the parts, and all else as one
FACE_VIEWS = (0, 1, 5)  # the canonical views that show the face
EXPRESSION_UNIT = re.compile(r"expression/units/[^/]+/(.+)")  # a morph target that moves one part of a face
TEMPERATURE = 0.1  # of likeness, when one of a batch is to be recognised
MIN_EXPRESSION_WEIGHT = 0.15  # of an expression unit, in [0, 1], from which a face is labelled with it


@dataclass(frozen=True)
class FeaturesConfig:
    """The size of the network.

    Attributes:
        widths: channels at each resolution, the finest first, which is half that of the picture; two at
            least, multiples of GROUP_SIZE.
        identity: numbers that say who it is.
        expressions: units of expression, by name; a training takes those of its heads.
    """

    widths: tuple[int, ...] = (32, 64, 96, 128)
    identity: int = 64
    expressions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.widths) < 2 or any(width % GROUP_SIZE for width in self.widths):
            raise ValueError(f"widths are two or more multiples of {GROUP_SIZE}, not {self.widths}")

    def to_dict(self) -> dict[str, object]:
        """Plain values, as JSON holds them."""
        return asdict(self)


@dataclass(frozen=True)
class FeaturesTraining:
    """What the network of features learns from.

    Attributes:
        data: folder of heads, canonical rig, with all truth (`facelift synth --truth all`).
        segmentation_weight, identity_weight, expression_weight: of the three losses.
    """

    data: str
    segmentation_weight: float = 1.0
    identity_weight: float = 0.5
    expression_weight: float = 1.0


@dataclass(frozen=True)
class FeatureOutput:
    """What the network makes of N pictures.

    Attributes:
        parts: (N, PART_CLASSES, H / 4, W / 4) logits of the part that each place shows.
        identity: (N, D), of length one: near each other for one person.
        expression: (N, E) logits of each unit of expression.
    """

    parts: Tensor
    identity: Tensor
    expression: Tensor


class Features(nn.Module):
    """Pictures (N, 3, H, W) in [0, 1] on white become features at each resolution, and what they mean."""

    def __init__(self, config: FeaturesConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.blocks = nn.ModuleList(_block(a, b) for a, b in pairwise((3 * PIXEL_UNSHUFFLE**2, *widths)))
        self.part_heads = nn.ModuleList(nn.Conv2d(width, PART_CLASSES, 1) for width in widths[1:])
        self.identity_head = nn.Linear(2 * widths[-1], config.identity)
        self.expression_head = nn.Linear(2 * widths[-1], len(config.expressions))

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, C, H / 2^i, W / 2^i) for each of the widths C, i from 1 on."""
        x = F.pixel_unshuffle(images * 2 - 1, PIXEL_UNSHUFFLE).contiguous(memory_format=torch.channels_last)
        features: list[Tensor] = []
        for block in self.blocks:
            x = block(F.avg_pool2d(x, 2) if features else x)
            features.append(x)
        return features

    def predict(self, images: Tensor) -> FeatureOutput:
        """Pictures (N, 3, H, W) in [0, 1] on white become what they mean."""
        features = self(images)
        fine = features[1].shape[-2:]
        parts = [
            F.interpolate(head(x), fine, mode="bilinear", align_corners=False)
            for head, x in zip(self.part_heads, features[1:], strict=True)
        ]
        whole = torch.cat([features[-1].mean((2, 3)), features[-1].amax((2, 3))], dim=1)
        return FeatureOutput(
            torch.stack(parts).sum(dim=0),
            F.normalize(self.identity_head(whole), dim=-1),
            self.expression_head(whole),
        )


FeatureNetwork = Callable[[Tensor], list[Tensor]]
"""Pictures (N, 3, H, W) in [0, 1] become features (N, C, h, w) at some resolutions."""


def perceptual_loss(features: FeatureNetwork, images: Tensor, truth: Tensor) -> Tensor:
    """Mean squared difference of the features of two sets of pictures (N, 3, H, W), each of length one.

    The mean over places, summed over resolutions: 0 for the same pictures, of the order of 1 for others.
    """
    with torch.no_grad():
        wanted = features(truth)
    pairs = zip(features(images), wanted, strict=True)
    return torch.stack(
        [
            (F.normalize(shown, dim=1) - F.normalize(true, dim=1)).square().sum(dim=1).mean()
            for shown, true in pairs
        ]
    ).sum()


def load_features(folder: Path) -> Features:
    """A trained network, to be compared by; raises UserError."""
    model = load_weights(Features, FeaturesConfig, folder)
    channels_last(model)
    return model


class FeaturesTask:
    """Training of a network that knows faces."""

    def __init__(self, model: FeaturesConfig, training: FeaturesTraining, device: torch.device) -> None:
        self.device, self.training = device, training
        self._open(training, held_out=False)
        names = {name for expression in self.expressions.values() for name in expression}
        if not names:
            raise UserError(f"No face in {training.data} has an expression: draw more heads.")
        self.model = Features(FeaturesConfig(model.widths, model.identity, tuple(sorted(names))))
        self.model.to(device)
        channels_last(self.model)

    def _open(self, training: FeaturesTraining, held_out: bool) -> None:
        self.folder = HeadFolder(training.data, held_out)
        self.expressions = {head: _expression(self.folder.person(head)) for head in self.folder.heads}

    def held_out(self, training: FeaturesTraining) -> FeaturesTask:
        """The same model on the held-out heads of this folder."""
        other = copy(self)
        other.training = training
        other._open(training, held_out=True)
        return other

    def losses(self, step: int, batch: int, rng: torch.Generator) -> Iterator[Loss]:
        """Two pictures of each of `batch` people, in two lights."""
        chosen = torch.randperm(len(self.folder), generator=rng)[:batch].tolist()
        images: list[Tensor] = []
        parts: list[Tensor] = []
        shown: list[Tensor] = []
        for head in (self.folder.heads[i] for i in chosen):
            views = [_one(FACE_VIEWS, rng), _one(range(6), rng)]
            for view in views:
                images.append(random_photometry(rng)(self.folder.load(head, [view]).images))
                shown.append(
                    self._shown(head) if view in FACE_VIEWS else torch.full_like(shown[-1], torch.nan)
                )
            parts.append(self._parts(head, views))
        with autocast(self.device):
            found = self.model.predict(torch.cat(images).to(self.device))
        losses = self._losses(found, torch.cat(parts).to(self.device), torch.stack(shown).to(self.device))
        total = torch.stack([*losses.values()]).sum()
        yield Loss(total, {name: loss.detach() for name, loss in losses.items()}, batch)

    def _losses(self, found: FeatureOutput, parts: Tensor, shown: Tensor) -> dict[str, Tensor]:
        training, logits = self.training, found.parts.float()
        step = parts.shape[-1] // logits.shape[-1]
        middle = parts[:, step // 2 :: step, step // 2 :: step]
        labelled = shown.isfinite()
        likeness = found.identity.float() @ found.identity.float().mT / TEMPERATURE
        likeness = likeness.masked_fill(torch.eye(len(likeness), device=self.device).bool(), -torch.inf)
        other = torch.arange(len(likeness), device=self.device) ^ 1  # the same person's
        return {
            "parts": training.segmentation_weight * F.cross_entropy(logits, middle),
            "identity": training.identity_weight * F.cross_entropy(likeness, other),
            "expression": training.expression_weight
            * F.binary_cross_entropy_with_logits(found.expression.float()[labelled], shown[labelled]),
        }

    def _parts(self, head: str, views: list[int]) -> Tensor:
        """(V, H, W) which of the PART_CLASSES each pixel is."""
        return self.folder.parts(head, views).long().clamp_max(PART_CLASSES - 1)

    def _shown(self, head: str) -> Tensor:
        """(E,) 1 for the units of expression that a face shows."""
        weights = self.expressions[head]
        return torch.tensor(
            [float(weights.get(name, 0.0) > MIN_EXPRESSION_WEIGHT) for name in self.model.config.expressions]
        )

    @torch.no_grad()
    def picture(self) -> Tensor:
        """Six faces above the parts that the network sees in them, and those that there are."""
        heads = self.folder.heads[:: max(1, len(self.folder) // 6)][:6]
        images = torch.cat([self.folder.load(head, [0]).images for head in heads])
        found = self.model.predict(images.to(self.device)).parts.argmax(1).cpu()
        true = torch.cat([self._parts(head, [0]) for head in heads])
        rows = [images]
        for parts in (found, true):
            grey = parts[:, None].float() / PART_CLASSES
            rows.append(F.interpolate(grey, images.shape[-2:]).expand_as(images))
        return torch.cat([torch.cat([*row], dim=2) for row in rows], dim=1)

    def export(self, folder: Path) -> None:
        """Write the network that `load_features` reads."""
        save_model(self.model, folder / "features")


def _expression(person: dict[str, Any]) -> dict[str, float]:
    """Weights of the units of expression, those of all ethnicities together."""
    weights: dict[str, float] = {}
    for target, weight in person["targets"].items():
        if unit := EXPRESSION_UNIT.fullmatch(target):
            weights[unit[1]] = weights.get(unit[1], 0.0) + weight
    return weights


def _block(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, width, 3, padding=1),
        nn.SiLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.GroupNorm(width // GROUP_SIZE, width),
        nn.SiLU(),
    )


def _one(of: tuple[int, ...] | range, rng: torch.Generator) -> int:
    return of[int(torch.randint(len(of), (), generator=rng))]
