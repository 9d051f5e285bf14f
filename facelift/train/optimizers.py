"""The optimisers of a training: Muon for hidden layers if asked for, AdamW for all other weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import ParamsT

from facelift.errors import UserError


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
        """Move every weight that has a gradient."""
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


def build_optimizers(
    model: nn.Module,
    lr: float,
    muon_lr: float,
    lr_factors: dict[str, float],
    betas: tuple[float, float],
    weight_decay: float,
    adam_8bit: bool = False,
) -> Iterator[tuple[torch.optim.Optimizer, float]]:
    """Muon for hidden layers if `muon_lr` is not 0, AdamW for the rest; each with its peak rate.

    Args: see `facelift.train.config.LoopConfig`.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    hidden = {n: p for n, p in trained.items() if muon_lr and p.ndim in (2, 4) and "block" in n}
    if hidden:
        yield Muon(_groups(hidden, lr_factors), muon_lr, weight_decay), muon_lr
    rest = _groups({name: p for name, p in trained.items() if name not in hidden}, lr_factors)
    if adam_8bit:
        yield _adamw_8bit()(rest, lr=lr, betas=betas, weight_decay=weight_decay), lr
    else:
        yield torch.optim.AdamW(rest, lr=lr, betas=betas, weight_decay=weight_decay, fused=True), lr


def _adamw_8bit() -> Any:
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError:
        raise UserError(
            "`adam_8bit` needs the package bitsandbytes: pip install 'facelift[bitsandbytes]', or leave it "
            "out of the `loop`."
        ) from None
    return AdamW8bit


def _groups(parameters: dict[str, nn.Parameter], lr_factors: dict[str, float]) -> list[dict[str, Any]]:
    """The parameters by the factor on their rate."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        factor = next((f for beginning, f in lr_factors.items() if name.startswith(beginning)), 1.0)
        groups.setdefault(factor, []).append(parameter)
    return [{"params": members, "factor": factor} for factor, members in groups.items()]
