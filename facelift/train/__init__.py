"""The training loops behind `facelift train`, one for each stage."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, get_args

import torch
import yaml

from facelift.choices import Stage
from facelift.errors import UserError
from facelift.portrait.segment import SegmenterConfig
from facelift.reconstruct import GSLRMConfig
from facelift.train.autoencoder import AutoencoderTask, AutoencoderTraining
from facelift.train.decoder import DecoderTask, DecoderTraining
from facelift.train.features import FeaturesConfig, FeaturesTask, FeaturesTraining
from facelift.train.loop import LoopConfig, Task, train
from facelift.train.portrait import PortraitTask, PortraitTraining
from facelift.train.reconstructor import ReconstructorTask, ReconstructorTraining
from facelift.train.views import ViewsTask, ViewsTraining
from facelift.views import ViewGeneratorConfig

GROWING = ("views", "reconstructor")  # they can take in photos, and heads as they are drawn


def run(
    stage: Stage,
    config: str | Path,
    out: str | Path,
    max_minutes: float | None = None,
    device: str = "auto",
    wild: str | Path | None = None,
    live: bool = False,
) -> None:
    """Train one stage as its YAML file says, continuing what `out` holds.

    The file has up to three parts: `model` (what to build), `training` (the task's own), `loop` (LoopConfig).

    `wild`, a folder of photos, joins the training of views or of the reconstructor
    (`facelift.train.unposed`).
    With `live`, these two take in heads that `facelift synth` draws meanwhile (`facelift.data.streaming`).

    Raises:
        UserError: an unknown stage, or one that can take in no photos or no heads as they come, a missing or
            malformed file, no data.
    """
    if stage not in get_args(Stage):
        raise UserError(f"There is no stage {stage}: choose one of {', '.join(get_args(Stage))}.")
    if wild is not None and stage not in GROWING:
        raise UserError(f"Photos alone teach the {stage} nothing: they can join {' and '.join(GROWING)}.")
    if live and stage not in GROWING:
        raise UserError(f"Heads are taken in as they are drawn by {' and '.join(GROWING)} alone.")
    path = Path(config)
    try:
        parts = yaml.safe_load(path.read_text())
        if wild is not None:
            parts["training"]["wild"] = str(wild)
        if live:
            parts["training"]["live"] = True
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        loop = LoopConfig(**parts.get("loop", {}))
        torch.manual_seed(loop.seed)  # the first weights
        task = _task(stage, parts, torch.device(device))
    except OSError:
        raise UserError(f"{path} cannot be read: give the path of a training configuration.") from None
    except (yaml.YAMLError, TypeError, ValueError, AttributeError, KeyError) as error:
        raise UserError(f"{path} is not a configuration for {stage}: {error}.") from None
    train(task, loop, Path(out), math.inf if max_minutes is None else max_minutes)


def _task(stage: str, parts: dict[str, Any], device: torch.device) -> Task:
    training = parts["training"]
    if stage == "autoencoder":
        return AutoencoderTask(ViewGeneratorConfig(**parts["model"]), AutoencoderTraining(**training), device)
    if stage == "views":
        return ViewsTask(ViewsTraining(**training), device)
    if stage == "decoder":
        return DecoderTask(DecoderTraining(**training), device)
    if stage == "portrait":
        return PortraitTask(SegmenterConfig(**parts.get("model", {})), PortraitTraining(**training), device)
    if stage == "features":
        return FeaturesTask(FeaturesConfig(**parts.get("model", {})), FeaturesTraining(**training), device)
    model = GSLRMConfig.from_dict(**parts["model"])
    return ReconstructorTask(model, ReconstructorTraining(**training), device)
