"""What a model is shown, and what its prediction is compared with.

    views             the true front view in, the five other canonical views out: stage 1 alone
    reconstruction    six true canonical views in, renders from the orbit's cameras out: stage 2 alone
    single-image      the true front view in, renders from the orbit's cameras out: the whole method
    novel-views       the same on a public benchmark, see `facelift.evaluate.benchmarks`
    front             the true front view in, the render from there out: does the head keep the portrait?

Every prediction is compared at one resolution, the set's own unless another is asked for, from the set's own
cameras, on white: a model that works at another size gets its input resized, its generated views are resized
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
from facelift.data.reader import HeadFolder, Views, resize_images
from facelift.evaluate.baselines import (
    WHITE,
    MeanHead,
    MeanImages,
    billboard,
    colored,
    rendered,
)
from facelift.evaluate.metrics import Measure, Prediction, Target, rounded
from facelift.evaluate.sets import Sample, TestSet, matching
from facelift.gaussians import Gaussians
from facelift.head import Head, Progress
from facelift.pipeline import FaceLift

DESCRIPTIONS = {
    "views": "the front view in, the five other canonical views out (stage 1)",
    "reconstruction": "six true views in, orbit out (stage 2)",
    "single-image": "the front view in, orbit out (all of it)",
    "front": "the front view in, the render from there out",
    "novel-views": "one photo of a benchmark in, its other cameras out",
    "photo": "a photo in, the front render out, against the prepared portrait",
    "turned": "a photo in, renders up to 30 degrees aside out: is it still that person?",
}
PROTOCOLS = tuple(DESCRIPTIONS)
ORBIT_PROTOCOLS = ("reconstruction", "single-image")
AZIMUTH_PROTOCOLS = (*ORBIT_PROTOCOLS, "novel-views")  # whose views surround the head
PHOTO_PROTOCOLS = ("photo", "turned")
TURN_AZIMUTHS = (-30.0, -20.0, -10.0, 10.0, 20.0, 30.0)  # degrees of azimuth of the renders of photos
BASELINE_PROTOCOLS = ("views", "single-image", "novel-views")
BASELINES = ("mean", "billboard", "mean_head")

Predictions = dict[str, dict[str, Prediction]]  # protocol -> method -> prediction
Scores = dict[str, dict[str, dict[str, list[float | None]]]]  # protocol -> method -> measure -> one a view


def targets_of(sample: Sample) -> dict[str, Target]:
    """A sample's target in every protocol; those of the orbit only where there is an orbit."""
    six = _as_png(sample.canonical)
    portrait = six.images[0]
    targets = {
        "views": Target(portrait, _some(six, [1, 2, 3, 4, 5])),
        "front": Target(portrait, _some(six, [0])),
    }
    if sample.orbit is not None:
        orbit = Target(portrait, _as_png(sample.orbit))
        targets |= {"reconstruction": orbit, "single-image": orbit}
    return {protocol: targets[protocol] for protocol in PROTOCOLS if protocol in targets}


def model_predictions(
    model: FaceLift, sample: Sample, targets: Mapping[str, Target], seed: int
) -> dict[str, Prediction]:
    """What the model predicts for every target; it is given views cut out, with their coverage."""
    portrait, six = targets["front"].portrait, sample.canonical
    head = model(_cut_out(portrait, six.alpha[0]).movedim(0, -1).numpy(), seed=seed, prepared=True)
    predictions = {
        "views": Prediction(resize_images(head.views[1:].cpu(), portrait.shape[-1])),
        "front": rendered(head.gaussians, targets["front"].truth.cameras),
    }
    if "single-image" in targets:
        cameras = targets["single-image"].truth.cameras
        predictions["single-image"] = rendered(head.gaussians, cameras)
        layers = torch.cat([rounded(six.images), six.alpha], dim=1)
        predictions["reconstruction"] = rendered(
            model.reconstruct(resize_images(layers, model.size)), cameras
        )
    return predictions


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
        self._means: dict[str, Prediction] = {}
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

    def predictions(self, protocol: str, target: Target, front: Views) -> dict[str, Prediction]:
        """What each of them predicts for one target of a sample with that front view."""
        cameras = target.truth.cameras
        predicted = {}
        if protocol in self._means:
            predicted["mean"] = self._means[protocol]
        predicted["billboard"] = billboard(target.portrait, front.alpha[0], cameras)
        if self._head is not None:
            predicted["mean_head"] = rendered(colored(self._head, target.portrait), cameras)
        return predicted


def score(
    predictions: Mapping[str, Prediction], target: Target, measures: Iterable[Measure]
) -> dict[str, dict[str, list[float | None]]]:
    """method -> measure -> one number a view, None where there is none."""
    scores: dict[str, dict[str, list[float | None]]] = {}
    for method, prediction in predictions.items():
        prediction = replace(prediction, images=rounded(prediction.images))
        scores[method] = {}
        for measure in measures:
            values = measure.of(prediction, target)
            if values is not None:
                scores[method][measure.key] = [None if v != v else v for v in values.tolist()]
    return scores


def truth_as_prediction(target: Target) -> Prediction:
    """The truth as a prediction: what a measure that needs no truth gives for it."""
    return Prediction(target.truth.images, target.truth.alpha, target.truth.depth)


def photo_target(portrait: Tensor) -> Target:
    """A prepared portrait as the truth of its own front view; what is not white counts as the head."""
    portrait = rounded(portrait.cpu())
    alpha = (portrait.amin(0, keepdim=True) < WHITE).float()
    return Target(portrait, Views(portrait[None], alpha[None], None, canonical_rig(portrait.shape[-1])[0]))


def turned_target(portrait: Tensor) -> Target:
    """A prepared portrait, and what nobody knows: what the person looks like from a little aside."""
    cameras = orbit(TURN_AZIMUTHS, [0.0] * len(TURN_AZIMUTHS), portrait.shape[-1])
    unknown = portrait.new_full((len(TURN_AZIMUTHS), 4, *portrait.shape[1:]), torch.nan, device="cpu")
    return Target(rounded(portrait.cpu()), Views(unknown[:, :3], unknown[:, 3:], None, cameras))


def photo_prediction(head: Head, target: Target) -> Prediction:
    """The head from the target's cameras."""
    return rendered(head.gaussians, target.truth.cameras)


class _MissingError(Exception):
    """Why a baseline cannot be made."""


def _mean_images(train: Path | None, kind: str, rig: Cameras, progress: Progress) -> Prediction:
    folder = _training_heads(train, kind)
    mean = MeanImages()
    for name in progress(folder.heads):
        views = folder.load(name)
        chosen = matching(views.cameras, rig)
        if chosen is None:
            raise _MissingError(f"{folder.root / name} was not seen from the set's own cameras")
        mean.add(_some(views.resized(rig.width), chosen))
    return mean.prediction()


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
