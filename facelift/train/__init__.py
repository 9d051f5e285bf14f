"""The training loops behind `facelift train`, one for each stage.

What the stages train is imported when one is: processes that only read data need none of it.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from facelift import old_names
from facelift.choices import Stage
from facelift.errors import UserError
from facelift.old_names import renamed
from facelift.train.config import LoopConfig, read_yaml, structured
from facelift.train.distributed import joined, require_same, together, world_size
from facelift.train.loop import train
from facelift.train.memory import explaining_memory

EXTENSIBLE: tuple[Stage, ...] = ("views", "reconstructor")
"""Stages whose training can take in photos and heads as they are drawn, and that processes can share."""


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
            malformed file, no data; the training diverged; processes that do not fit each other, one that
            ended.
    """
    from facelift.train.stages import STAGES

    if stage not in STAGES:
        raise UserError(f"There is no stage {stage}: choose one of {', '.join(STAGES)}.")
    if unposed_photos is not None and stage not in EXTENSIBLE:
        raise UserError(f"Photos alone teach the {stage} nothing: they can join {' and '.join(EXTENSIBLE)}.")
    if streaming and stage not in EXTENSIBLE:
        raise UserError(f"Heads are taken in as they are drawn by {' and '.join(EXTENSIBLE)} alone.")
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
    _check_processes(stage, loop)
    limit = math.inf if max_minutes is None else max_minutes
    with joined(device) as place:
        require_same("configuration", _digest([stage, parts, limit, bool(unposed_photos), streaming]))
        with (
            explaining_memory(training, loop),
            together(),
            torch.random.fork_rng([place] if place.type == "cuda" else []),
        ):
            torch.manual_seed(loop.seed)  # the first weights
            try:
                task = kind.task(**model, training=training, device=place)
            except (TypeError, ValueError) as error:  # what diffusers refuses
                raise UserError(f"{path} is not a configuration for {stage}: {error}.") from None
            held_out = None
            if "validation" in parts:
                values = asdict(training) | renamed(parts["validation"], old_names.TRAINING)
                held_out = task.held_out(structured(kind.training, values, path, "validation"))
        if stage in EXTENSIBLE and not streaming:
            names = task.names
            require_same("number of heads in its folders", str(len(names)))
            require_same("choice of heads in its folders", _digest(names))
        with explaining_memory(training, loop):
            train(task, loop, Path(out), limit, held_out)


def _check_processes(stage: Stage, loop: LoopConfig) -> None:
    processes = world_size()
    if processes > 1 and stage not in EXTENSIBLE:
        raise UserError(f"Several processes train {' and '.join(EXTENSIBLE)}: train the {stage} in one.")
    if processes > loop.batch:
        raise UserError(f"{processes} processes cannot share a `batch` of {loop.batch}: start fewer.")


def _digest(values: Any) -> str:
    """Some characters that other values do not have."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:8]
