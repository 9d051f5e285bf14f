"""The fields of Gaussians as numbers that Adam may move freely: scales as logarithms, opacities as logits."""

from __future__ import annotations

import torch
from torch import Tensor

from facelift.gaussians import Gaussians
from facelift.refine.config import RefineConfig


def raw_fields(gaussians: Gaussians) -> dict[str, Tensor]:
    """The fields before activation, as leaves to optimise."""
    logits = gaussians.opacities.clamp(1e-4, 1 - 1e-4).logit()
    fields = gaussians.tensors() | {"scales": gaussians.scales.log(), "opacities": logits}
    return {name: field.clone().requires_grad_() for name, field in fields.items()}


def activated(raw: dict[str, Tensor]) -> Gaussians:
    """Gaussians of such fields."""
    return Gaussians(**(raw | {"scales": raw["scales"].exp(), "opacities": raw["opacities"].sigmoid()}))


def adam(raw: dict[str, Tensor], config: RefineConfig, geometry_factor: float = 1.0) -> torch.optim.Adam:
    """Adam with a rate for each field; `geometry_factor` multiplies those of place and shape."""
    rates = {
        "means": config.means_lr * geometry_factor,
        "quats": config.quats_lr * geometry_factor,
        "scales": config.scales_lr * geometry_factor,
        "opacities": config.opacities_lr,
        "sh0": config.sh0_lr,
    }
    groups = [{"params": raw[name], "lr": rate} for name, rate in rates.items()]
    return torch.optim.Adam(groups, eps=config.adam_eps)
