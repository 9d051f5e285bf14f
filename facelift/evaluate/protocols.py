"""Who is shown what, and what the answer is compared with.

    views             the true front view in, the five other canonical views out: stage 1 alone
    reconstruction    six true canonical views in, renders from the orbit's cameras out: stage 2 alone
    single-image      the true front view in, renders from the orbit's cameras out: the whole method
    front             the true front view in, the render from there out: does the head keep the portrait?

Every answer is compared at one resolution, the set's own unless another is asked for, from the set's own
cameras, on white: a model that works at another size gets its input resized, its imagined views are resized
back, and its Gaussians are drawn at that size. Real photos have no truth but the photo: `photo` is
`front` for them, and `turned` is measured by identity alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from facelift.cameras import Cameras, canonical_rig, orbit
from facelift.data.reader import HeadFolder, Views, resized
from facelift.evaluate.baselines import (
    WHITE,
    MeanHead,
    MeanImages,
    billboard,
    colored,
    rendered,
)
from facelift.evaluate.metrics import Answer, Measure, Question, rounded
from facelift.evaluate.sets import Sample, TestSet, matching
from facelift.gaussians import Gaussians
from facelift.pipeline import FaceLift, Head, Progress

QUESTIONS = {
    "views": "the front view in, the five other canonical views out (stage 1)",
    "reconstruction": "six true views in, orbit out (stage 2)",
    "single-image": "the front view in, orbit out (all of it)",
    "front": "the front view in, the render from there out",
    "photo": "a photo in, the front render out, against the prepared portrait",
    "turned": "a photo in, renders up to 30 degrees aside out: is it still that person?",
}
PROTOCOLS = tuple(QUESTIONS)
ORBITS = ("reconstruction", "single-image")
OF_PHOTOS = ("photo", "turned")
TURNS = (-30.0, -20.0, -10.0, 10.0, 20.0, 30.0)  # degrees of azimuth of the renders of photos
WITH_BASELINES = ("views", "single-image")
BASELINES = ("mean", "billboard", "mean_head")

Answers = dict[str, dict[str, Answer]]  # protocol -> method -> answer
Scores = dict[str, dict[str, dict[str, list[float | None]]]]  # protocol -> method -> measure -> one a view


def questions(sample: Sample) -> dict[str, Question]:
    """What can be asked of a sample: the orbit's questions only where there is an orbit."""
    six = _as_png(sample.canonical)
    portrait = six.images[0]
    asked = {
        "views": Question(portrait, _some(six, [1, 2, 3, 4, 5])),
        "front": Question(portrait, _some(six, [0])),
    }
    if sample.orbit is not None:
        orbit = Question(portrait, _as_png(sample.orbit))
        asked |= {"reconstruction": orbit, "single-image": orbit}
    return {protocol: asked[protocol] for protocol in PROTOCOLS if protocol in asked}


def model_answers(
    model: FaceLift, sample: Sample, asked: Mapping[str, Question], seed: int
) -> dict[str, Answer]:
    """What the model says to every question; views are given to it cut out, with their coverage."""
    portrait, six = asked["front"].portrait, sample.canonical
    head = model(_cut_out(portrait, six.alpha[0]).movedim(0, -1).numpy(), seed=seed, prepared=True)
    answers = {
        "views": Answer(resized(head.views[1:].cpu(), portrait.shape[-1])),
        "front": rendered(head.gaussians, asked["front"].truth.cameras),
    }
    if "single-image" in asked:
        cameras = asked["single-image"].truth.cameras
        answers["single-image"] = rendered(head.gaussians, cameras)
        layers = torch.cat([rounded(six.images), six.alpha], dim=1)
        answers["reconstruction"] = rendered(model.reconstruct(resized(layers, model.size)), cameras)
    return answers


class Baselines:
    """The baselines, and why any of them is missing.

    Args:
        train: folder with `canonical/` and `orbit/` of training heads, from the set's own cameras; or None.
        test: the set.
        progress: wraps the training heads.

    Raises:
        UserError: a folder without training heads, or with damaged ones.
    """

    def __init__(self, train: Path | None, test: TestSet, progress: Progress = iter) -> None:
        self.missing: dict[str, str] = {}
        self._means: dict[str, Answer] = {}
        self._head: Gaussians | None = None
        rigs = {
            "views": ("canonical", canonical_rig(test.size)[[1, 2, 3, 4, 5]]),
            "single-image": ("orbit", test.orbit_cameras(test.names[0])),
        }
        for protocol, (kind, rig) in rigs.items():
            if rig is None:
                continue
            try:
                if kind == "orbit" and not _shared(rig, test):
                    raise _MissingError("the set's heads were not all seen from the same cameras")
                self._means[protocol] = _mean_images(train, kind, rig, progress)
            except _MissingError as reason:
                self.missing[f"mean, {protocol}"] = str(reason)
        try:
            self._head = _mean_head(train, progress)
        except _MissingError as reason:
            self.missing["mean_head"] = str(reason)

    def answers(self, protocol: str, question: Question, front: Views) -> dict[str, Answer]:
        """What each of them says to one question of a sample with that front view."""
        cameras = question.truth.cameras
        said = {}
        if protocol in self._means:
            said["mean"] = self._means[protocol]
        said["billboard"] = billboard(question.portrait, front.alpha[0], cameras)
        if self._head is not None:
            said["mean_head"] = rendered(colored(self._head, question.portrait), cameras)
        return said


def score(
    answers: Mapping[str, Answer], question: Question, measures: Iterable[Measure]
) -> dict[str, dict[str, list[float | None]]]:
    """method -> measure -> one number a view, None where there is none."""
    scores: dict[str, dict[str, list[float | None]]] = {}
    for method, answer in answers.items():
        answer = replace(answer, images=rounded(answer.images))
        scores[method] = {}
        for measure in measures:
            values = measure.of(answer, question)
            if values is not None:
                scores[method][measure.key] = [None if v != v else v for v in values.tolist()]
    return scores


def truth_answer(question: Question) -> Answer:
    """The truth as its own answer: what a measure that knows no truth says of it."""
    return Answer(question.truth.images, question.truth.alpha, question.truth.depth)


def photo_question(portrait: Tensor) -> Question:
    """A prepared portrait as the truth of its own front view; what is not white counts as the head."""
    portrait = rounded(portrait.cpu())
    alpha = (portrait.amin(0, keepdim=True) < WHITE).float()
    return Question(portrait, Views(portrait[None], alpha[None], None, canonical_rig(portrait.shape[-1])[0]))


def turned_question(portrait: Tensor) -> Question:
    """A prepared portrait, and what nobody knows: what the person looks like from a little aside."""
    cameras = orbit(TURNS, [0.0] * len(TURNS), portrait.shape[-1])
    unknown = portrait.new_full((len(TURNS), 4, *portrait.shape[1:]), torch.nan, device="cpu")
    return Question(rounded(portrait.cpu()), Views(unknown[:, :3], unknown[:, 3:], None, cameras))


def photo_answer(head: Head, question: Question) -> Answer:
    """The head from where it is asked."""
    return rendered(head.gaussians, question.truth.cameras)


class _MissingError(Exception):
    """Why a baseline cannot be made."""


def _mean_images(train: Path | None, kind: str, rig: Cameras, progress: Progress) -> Answer:
    folder = _training_heads(train, kind)
    mean = MeanImages()
    for name in progress(folder.heads):
        views = folder.load(name)
        chosen = matching(views.cameras, rig)
        if chosen is None:
            raise _MissingError(f"{folder.root / name} was not seen from the set's own cameras")
        mean.add(_some(views.resized(rig.width), chosen))
    return mean.answer()


def _mean_head(train: Path | None, progress: Progress) -> Gaussians:
    folder = _training_heads(train, "canonical")
    if not (folder.root / folder.heads[0] / "depth").is_dir():
        raise _MissingError(f"{folder.root} has no depth")
    mean = MeanHead()
    for name in progress(folder.heads):
        mean.add(folder.load(name, depth=True))
    return mean.gaussians()


def _training_heads(train: Path | None, kind: str) -> HeadFolder:
    if train is None:
        raise _MissingError("no training heads were given (--train)")
    if not (train / kind).is_dir():
        raise _MissingError(f"{train / kind} is not there")
    return HeadFolder(train / kind)


def _shared(rig: Cameras, test: TestSet) -> bool:
    """Whether all samples have these cameras, and no others."""
    others = (test.orbit_cameras(name) for name in test.names)
    return all(other and len(other) == len(rig) and matching(other, rig) for other in others)


def _cut_out(image: Tensor, alpha: Tensor) -> Tensor:
    """(4, H, W) straight RGBA of (3, H, W) on white and its (1, H, W) coverage."""
    color = (image - (1 - alpha)) / alpha.clamp_min(1 / 255)
    return torch.cat([color, alpha]).clamp(0, 1)


def _as_png(views: Views) -> Views:
    return replace(views, images=rounded(views.images))


def _some(views: Views, chosen: Sequence[int]) -> Views:
    chosen = list(chosen)
    depth = None if views.depth is None else views.depth[chosen]
    return Views(views.images[chosen], views.alpha[chosen], depth, views.cameras[chosen])
