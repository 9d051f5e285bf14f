"""Weights in eight bits: a quarter of float32's memory, for machines that have no more."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class EightBits(nn.Module):
    """Rounds a weight to 255 steps of each output channel's own size; gives it back in a floating dtype."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, steps: Tensor, step: Tensor) -> Tensor:
        """(C, ...) int8 and the size of a step in each of C channels, to the weight as it is used."""
        return steps.to(self.dtype) * step

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """(C, ...) a weight to both."""
        largest = weight.float().flatten(1).abs().amax(dim=1).clamp_min(1e-12)
        step = (largest / 127).view(-1, *[1] * (weight.ndim - 1))
        return (weight.float() / step).round().to(torch.int8), step.to(self.dtype)


def hold_in_eight_bits(model: nn.Module, dtype: torch.dtype) -> None:
    """Hold the weights of all matrix products and convolutions in eight bits, in place.

    Only memory is saved: products are of floating numbers still, as a weight is for as long as it is used.

    Args:
        model: for inference; its weights want no gradients.
        dtype: what is computed in.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, (nn.Linear, nn.Conv2d))]
    for layer in layers:
        parametrize.register_parametrization(layer, "weight", EightBits(dtype), unsafe=True)
