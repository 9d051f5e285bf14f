"""A training whose every number is known: a convex problem, and a clock that moves with its steps alone."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from facelift.train.config import LoopConfig
from facelift.train.loop import train
from facelift.train.task import Loss, Task

Fault = Callable[[int, Tensor], Tensor]

OPTIMUM = torch.tensor([0.5, -0.25, 0.75])
STEPS = 40
CONFIG = LoopConfig(
    batch=4,
    lr=0.1,
    warmup=5,
    cooldown=0.5,
    ema=0.5,
    max_steps=STEPS,
    log_every=0.0,
    save_every=0.3,
    picture_every=1e9,
    validate_every=0.2,
)
BOX = 3.0
"""Minutes, which the clock of STEPS steps does not reach."""


class Clock:
    """Seconds that pass when somebody says so."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Toy:
    """Weights that are to become OPTIMUM: the loss is their mean squared distance from it.

    Args:
        clock: each step takes one second, every third one four.
        fault: called with the step and the loss, and returns the loss that is given in its place.
    """

    device = torch.device("cpu")

    def __init__(
        self, clock: Clock | None = None, fault: Callable[[int, Tensor], Tensor] | None = None
    ) -> None:
        self.model = nn.Linear(1, 3, bias=False)
        nn.init.zeros_(self.model.weight)
        self.clock, self.fault = clock or Clock(), fault

    def losses(self, step: int, batch: int, rng: torch.Generator) -> Iterator[Loss]:
        if step < STEPS and torch.is_grad_enabled():  # no measurement
            self.clock.now += 4.0 if step % 3 == 0 else 1.0
        noise = 0.01 * torch.randn(3, generator=rng)
        error = (self.model.weight[:, 0] - OPTIMUM - noise).square().mean()
        total = error if self.fault is None else self.fault(step, error)
        yield Loss(total, {"error": total.detach()}, batch)

    def picture(self) -> Tensor:
        return torch.zeros(3, 4, 4)

    def export(self, folder: Path) -> None:
        (folder / "exported").write_text(str(self.model.weight[:, 0].tolist()), encoding="utf-8")


def kill_at(step: int) -> Fault:
    """A fault that ends the process as nobody can catch."""

    def fault(now: int, loss: Tensor) -> Tensor:
        if now == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return loss

    return fault


def run(out: Path, clock: Clock, fault: Fault | None = None) -> None:
    task = Toy(clock, fault)
    validation: Task = Toy()
    validation.model = task.model  # type: ignore[misc]
    train(task, CONFIG, out, BOX, validation, clock)


if __name__ == "__main__":
    run(Path(sys.argv[1]), Clock(), kill_at(int(sys.argv[2])))
