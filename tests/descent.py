"""Does a training learn? By construction, not by luck: its loss falls along its gradient as that says."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from facelift.train.metrics import Means
from facelift.train.task import Task, generator_for

LATE = 1_000_000
"""A step at which a training has all its losses."""

SHARE = 0.002
"""Of the loss, by which it is to fall: so little that it falls as the gradient says."""


def losses_of(task: Task, batch: int = 2, seed: int = 0, step: int = LATE) -> dict[str, float]:
    """What one step logs, always of the same samples; its gradient is accumulated, as the loop does it."""
    torch.manual_seed(seed)
    means = Means()
    total = 0.0
    for loss in task.losses(step, batch, generator_for(seed, 0)):
        share = loss.samples / batch
        if torch.is_grad_enabled():
            (loss.total * share).backward()
        total += float(loss.total.detach()) * share
        means.add(loss)
    return {**means.values(), "total": total}


def assert_learns(
    task: Task,
    batch: int = 2,
    seed: int = 0,
    objective: Callable[[Mapping[str, float]], float] = lambda losses: losses["total"],
    model: nn.Module | None = None,
) -> None:
    """A small step along the gradient makes the objective fall by what the gradient promises.

    Args:
        objective: of what a step logs; the gradient that `model` gets is its gradient.
        model: what is moved; None is all that the task trains.
    """
    parameters = [*(model or task.model).parameters()]
    task.model.zero_grad()
    before = objective(losses_of(task, batch, seed))
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in parameters]
    squared = sum(float(g.double().square().sum()) for g in gradients)
    assert before > 0 and squared > 0
    rate = SHARE * before / squared
    weights = [p.detach().clone() for p in parameters]
    with torch.no_grad():
        for p, g in zip(parameters, gradients, strict=True):
            p.sub_(rate * g)
        after = objective(losses_of(task, batch, seed))
        for p, w in zip(parameters, weights, strict=True):
            p.copy_(w)
    task.model.zero_grad()
    fall = (before - after) / (SHARE * before)
    assert 0.75 < fall < 1.25, f"{before} fell to {after}: {fall:.2f} of what its gradient promises"
