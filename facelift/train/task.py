"""What a training is: a model and the losses of a step; `facelift.train.loop` does the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Loss:
    """The loss of some of a step's samples.

    Attributes:
        total: () mean over these samples, which is differentiated.
        parts: () each, what is logged of it: means over these samples, by name.
        samples: how many they are.
    """

    total: Tensor
    parts: Mapping[str, Tensor]
    samples: int


class Task(Protocol):
    """What is trained, and how far it is from what it should be."""

    @property
    def model(self) -> nn.Module:
        """What the optimisers change, and what is averaged and kept in checkpoints."""

    @property
    def device(self) -> torch.device:
        """Where the model is."""

    def losses(self, step: int, batch: int, rng: torch.Generator) -> Iterator[Loss]:
        """The losses of one step over `batch` samples that `rng` chooses; several processes share them.

        Each loss is differentiated before the next one is computed, so that one graph at a time is in memory.
        Without gradients (`torch.no_grad`) it is what validation measures.
        """

    def picture(self) -> Tensor:
        """(3, H, W) RGB that shows a person how far the model is."""

    def export(self, folder: Path) -> None:
        """Write what inference loads."""


def generator_for(seed: int, step: int) -> torch.Generator:
    """The random numbers of one step, or of whatever else is counted; the next one's seed is one larger."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) % 2**63)


def channels_last(model: nn.Module) -> None:
    """Lay the weights of convolutions out as CPUs and tensor cores like them."""
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
