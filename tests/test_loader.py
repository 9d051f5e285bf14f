"""Samples by their numbers: each head once an epoch, whoever makes it and wherever a training goes on."""

import pickle
from collections import Counter

import pytest
import torch

from facelift.data.reader import HeadFolder
from facelift.errors import UserError
from facelift.train import distributed
from facelift.train.loader import Draw, SampleLoader, chunked
from facelift.train.task import generator_for

HEADS, BATCH, REFUSED = 20, 5, 9


def load(draw: Draw) -> tuple[int, float]:
    """Which head, and a random number; later what cannot be read."""
    if draw.step == REFUSED:
        raise UserError(f"sample {draw.number} cannot be read.")
    return draw.choose(HEADS), float(torch.rand((), generator=draw.rng()))


def steps(loader, first, last):
    return [[sample for _, sample in loader(s, BATCH, generator_for(7, s))] for s in range(first, last)]


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_each_head_comes_once_an_epoch_however_many_processes_there_are(monkeypatch, processes):
    monkeypatch.setattr(distributed, "size", lambda: processes)
    seen = {}
    for rank in range(processes):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        loader = SampleLoader(load)
        for step in range(8):
            for draw, sample in loader(step, BATCH, generator_for(7, step)):
                seen[draw.number] = sample
    monkeypatch.setattr(distributed, "size", lambda: 1)
    monkeypatch.setattr(distributed, "rank", lambda: 0)
    alone = [sample for step in steps(SampleLoader(load), 0, 8) for sample in step]
    assert [seen[number] for number in range(2 * HEADS)] == alone, "and its random numbers are the same"
    epochs = [[head for head, _ in alone[:HEADS]], [head for head, _ in alone[HEADS:]]]
    assert all(Counter(epoch) == Counter(range(HEADS)) for epoch in epochs)
    assert epochs[0] != epochs[1] and epochs[0] != sorted(epochs[0]), "shuffled, each time anew"


def test_a_training_that_goes_on_reads_what_would_have_come():
    assert steps(SampleLoader(load), 3, 6) == steps(SampleLoader(load), 0, 6)[3:]


def test_workers_read_the_same_ahead_and_say_what_they_cannot_read():
    plain = steps(SampleLoader(load), 0, REFUSED)
    loader = SampleLoader(load, workers=1)
    assert steps(loader, 0, REFUSED) == plain and loader._ahead is not None
    with pytest.raises(UserError, match=rf"^sample {REFUSED * BATCH} cannot be read\.$"):
        steps(loader, REFUSED, REFUSED + 1)
    assert steps(loader, 1, 2) == plain[1:2], "a measurement in between needs none of it"
    assert loader._ahead is None


def test_a_worker_that_dies_is_one_sentence():
    def dies():
        raise RuntimeError("DataLoader worker (pid 12) is killed by signal: Killed.")
        yield

    loader = SampleLoader(load, workers=1)
    steps(loader, 0, 1)
    loader._ahead = dies()
    with pytest.raises(UserError, match="died, perhaps for want of memory"):
        steps(loader, 1, 2)


def test_a_folder_of_heads_goes_to_another_process(balls):
    folder = pickle.loads(pickle.dumps(HeadFolder(balls / "canonical")))
    assert folder.load(folder.heads[0]).images.shape == (6, 3, 32, 32)


def test_chunks_are_as_large_as_they_may_be():
    assert [*chunked(iter(range(5)), 2)] == [[0, 1], [2, 3], [4]]
