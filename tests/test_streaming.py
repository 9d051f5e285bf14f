"""Heads that are taken in while they are still being drawn."""

import gc
import multiprocessing
import threading
import time

import pytest
import torch
from balls import STAND_INS

from facelift.data import streaming
from facelift.data.reader import HeadFolder
from facelift.data.streaming import StreamingHeads
from facelift.errors import UserError
from facelift.synth import dataset

CPU = torch.device("cpu")


@pytest.fixture
def make(monkeypatch):
    for thing, name, stand_in in STAND_INS:
        monkeypatch.setattr(thing, name, stand_in)

    def draw(out, heads, **how):
        dataset.synthesize(out, "assets", heads, 32, 1000, "canonical", truth="depth", **how)

    return draw


def wait_for(heads, count):
    until = time.monotonic() + 200
    while len(heads) < count and time.monotonic() < until:
        time.sleep(0.1)
    assert len(heads) == count


@pytest.mark.parametrize("form", ["folders", "shards"])
def test_heads_are_taken_in_as_they_are_drawn(make, tmp_path, form):
    make(tmp_path, 2, form=form)
    heads = StreamingHeads(tmp_path, CPU, depth=True)
    wait_for(heads, 2)
    make(tmp_path, 4, form=form)
    wait_for(heads, 4)
    assert heads.heads == [f"head_{seed:06d}" for seed in range(1000, 1004)], "the new ones come last"

    folder = HeadFolder(tmp_path)
    for head in heads.heads:
        kept, read = heads.load(head, [3, 0], depth=True), folder.load(head, [3, 0], depth=True)
        assert heads.count(head) == folder.count(head) == 6
        assert (kept.images - read.images).abs().max() <= 0.5 / 255 + 1e-6
        assert torch.equal(kept.alpha, read.alpha) and torch.equal(kept.depth, read.depth)
        assert torch.equal(kept.cameras.w2c, read.cameras.w2c)


def test_an_empty_folder_is_waited_for(make, tmp_path):
    drawn = threading.Thread(target=make, args=(tmp_path / "later", 1))  # sooner or later
    drawn.start()
    heads = StreamingHeads(tmp_path / "later", CPU)
    drawn.join()
    assert heads.heads == ["head_001000"]
    assert heads.load("head_001000").depth is None


def test_but_not_forever(tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "FIRST_HEAD_TIMEOUT", 1.0)
    with pytest.raises(UserError, match="No head appears"):
        StreamingHeads(tmp_path / "nowhere", CPU)


def test_a_damaged_head_is_taken_in_when_it_is_mended(make, tmp_path):
    """Those behind it are not kept waiting: they come first."""
    make(tmp_path, 2)
    picture = tmp_path / "head_001000/cam_003.png"
    whole = picture.read_bytes()
    picture.write_bytes(whole[:50])
    heads = StreamingHeads(tmp_path, CPU)
    wait_for(heads, 1)
    assert heads.heads == ["head_001001"]
    picture.write_bytes(whole)
    wait_for(heads, 2)
    assert heads.heads == ["head_001001", "head_001000"]


def test_an_end_of_reading_is_told(make, tmp_path):
    make(tmp_path, 1)
    heads = StreamingHeads(tmp_path, CPU)
    heads._memory.error = "OSError('no more files')."
    with pytest.raises(UserError, match="came to an end: OSError"):
        heads.load("head_001000")


def test_the_reader_ends_with_what_it_reads_for(make, tmp_path):
    make(tmp_path, 1)
    before = set(multiprocessing.active_children())
    heads = StreamingHeads(tmp_path, CPU)
    (reader,) = set(multiprocessing.active_children()) - before
    del heads
    gc.collect()
    reader.join(20)
    assert not reader.is_alive()
