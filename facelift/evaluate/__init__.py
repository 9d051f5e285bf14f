"""The measurement behind `facelift evaluate`: held-out heads, baselines, photos, and a report."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

from facelift.cameras import canonical_rig, orbit_rig
from facelift.evaluate.protocols import (
    PROTOCOLS,
    WITH_BASELINES,
    HeldOutHeads,
    Score,
    TrainingMean,
    model_answers,
    portrait_answers,
    score,
    score_photos,
    training_mean,
)
from facelift.evaluate.report import RESULT_NAMES, Report, grid, grid_rows
from facelift.formats.files import atomic_folder
from facelift.pipeline import FaceLift
from facelift.results import find_photos

__all__ = ["Report", "evaluate"]

GRID_HEADS = 4
GRID_VIEWS = 6


@torch.no_grad()
def evaluate(
    model: FaceLift,
    heads: str | Path,
    out: str | Path,
    train: str | Path | None = None,
    photos: str | Path | None = None,
    people: int = 20,
    seed: int = 0,
    name: str = "mini",
) -> Report:
    """Measure a model by every protocol of `facelift.evaluate.protocols` and write the report.

    Args:
        heads: folder with `canonical/` and `orbit/` of held-out heads, as `facelift synth` writes them.
        out: folder for report.json, report.md and grid.png; they appear together or not at all.
        train: folder with `canonical/` and `orbit/` of training heads on the same rigs, for the baseline
            `mean`; where one is missing, the report says so.
        photos: a photo or a folder of them.
        people: how many held-out heads to take, the lowest seeds first.
        seed: of the view generator's noise.
        name: the model's, for the report.

    Raises:
        UserError: too few heads, another size or rig than the model's, or an `out` that cannot be written.
    """
    held_out = HeldOutHeads(heads, people, model.size)
    photo_paths = find_photos(Path(photos)) if photos is not None else []
    with atomic_folder(out, RESULT_NAMES) as aside:
        means = _training_means(train, held_out.views, model.size)
        scores: dict[str, dict[str, list[Score]]] = {protocol: {} for protocol in PROTOCOLS}
        pictures = []
        for i, head in enumerate(_track(held_out.names, "held-out heads")):
            person = held_out.load(head)
            answers = {
                "model": model_answers(model, person, seed),
                "mean": {protocol: mean.images for protocol, mean in means.items()},
                "portrait": portrait_answers(person),
            }
            for method, by_protocol in answers.items():
                for protocol, answer in by_protocol.items():
                    scores[protocol].setdefault(method, []).append(score(answer, person.truth(protocol)))
            if i < GRID_HEADS:
                some = torch.arange(0, held_out.views, -(-held_out.views // GRID_VIEWS))
                shown = (
                    person.orbit.images,
                    answers["model"]["reconstruction"],
                    answers["model"]["single-image"],
                )
                pictures += grid_rows(person.portrait, *(images[some] for images in shown))
        report = Report(
            model=name,
            size=model.size,
            seed=seed,
            heads=held_out.names,
            orbit_views=held_out.views,
            scores=scores,
            training_heads={protocol: mean.heads for protocol, mean in means.items()},
            not_measured={
                protocol: _what_is_missing(train, protocol)
                for protocol in WITH_BASELINES
                if protocol not in means
            },
            photos=score_photos(model, photo_paths, seed, partial(_track, what="photos"))
            if photo_paths
            else [],
        )
        report.write(aside, grid(pictures))
    return report


_RIG_OF = {"single-image": "orbit", "views": "canonical"}


def _training_means(train: str | Path | None, views: int, size: int) -> dict[str, TrainingMean]:
    """The baseline `mean` of each protocol whose training views are there."""
    rigs = {"orbit": orbit_rig(views, size), "canonical": canonical_rig(size)}
    means = {}
    for protocol, kind in _RIG_OF.items():
        if train is None or not (folder := Path(train, kind)).is_dir():
            continue
        mean = training_mean(folder, rigs[kind], kind, partial(_track, what=f"training heads, {kind}"))
        # The front view is not asked for in `views`.
        means[protocol] = TrainingMean(mean.images[1:], mean.heads) if protocol == "views" else mean
    return means


def _what_is_missing(train: str | Path | None, protocol: str) -> str:
    if train is None:
        return "no training heads were given (--train)"
    return f"{Path(train, _RIG_OF[protocol])} is not there"


def _track(items: Iterable[Any], what: str) -> Iterable[Any]:
    return track(items, what, console=Console(stderr=True), transient=True)
