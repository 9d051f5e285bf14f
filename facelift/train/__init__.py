"""The training loops behind `facelift train`, one for each of STAGES."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from facelift import old_names
from facelift.choices import Stage
from facelift.devices import choose_device
from facelift.errors import UserError
from facelift.old_names import renamed
from facelift.portrait.segment import SegmenterConfig
from facelift.reconstruct import GSLRMConfig
from facelift.train.autoencoder import AutoencoderTask, AutoencoderTraining
from facelift.train.config import LoopConfig, read_yaml, structured
from facelift.train.decoder import DecoderTask, DecoderTraining
from facelift.train.features import FeaturesConfig, FeaturesTask, FeaturesTraining
from facelift.train.loop import train
from facelift.train.portrait import PortraitTask, PortraitTraining
from facelift.train.reconstructor import ReconstructorTask, ReconstructorTraining
from facelift.train.views import ViewsTask, ViewsTraining
from facelift.views import ViewGeneratorConfig


@dataclass(frozen=True)
class StageParts:
    """What a stage is made of.

    Attributes:
        task: makes the task from the model's configuration, if there is one, the training's, and the device.
        training: the class of its `training`.
        model: the class of its `model`; None if that comes from an earlier stage.
        optional: whether the model may come from an earlier stage as well.
    """

    task: Callable[..., Any]
    training: type[Any]
    model: type[Any] | None = None
    optional: bool = False


STAGES: dict[Stage, StageParts] = {
    "autoencoder": StageParts(AutoencoderTask, AutoencoderTraining, ViewGeneratorConfig),
    "views": StageParts(ViewsTask, ViewsTraining, ViewGeneratorConfig, optional=True),
    "decoder": StageParts(DecoderTask, DecoderTraining),
    "reconstructor": StageParts(ReconstructorTask, ReconstructorTraining, GSLRMConfig),
    "portrait": StageParts(PortraitTask, PortraitTraining, SegmenterConfig),
    "features": StageParts(FeaturesTask, FeaturesTraining, FeaturesConfig),
}
EXTENSIBLE: tuple[Stage, ...] = ("views", "reconstructor")
"""Stages whose training can take in photos, and heads as they are drawn."""


def run(
    stage: Stage,
    config: str | Path,
    out: str | Path,
    max_minutes: float | None = None,
    device: str = "auto",
    unposed_photos: str | Path | None = None,
    streaming: bool = False,
) -> None:
    """Train one stage as its YAML file says, continuing what `out` holds.

    The file has up to four parts: `model` (what to build), `training` (the task's own), `validation` (what
    differs in the `training` to measure on held-out heads: the folders) and `loop` (LoopConfig).

    Args:
        stage: one of STAGES.
        config: the YAML file.
        out: folder for the checkpoint, logs, pictures and weights.
        max_minutes: the time box of the whole training, whichever runs it takes; None is no bound.
        device: a PyTorch device; "auto" is CUDA if there is any, else the CPU.
        unposed_photos: a folder of photos, of which no other views are known, that joins the training of
            views or of the reconstructor (`facelift.train.unposed`).
        streaming: whether these two take in heads that `facelift synth` draws meanwhile
            (`facelift.data.streaming`).

    Raises:
        UserError: an unknown stage, or one that can take in no photos or no heads as they come, a missing or
            malformed file, no data; the training diverged.
    """
    if stage not in STAGES:
        raise UserError(f"There is no stage {stage}: choose one of {', '.join(STAGES)}.")
    if unposed_photos is not None and stage not in EXTENSIBLE:
        raise UserError(f"Photos alone teach the {stage} nothing: they can join {' and '.join(EXTENSIBLE)}.")
    if streaming and stage not in EXTENSIBLE:
        raise UserError(f"Heads are taken in as they are drawn by {' and '.join(EXTENSIBLE)} alone.")
    place = choose_device(device)
    path, kind = Path(config), STAGES[stage]
    parts = read_yaml(path)
    known = {"training", "validation", "loop"} | ({"model"} if kind.model else set())
    if unknown := parts.keys() - known:
        raise UserError(f"{path}: unknown {', '.join(sorted(unknown))} in a configuration for {stage}.")
    model = {}
    if kind.model and ("model" in parts or not kind.optional):
        values = renamed(parts.get("model", {}), old_names.VIEW_GENERATOR | old_names.RECONSTRUCTOR)
        model["model"] = structured(kind.model, values, path, "model")
    values = renamed(parts.get("training", {}), old_names.TRAINING)
    training = structured(kind.training, values, path, "training")
    loop = structured(LoopConfig, renamed(parts.get("loop", {}), old_names.LOOP), path, "loop")
    if unposed_photos is not None:
        training = replace(training, unposed_photos=str(unposed_photos))
    if streaming:
        training = replace(training, streaming=True)
    with torch.random.fork_rng([place] if place.type == "cuda" else []):
        torch.manual_seed(loop.seed)  # the first weights
        try:
            task = kind.task(**model, training=training, device=place)
        except (TypeError, ValueError) as error:  # what diffusers refuses
            raise UserError(f"{path} is not a configuration for {stage}: {error}.") from None
    held_out = None
    if "validation" in parts:
        values = asdict(training) | renamed(parts["validation"], old_names.TRAINING)
        held_out = task.held_out(structured(kind.training, values, path, "validation"))
    train(task, loop, Path(out), math.inf if max_minutes is None else max_minutes, held_out)
