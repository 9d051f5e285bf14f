"""What is measured: who is shown what, and what the answer is compared with.

Synthetic heads that were never trained on, whose every view is known:

    reconstruction    six true canonical views in, renders from the orbit's cameras out: stage 2
    single-image      the true front view in, renders from the orbit's cameras out: the whole method
    views             the true front view in, the five other canonical views out: stage 1

The front view itself is not scored in `views`: it is the input. Two baselines answer the questions that
start from one image, with the same cameras, white background and resolution:

    mean              the mean image of the training heads, for each view
    portrait          the portrait itself, from everywhere

Real photos have no truth but the photo: the front render is compared with the prepared portrait.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from facelift.cameras import Cameras, canonical_rig, orbit_rig
from facelift.errors import UserError
from facelift.evaluate.metrics import psnr
from facelift.pipeline import FaceLift, Progress
from facelift.render import render
from facelift.train.data import HeadFolder, Views

PROTOCOLS = ("reconstruction", "single-image", "views")
WITH_BASELINES = ("single-image", "views")

Answers = dict[str, Tensor]  # protocol -> (V, 3, S, S)


@dataclass(frozen=True)
class Person:
    """All views of one held-out head; `canonical` has six."""

    name: str
    canonical: Views
    orbit: Views

    @property
    def portrait(self) -> Tensor:
        """(3, S, S), the true front view."""
        return self.canonical.images[0]

    def truth(self, protocol: str) -> Views:
        """What the right answer is."""
        if protocol != "views":
            return self.orbit
        six = self.canonical
        return Views(six.images[1:], six.alpha[1:], None, six.cameras[1:])


class HeldOutHeads:
    """The first `count` held-out heads that `root/canonical` and `root/orbit` both hold.

    Args:
        root: a folder with `canonical/` and `orbit/`, each as `facelift synth` writes it.
        size: side of the views in pixels, which must be the model's.

    Raises:
        UserError: too few held-out heads, another size, another rig.
    """

    def __init__(self, root: str | Path, count: int, size: int) -> None:
        root = Path(root)
        self.canonical = HeadFolder(root / "canonical", held_out=True)
        self.orbit = HeadFolder(root / "orbit", held_out=True)
        self.names = sorted({*self.canonical.heads} & {*self.orbit.heads})[:count]
        if len(self.names) < count:
            raise UserError(
                f"{root} has {len(self.names)} held-out heads in both canonical/ and orbit/, not {count}: "
                "make more with `facelift synth`, or give a smaller --heads."
            )
        self.views = self.orbit.count(self.names[0])
        for name in self.names:
            _check(self.canonical, name, canonical_rig(size), "canonical")
            _check(self.orbit, name, orbit_rig(self.views, size), "orbit")

    def __len__(self) -> int:
        return len(self.names)

    def load(self, name: str) -> Person:
        person = Person(name, self.canonical.load(name), self.orbit.load(name))
        for views in (person.canonical, person.orbit):
            if not (views.alpha > 0.5).flatten(1).any(1).all():
                raise UserError(f"{name} is invisible in one of its views: make that head again.")
        return person


@dataclass(frozen=True)
class TrainingMean:
    """The baseline `mean`: (V, 3, S, S) over `heads` training heads, on a protocol's rig."""

    images: Tensor
    heads: int


def training_mean(root: Path, rig: Cameras, kind: str, progress: Progress = iter) -> TrainingMean:
    """The mean image of each view over the training heads in `root`, which must be on the rig.

    Raises:
        UserError: no training heads, or another size or rig.
    """
    folder = HeadFolder(root)
    total = torch.zeros(len(rig), 3, rig.height, rig.width)
    for name in progress(folder.heads):
        _check(folder, name, rig, kind)
        total += folder.load(name).images
    return TrainingMean(total / len(folder), len(folder))


def model_answers(model: FaceLift, person: Person, seed: int) -> Answers:
    """What the model says, for every protocol."""
    head = model(person.portrait.movedim(0, -1).numpy(), seed=seed, prepared=True)
    gaussians = model.reconstruct(person.canonical.images)
    return {
        "reconstruction": render(gaussians, person.orbit.cameras).image.cpu(),
        "single-image": head.render(person.orbit.cameras).cpu(),
        "views": head.views[1:].cpu(),
    }


def portrait_answers(person: Person) -> Answers:
    """The portrait, from everywhere."""
    return {protocol: person.portrait.expand_as(person.truth(protocol).images) for protocol in WITH_BASELINES}


@dataclass(frozen=True)
class Score:
    """One answer for one person: (V,) dB over the whole image, and over the true silhouette (alpha > 0.5)."""

    psnr: Tensor
    masked: Tensor


def score(answer: Tensor, truth: Views) -> Score:
    return Score(psnr(answer, truth.images), psnr(answer, truth.images, truth.alpha > 0.5))


@dataclass(frozen=True)
class PhotoScore:
    """How well the front render keeps a photo: dB, or why there is none."""

    photo: str
    psnr: float | None
    error: str | None = None


def score_photos(
    model: FaceLift, photos: Sequence[Path], seed: int, progress: Progress = iter
) -> list[PhotoScore]:
    """PSNR of the front render against the prepared portrait, for each photo."""
    front = canonical_rig(model.size)[0]
    scores = []
    for photo in progress(photos):
        try:
            head = model(photo, seed=seed)
        except UserError as error:
            scores.append(PhotoScore(photo.name, None, str(error)))
        else:
            scores.append(PhotoScore(photo.name, psnr(head.render(front), head.portrait[None]).item()))
    return scores


def _check(folder: HeadFolder, name: str, rig: Cameras, kind: str) -> None:
    """Scores of other cameras or another resolution would not be comparable."""
    found, head = folder.cameras(name), folder.root / name
    if (found.width, found.height) != (rig.width, rig.height):
        raise UserError(
            f"{head} is {found.width} x {found.height} pixels, the model's views {rig.width} x {rig.height}: "
            f"make the heads again with `facelift synth --size {rig.width}`."
        )
    if (
        len(found) != len(rig)
        or not torch.allclose(found.w2c, rig.w2c, atol=1e-4)
        or not torch.allclose(found.intrinsics, rig.intrinsics, rtol=1e-4)
    ):
        raise UserError(
            f"{head} does not have the {len(rig)} views of the {kind} rig: "
            f"make the heads again with `facelift synth --rig {kind} --views {len(rig)}`."
        )
