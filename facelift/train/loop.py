"""The one training loop: time-boxed, resumable after a kill, validated, with averaged weights.

Several processes run it side by side (`facelift.train.distributed`): the first one's clock counts, and it
alone writes.

A task brings a model and its losses (`facelift.train.task`); the loop brings everything else. Every random
choice of a step follows from (seed, step), and its learning rate from the steps and the time that the
checkpoint counts: a training continues after a kill as if nothing had happened, if its data are the same.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import torch

from facelift.devices import autocast_dtype
from facelift.formats.png import write_png
from facelift.train import distributed
from facelift.train.config import LoopConfig
from facelift.train.metrics import Means, TrainingLog, count_flops, measure_peak_flops
from facelift.train.state import TrainingState
from facelift.train.task import Task, generator_for


def train(
    task: Task,
    config: LoopConfig,
    out: Path,
    max_minutes: float = math.inf,
    validation: Task | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Train until the time box or `max_steps` ends, continuing what `out` holds, then export there.

    Args:
        task: what to train.
        config: how.
        out: folder for the checkpoint, logs, pictures and weights.
        max_minutes: the time box. What earlier runs of the same training took counts; when it is used up, a
            larger one lets the training go on.
        validation: the same models on held-out heads.
        clock: the current time, in seconds.

    Raises:
        UserError: the checkpoint is unreadable or another training's; losses or weights are no longer finite.
    """
    threads = torch.get_num_threads()
    cuda = [task.device] if task.device.type == "cuda" else []
    try:
        torch.set_num_threads(config.threads or threads)
        with torch.random.fork_rng(cuda):
            out.mkdir(parents=True, exist_ok=True)
            _train(task, config, out, max_minutes, validation, clock)
    finally:
        torch.set_num_threads(threads)


def _train(
    task: Task,
    config: LoopConfig,
    out: Path,
    max_minutes: float,
    validation: Task | None,
    clock: Callable[[], float],
) -> None:
    state, first = TrainingState(task, config, out / "state.pt"), distributed.rank() == 0
    with distributed.together():
        resumed = state.resume()
    distributed.require_same(f"checkpoint {out / 'state.pt'}", f"of step {state.step}")
    task.model.train()
    work = _work_and_peak(task, config)
    log = TrainingLog(out if first else None, state.step, config.batch, *work)
    if resumed:
        log.say(f"resumed at step {state.step}, after {state.elapsed / 60:.1f} minutes")
    began = clock() - state.elapsed
    logging, saving, drawing, validating = (
        _Timer(60 * minutes, state.elapsed)
        for minutes in (config.log_every, config.save_every, config.picture_every, config.validate_every)
    )

    def finished() -> bool:
        return state.step >= config.max_steps or state.elapsed >= 60 * max_minutes

    while not finished():
        factor = _rate(config, state.step, state.elapsed / (60 * max_minutes))
        before = clock()
        losses = state.advance(factor)
        log.add(losses, clock() - before)
        state.elapsed = distributed.gather(clock() - began)[0]
        measured = None
        if validation is not None and (validating.due(state.elapsed) or finished()):
            measured = _validate(state, validation)
        if logging.due(state.elapsed) or measured or finished():
            log.write(state.step, state.elapsed / 60, config.lr * factor, state.skipped, measured)
        if not state.failing and saving.due(state.elapsed):
            state.save()
        if drawing.due(state.elapsed):
            _draw(state, out)
    state.save()
    _draw(state, out)
    if first:
        with state.averaged():
            task.export(out)
    log.say(f"{state.step} steps; weights in {out}")


class _Timer:
    """Tells when a number of seconds has passed since it last did."""

    def __init__(self, seconds: float, now: float) -> None:
        self.seconds, self.last = seconds, now

    def due(self, now: float) -> bool:
        if now - self.last < self.seconds:
            return False
        self.last = now
        return True


def _rate(config: LoopConfig, step: int, elapsed_fraction: float) -> float:
    """Warm-up, plateau, linear cool-down; a factor on the peak rate."""
    left = min(1.0 - elapsed_fraction, 1.0 - step / config.max_steps)
    return min(1.0, (step + 1) / config.warmup) * max(0.05, min(1.0, left / max(config.cooldown, 1e-9)))


@torch.no_grad()
def _validate(state: TrainingState, validation: Task) -> dict[str, float]:
    """Losses of the averaged weights on held-out heads, all that a training has at its end."""
    config, means, own = state.config, Means(), Means()
    rng = generator_for(config.seed, -1)
    torch.manual_seed(config.seed)
    with state.averaged():
        for loss in validation.losses(config.max_steps, config.validation_samples, rng):
            own.add(loss)
    for theirs in distributed.gather(own):
        means.merge(theirs)
    return means.values()


def _draw(state: TrainingState, out: Path) -> None:
    if distributed.rank() > 0:
        return
    folder = out / "pictures"
    folder.mkdir(exist_ok=True)
    with torch.no_grad(), state.averaged():
        write_png(folder / f"{state.step:07d}.png", state.task.picture())


def _work_and_peak(task: Task, config: LoopConfig) -> tuple[float, float]:
    """Floating-point operations of a step, and those that the device could do in a second.

    The step is one of the training's end, with all losses, and what is computed once for each head is there.
    """

    def step() -> None:
        torch.manual_seed(config.seed)
        for loss in task.losses(config.max_steps, config.batch, generator_for(config.seed, -2)):
            loss.total.backward()

    step()
    flops = count_flops(step)
    task.model.zero_grad(set_to_none=True)
    return flops, measure_peak_flops(task.device, autocast_dtype(task.device))
