"""The one training loop: time-boxed, resumable after a kill, with averaged weights.

A task brings a model and a loss; the loop brings everything else. Every random choice of a step follows
from (seed, step), so that a run continues after a kill as if nothing had happened, if its data are the same.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Protocol

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.optim.optimizer import ParamsT

from facelift.errors import UserError
from facelift.formats.files import atomic_path
from facelift.formats.png import write_png


@dataclass(frozen=True)
class LoopConfig:
    """Attributes:
    batch: samples a step.
    lr: peak learning rate of AdamW.
    muon_lr: of Muon on the weights of hidden layers (Jordan et al., 2024); 0 leaves them to AdamW.
    rates: factors on both, for the parameters whose names begin so.
    warmup: steps over which the rate rises.
    cooldown: the last fraction of the time box, over which the rate falls to a twentieth.
    betas, weight_decay: of AdamW.
    clip: largest norm of the gradient.
    ema: decay of the averaged weights, reached gradually.
    save_every, picture_every: minutes.
    max_steps: the end, if the time box does not come first.
    threads: of the CPU; 0 is all.
    seed: of everything random.
    """

    batch: int = 8
    lr: float = 1e-3
    muon_lr: float = 0.0
    rates: dict[str, float] = field(default_factory=dict)
    warmup: int = 100
    cooldown: float = 0.25
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
    clip: float = 1.0
    ema: float = 0.999
    save_every: float = 3.0
    picture_every: float = 5.0
    max_steps: int = 1_000_000
    threads: int = 0
    seed: int = 0


class Task(Protocol):
    """What is trained: `model` is averaged, saved and exported; `device` is where it lives."""

    @property
    def model(self) -> nn.Module: ...

    @property
    def device(self) -> torch.device: ...

    def backward(self, step: int, batch: int, rng: torch.Generator) -> dict[str, float]:
        """Accumulate the gradient of one step's mean loss over `batch` samples that `rng` chooses.

        Returns:
            What to print of it.
        """

    def picture(self, model: nn.Module) -> Tensor:
        """(3, H, W) that shows a person how far `model` is."""

    def export(self, model: nn.Module, folder: Path) -> None:
        """Write what inference loads."""


def train(task: Task, config: LoopConfig, out: Path, max_minutes: float = math.inf) -> None:
    """Train until the time box or `max_steps` ends, continuing what `out` holds, then export there."""
    if config.threads:
        torch.set_num_threads(config.threads)
    out.mkdir(parents=True, exist_ok=True)
    console = Console()
    run = _Run(task, config, out)
    if run.resume():
        console.print(f"resuming at step {run.step}")
    started = saved = pictured = time.monotonic()
    printed = -math.inf
    means: dict[str, float] = {}
    task.model.train()

    while run.step < config.max_steps:
        elapsed = (time.monotonic() - started) / 60
        if elapsed >= max_minutes:
            break
        losses = run.advance(_rate(config, run.step, elapsed / max_minutes))
        means = {k: 0.95 * means.get(k, v) + 0.05 * v for k, v in losses.items()}
        now = time.monotonic()
        if now - printed > 15 or run.step == config.max_steps:
            printed = now
            text = "  ".join(f"{k} {v:.4f}" for k, v in means.items())
            line = f"{elapsed:7.1f} min  step {run.step}  samples {run.step * config.batch}  {text}"
            console.print(line, highlight=False, soft_wrap=True)
            with (out / "log.txt").open("a") as log:
                log.write(line + "\n")
        if now - saved > config.save_every * 60:
            run.save()
            saved = time.monotonic()
        if now - pictured > config.picture_every * 60:
            run.draw()
            pictured = time.monotonic()
    run.save()
    run.draw()
    task.export(run.average, out)
    console.print(f"{run.step} steps; weights in {out}")


def draws(seed: int, step: int) -> torch.Generator:
    """The random numbers of one step, or of whatever else is counted."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


def channels_last(model: nn.Module) -> None:
    """Lay the weights of convolutions out as CPUs and tensor cores like them."""
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def _rate(config: LoopConfig, step: int, elapsed_fraction: float) -> float:
    """Warm-up, plateau, linear cool-down; a factor on the peak rate."""
    left = min(1.0 - elapsed_fraction, 1.0 - step / config.max_steps)
    return min(1.0, (step + 1) / config.warmup) * max(0.05, min(1.0, left / max(config.cooldown, 1e-9)))


class _Run:
    """The state that a kill must not lose."""

    def __init__(self, task: Task, config: LoopConfig, out: Path) -> None:
        self.task, self.config, self.out = task, config, out
        self.average = deepcopy(task.model).eval().requires_grad_(False)
        self.optimizers = list(_optimizers(task.model, config))
        self.step = 0

    def advance(self, rate: float) -> dict[str, float]:
        """One step of every optimiser and of the average."""
        rng = draws(self.config.seed, self.step)
        torch.manual_seed(rng.initial_seed())  # for what draws without a generator
        losses = self.task.backward(self.step, self.config.batch, rng)
        norm = torch.nn.utils.clip_grad_norm_(self.task.model.parameters(), self.config.clip)
        if norm.isfinite():
            for optimizer, peak in self.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = peak * rate * group["factor"]
                optimizer.step()
        for optimizer, _ in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for average, trained in zip(self.average.parameters(), self.task.model.parameters(), strict=True):
                average.lerp_(trained, 1 - decay)
        return {**losses, "norm": float(norm)}

    def save(self) -> None:
        state = {
            "step": self.step,
            "model": self.task.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer, _ in self.optimizers],
        }
        with atomic_path(self.out / "state.pt") as path:
            torch.save(state, path)

    def resume(self) -> bool:
        path = self.out / "state.pt"
        if not path.exists():
            return False
        try:
            state = torch.load(path, map_location=self.task.device, weights_only=True)
            self.step = state["step"]
            self.task.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            for (optimizer, _), saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
        except (KeyError, ValueError, RuntimeError, UnpicklingError, EOFError) as error:
            raise UserError(
                f"{path} is damaged, or another training's, whose model has other weights: "
                "give another folder, or delete it to begin anew."
            ) from error
        return True

    def draw(self) -> None:
        folder = self.out / "pictures"
        folder.mkdir(exist_ok=True)
        with torch.no_grad():
            write_png(folder / f"{self.step:07d}.png", self.task.picture(self.average))


class Muon(torch.optim.Optimizer):
    """Momentum whose every update is made orthogonal (Jordan et al., 2024), for weights of two or more axes.

    A convolution counts as the matrix of its output channels by all the rest. Steps are as large as AdamW's
    at the same rate (Liu et al., "Muon is Scalable for LLM Training", 2025). torch's own works in bfloat16,
    which many CPUs have to imitate, and knows no convolutions.
    """

    def __init__(self, groups: ParamsT, lr: float, weight_decay: float, momentum: float = 0.95) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["mean"] = torch.zeros_like(parameter)
                mean = state["mean"].lerp_(parameter.grad, 1 - group["momentum"])
                update = orthogonalized(parameter.grad.lerp(mean, group["momentum"]).flatten(1))
                size = group["lr"] * 0.2 * math.sqrt(max(update.shape))
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.sub_(update.view(parameter.shape), alpha=size)


def orthogonalized(matrix: Tensor, steps: int = 5) -> Tensor:
    """About the orthogonal matrix nearest to `matrix`: all its singular values become 0.7 to 1.2.

    Newton-Schulz iteration with Jordan's coefficients. A step multiplies the matrix by a polynomial of its
    Gram matrix; the polynomials commute, so that they are gathered on the small side and applied once.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / wide.norm().clamp_min(1e-7)
    gram = wide @ wide.T
    identity = torch.eye(len(gram), device=gram.device)
    factor = identity
    for _ in range(steps):
        polynomial = 3.4445 * identity - 4.775 * gram + 2.0315 * gram @ gram
        factor = polynomial @ factor
        gram = polynomial @ gram @ polynomial
    result = factor @ wide
    return result if matrix.shape[0] <= matrix.shape[1] else result.T


def _optimizers(model: nn.Module, config: LoopConfig) -> Iterator[tuple[torch.optim.Optimizer, float]]:
    """Muon for the weights of hidden layers if asked for, AdamW for the rest; each with its peak rate."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    hidden = {n: p for n, p in trained.items() if config.muon_lr and p.ndim in (2, 4) and "block" in n}
    if hidden:
        yield Muon(_groups(hidden, config.rates), config.muon_lr, config.weight_decay), config.muon_lr
    rest = _groups({name: p for name, p in trained.items() if name not in hidden}, config.rates)
    yield (
        torch.optim.AdamW(
            rest, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=True
        ),
        config.lr,
    )


def _groups(parameters: dict[str, nn.Parameter], rates: dict[str, float]) -> list[dict[str, Any]]:
    """The parameters by the factor on their rate."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        factor = next((f for beginning, f in rates.items() if name.startswith(beginning)), 1.0)
        groups.setdefault(factor, []).append(parameter)
    return [{"params": members, "factor": factor} for factor, members in groups.items()]
