"""The samples of a training: each has a number, and random numbers of its own in whichever process.

What a step trains on follows from the seed and the step alone, and not from how many processes share it:
each takes a part of the step's numbers. By its number a sample stands in a shuffled order in which every head
comes once an epoch, so that the step is all that a checkpoint needs to hold of the place in the data.
"""

from __future__ import annotations

import atexit
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import count, islice
from typing import Generic, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from facelift.errors import UserError
from facelift.train.distributed import share
from facelift.train.task import generator_for

T = TypeVar("T")


@dataclass(frozen=True)
class Draw:
    """A sample that is to be made.

    Attributes:
        step: of the training to which it belongs.
        number: of all samples since the training began.
        seed: of what is random about it.
        order: seed of the order in which the heads come.
    """

    step: int
    number: int
    seed: int
    order: int

    def choose(self, size: int) -> int:
        """Which of so many things it is: each is chosen once an epoch, in another order each time."""
        return int(_permutation(size, self.order, self.number // size)[self.number % size])

    def rng(self, purpose: int = 0) -> torch.Generator:
        """Its random numbers; other purposes have others."""
        return generator_for(self.seed, purpose)


class SampleLoader(Generic[T]):
    """Makes this process's share of the samples of each step, if asked to some steps ahead of the training.

    Args:
        load: makes a sample; with `workers` it is pickled, and what it makes goes from process to process.
        workers: processes that make samples ahead; with 0 they are made when they are wanted.
    """

    def __init__(self, load: Callable[[Draw], T], workers: int = 0) -> None:
        self.load, self.workers = load, workers
        self._ahead: Iterator[tuple[Draw, T | UserError]] | None = None
        self._next: tuple[int, int, int] | None = None  # what comes next if steps are asked for in turn

    def __call__(self, step: int, batch: int, rng: torch.Generator) -> Iterator[tuple[Draw, T]]:
        """This process's samples of a step.

        Args:
            step: of the training.
            batch: samples of the step, all processes together.
            rng: the step's.

        Raises:
            UserError: what `load` raises; a worker died.
        """
        place = step, batch, rng.initial_seed()
        if place != self._next:
            self._ahead = None  # which ends its workers
        elif self.workers and self._ahead is None:  # two steps in turn: a training, no measurement
            self._ahead = iter(_read_ahead(self.load, self.workers, place))
        self._next = step + 1, batch, place[2] + 1
        for draw in draws(*place):
            sample = self.load(draw) if self._ahead is None else _received(self._ahead, draw)
            if isinstance(sample, UserError):
                raise sample
            yield draw, sample


def chunked(drawn: Iterator[T], size: int) -> Iterator[list[T]]:
    """So many at a time, the last ones fewer."""
    while chunk := list(islice(drawn, size)):
        yield chunk


def draws(step: int, batch: int, seed: int) -> Iterator[Draw]:
    """This process's share of a step whose random numbers have that seed; see `generator_for`."""
    for i in share(batch):
        yield Draw(step, step * batch + i, generator_for(seed, i).initial_seed(), seed - step)


def _read_ahead(
    load: Callable[[Draw], T], workers: int, place: tuple[int, int, int]
) -> DataLoader[tuple[Draw, T | UserError]]:
    step, batch, seed = place
    later = (draw for i in count() for draw in draws(step + i, batch, seed + i))
    return DataLoader(
        _Samples(load),
        batch_size=None,
        sampler=later,
        collate_fn=_unchanged,
        num_workers=workers,
        multiprocessing_context="spawn",  # what is forked beside threads or CUDA may hang
        worker_init_fn=_begin,
    )


def _received(ahead: Iterator[tuple[Draw, T | UserError]], draw: Draw) -> T | UserError:
    try:
        made, sample = next(ahead)
    except RuntimeError as error:
        if "worker" not in str(error):
            raise
        raise UserError(
            "A process that read samples died, perhaps for want of memory: give the same command again, with "
            "fewer `workers` in the `training` if need be."
        ) from None
    assert made == draw
    return sample


class _Samples(Dataset[tuple[Draw, T | UserError]], Generic[T]):
    """What DataLoader asks, by draws; a UserError is a result, since it would come back as a traceback."""

    def __init__(self, load: Callable[[Draw], T]) -> None:
        self.load = load

    def __getitem__(self, draw: Draw) -> tuple[Draw, T | UserError]:
        try:
            return draw, self.load(draw)
        except UserError as error:
            return draw, error


def _unchanged(sample: T) -> T:
    return sample


def _begin(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the training's to answer
    atexit.register(os._exit, 0)  # libraries with threads of their own may abort while they are unloaded


@lru_cache(2)
def _permutation(size: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(size, generator=generator_for(seed, epoch))
