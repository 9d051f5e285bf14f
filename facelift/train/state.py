"""The state of a training: all that a kill must not lose, and the one step that changes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from facelift.devices import autocast_dtype
from facelift.errors import UserError
from facelift.formats.files import atomic_path
from facelift.train import distributed
from facelift.train.config import LoopConfig
from facelift.train.metrics import Means
from facelift.train.optimizers import build_optimizers
from facelift.train.task import Task, generator_for

_Tensors = tuple[Tensor, ...] | list[Tensor]


class TrainingState:
    """Weights, their average, the optimisers, and where in the training they are.

    Args:
        task: what is trained.
        config: how.
        path: of the checkpoint.

    Attributes:
        step: how many steps there have been.
        elapsed: seconds that they took, of all runs since the training began.
        skipped: how many of them had no finite loss or gradient, and changed nothing.
        average: the model with exponentially averaged weights.
    """

    def __init__(self, task: Task, config: LoopConfig, path: Path) -> None:
        self.task, self.config, self.path = task, config, path
        self.average = AveragedModel(task.model, multi_avg_fn=_exponential(config.ema))
        self.optimizers = list(
            build_optimizers(
                task.model,
                config.lr,
                config.muon_lr,
                config.lr_factors,
                config.betas,
                config.weight_decay,
                config.adam_8bit,
            )
        )
        half = autocast_dtype(task.device) == torch.float16
        self.scaler = torch.amp.GradScaler(task.device.type, enabled=half)
        self.step = 0
        self.elapsed = 0.0
        self.skipped = 0
        self._saved_step: int | None = None
        self._failures = 0  # in a row

    def advance(self, factor: float) -> dict[str, float] | None:
        """One step of every optimiser and of the average.

        A loss or gradient that is not finite skips the step.

        Args:
            factor: on every peak rate.

        Returns:
            Means of what is to be logged, and the gradient's `norm`; None if the step was skipped.

        Raises:
            UserError: too many steps in a row were skipped.
        """
        rng = generator_for(self.config.seed, self.step)
        torch.manual_seed(rng.initial_seed())  # for what draws without a generator
        own, finite = Means(), True
        for loss in self.task.losses(self.step, self.config.batch, rng):
            self.scaler.scale(loss.total * (loss.samples / self.config.batch)).backward()
            finite = finite and bool(loss.total.isfinite())
            own.add(loss)
        distributed.sum_gradients(self.task.model.parameters())
        means = Means()
        for their_finite, theirs in distributed.gather((finite, own)):
            finite = finite and their_finite
            means.merge(theirs)
        norm = self._clipped_norm()
        stepped = finite and bool(norm.isfinite())
        if stepped:
            for optimizer, peak in self.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = peak * factor * group["factor"]
                optimizer.step()
            self.average.update_parameters(self.task.model)
        scale = self.scaler.get_scale()
        if self.scaler.is_enabled():
            self.scaler.update()
        for optimizer, _ in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        if stepped:
            self._failures = 0
            return {**means.values(), "norm": float(norm)}
        self.skipped += 1
        if not finite or not self.scaler.is_enabled() or scale <= 1:  # else float16 overflowed, as it does
            self._failures += 1
        if self._failures >= self.config.max_failures:
            raise self._diverged(f"{self._failures} steps in a row had no finite loss or gradient")
        return None

    @property
    def failing(self) -> bool:
        """Whether the last step had no finite loss or gradient: what is wrong may be in the weights."""
        return self._failures > 0

    def save(self) -> None:
        """Write the checkpoint; of several processes the first does.

        Raises:
            UserError: weights are not finite; the last checkpoint stays.
        """
        weights = [*self.task.model.parameters(), *self.average.parameters()]
        if not torch.nn.utils.get_total_norm(weights).isfinite():
            raise self._diverged("weights are not finite")
        self._saved_step = self.step
        if distributed.rank() > 0:
            return
        state = {
            "step": self.step,
            "elapsed": self.elapsed,
            "skipped": self.skipped,
            "model": self.task.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer, _ in self.optimizers],
            "scaler": self.scaler.state_dict(),
        }
        with atomic_path(self.path) as aside:
            torch.save(state, aside)

    def resume(self) -> bool:
        """Read the checkpoint, if there is one; it does not matter how many processes wrote it.

        Raises:
            UserError: it is damaged, or another training's; not all processes see the same.
        """
        found = self.path.exists()
        distributed.require_same(f"checkpoint {self.path}", "there is one" if found else "there is none")
        if not found:
            distributed.broadcast_weights(self.task.model)
            distributed.broadcast_weights(self.average)
            return False
        try:
            state = torch.load(self.path, map_location=self.task.device, weights_only=True)
            self.step, self.elapsed, self.skipped = (state[name] for name in ("step", "elapsed", "skipped"))
            self.task.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            for (optimizer, _), saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            if self.scaler.is_enabled() and state["scaler"]:
                self.scaler.load_state_dict(state["scaler"])
        except (KeyError, ValueError, RuntimeError, UnpicklingError, EOFError) as error:
            raise UserError(
                f"{self.path} is damaged, another version's, or another training's, whose model has other "
                "weights: give another folder, or delete it to begin anew."
            ) from error
        self._saved_step = self.step
        return True

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within it the task's model has the averaged weights."""
        model, average = self.task.model, self.average.module
        pairs = list(zip(model.parameters(), average.parameters(), strict=True))

        def swap() -> None:
            for one, other in pairs:
                one.data, other.data = other.data, one.data

        model.eval()
        swap()
        try:
            yield
        finally:
            swap()
            model.train()

    def _clipped_norm(self) -> Tensor:
        """The gradient's norm, as it was before it is clipped."""
        for optimizer, _ in self.optimizers:
            if any(p.grad is not None for group in optimizer.param_groups for p in group["params"]):
                self.scaler.unscale_(optimizer)
        return torch.nn.utils.clip_grad_norm_(self.task.model.parameters(), self.config.clip)

    def _diverged(self, what: str) -> UserError:
        kept = f"of step {self._saved_step} stays in {self.path}"
        if self._saved_step is None:
            kept = "was not yet written"
        return UserError(
            f"At step {self.step} {what}, so the training stops; its last good checkpoint {kept}: lower the "
            "rates in `loop`, and give the same command again."
        )


def _exponential(decay: float) -> Callable[[_Tensors, _Tensors, Tensor | int], None]:
    """An exponential moving average, whose decay is reached gradually."""

    @torch.no_grad()
    def update(averages: _Tensors, current: _Tensors, count: Tensor | int) -> None:
        n = int(count)
        torch._foreach_lerp_(averages, current, 1 - min(decay, (1 + n) / (10 + n)))

    return update
