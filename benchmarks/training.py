"""How long a training step takes: python benchmarks/training.py

The three loops as `facelift train` runs them with the configurations of `mini`, on ray-traced balls of the
same size, in bfloat16 as they are and in float32.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import timing
import torch
import yaml
from timing import Row, best

import facelift.train
from facelift.train.task import Task, generator_for

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # before this folder, which has heads.py too
from heads import write_balls  # noqa: E402

TITLE = "Training steps"
RENDERING = 10_000  # a step late enough that every loss is there


def measure(quick: bool) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write_balls(folder / "data", 3, 256)
        places: dict[str, dict[str, Any]] = {
            "autoencoder": {"data": [str(data / "canonical")]},
            "reconstructor": {name: str(data / name) for name in ("canonical", "orbit", "overhead")},
            "views": {
                "data": str(data / "canonical"),
                "autoencoder": str(folder / "views"),
                "reconstructor": str(folder / "reconstructor"),
            },
        }
        for stage, settings in places.items():
            parts = yaml.safe_load((ROOT / f"configs/mini/{stage}.yaml").read_text())
            parts["training"] |= settings
            parts["training"].pop("features", None)  # a network that the recipe trains before
            del parts["validation"]
            batch = 1 if quick else parts["loop"]["batch"]
            task = task_of(stage, parts, folder)
            steps = 1 if quick else 3
            ours = step_of(task, batch, steps)
            with patch.object(torch, "autocast", lambda *_, **__: nullcontext()):
                plain = step_of(task, batch, steps)
            yield Row(f"{stage}, batch {batch}", ours, "float32", plain)
            task.export(folder)  # what the view generator is trained on, and with


def task_of(stage: str, parts: dict[str, Any], folder: Path) -> Task:
    """What `facelift train` hands to its loop."""
    tasks: list[Task] = []
    config = folder / f"{stage}.yaml"
    config.write_text(yaml.safe_dump(parts))
    with patch.object(facelift.train, "train", lambda task, *_: tasks.append(task)):
        facelift.train.run(stage, config, folder / "run", device="cpu")
    return tasks[0]


def step_of(task: Task, batch: int, steps: int) -> float:
    """Seconds of a step's loss and gradient, rendering and all; what the optimisers add is little."""

    def step() -> None:
        for loss in task.losses(RENDERING, batch, generator_for(0, RENDERING)):
            loss.total.backward()

    return best(step, steps)


if __name__ == "__main__":
    timing.main(TITLE, measure)
