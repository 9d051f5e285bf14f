"""Threads share a model, processes are spawned, and a fork that would hang is refused."""

import copy
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import digest, lift, tiny_folder

from facelift import FaceLift, devices

TESTS = Path(__file__).parent
THREADS = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_folder(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def model(folder):
    return FaceLift.from_pretrained(folder, device="cpu", dtype="float32")


def raising():
    return np.errstate(all="raise")


def at_once(work, count=THREADS):
    """[work(0), ..., work(count - 1)], each in a thread of its own that starts with the others."""
    start = threading.Barrier(count)

    def begin(i):
        start.wait()
        return work(i)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(begin, range(count)))


def test_each_thread_has_the_head_that_it_would_have_alone(model):
    """Each in a torch state of its own, too."""
    states = [
        nullcontext,
        torch.inference_mode,
        lambda: torch.device("meta"),
        lambda: np.errstate(all="raise"),
    ]
    alone = [digest(lift(model, seed)) for seed in range(THREADS)]
    assert len(set(alone)) == THREADS

    def work(i):
        with states[i % len(states)]():
            return digest(lift(model, i))

    for _ in range(3):
        assert at_once(work) == alone


def test_a_model_that_is_moved_for_each_call_is_there_for_all(model, monkeypatch):
    """Offload brings a stage to the device and back. One that is away for another call cannot compute."""
    alone = [digest(lift(model, seed)) for seed in range(THREADS)]
    visitors = []
    on_device = devices.on_device

    class Visit:
        def __init__(self, module, device):
            self.inner = on_device(module, device)

        def __enter__(self):
            visitors.append(threading.get_ident())
            assert set(visitors) == {threading.get_ident()}, "two threads move modules at once"
            self.inner.__enter__()

        def __exit__(self, *error):
            visitors.pop()
            self.inner.__exit__(*error)

    for place in ("facelift.pipeline.on_device", "facelift.views.generator.on_device"):
        monkeypatch.setattr(place, Visit)
    for _ in range(2):
        assert at_once(lambda i: digest(lift(model, i))) == alone


def test_all_that_a_model_does_can_be_done_at_once(model, folder, tmp_path):
    head = lift(model)
    alone = digest(head)

    def work(i):
        if i % 4 == 0:
            return digest(lift(model))
        if i % 4 == 1:
            model.save_pretrained(tmp_path / str(i))
            return (tmp_path / str(i) / "views/model.safetensors").read_bytes()
        if i % 4 == 2:
            return model.reconstruct(head.views, refinement=2).means.numpy().tobytes()
        return head.render(head_cameras()).numpy().tobytes()

    expected = [work(i) for i in range(4)]
    assert expected[0] == alone and expected[1] == (folder / "views/model.safetensors").read_bytes()
    for _ in range(2):
        assert at_once(work) == expected * 2


def head_cameras():
    from facelift.cameras import canonical_rig

    return canonical_rig(32)


def test_two_models_work_side_by_side(folder):
    models = [FaceLift.from_pretrained(folder, device="cpu", dtype=d) for d in ("float32", "bfloat16")]
    alone = [digest(lift(model)) for model in models]
    for _ in range(2):
        assert at_once(lambda i: digest(lift(models[i % 2]))) == alone * (THREADS // 2)


def test_a_call_within_a_call_does_not_wait_for_itself(model):
    inner = []

    def progress(steps):
        inner.append(digest(lift(model, 1)))
        return steps

    lift(model, progress=progress)
    assert inner == [digest(lift(model, 1))]


def test_a_call_that_fails_gives_its_turn_away(model):
    def fail(steps):
        raise OSError

    alone = digest(lift(model, 1))

    def work(i):
        if i % 2:
            return digest(lift(model, 1))
        with pytest.raises(OSError):
            lift(model, progress=fail)
        return None

    assert at_once(work) == [None, alone] * (THREADS // 2)


def test_copies_have_locks_of_their_own(model):
    with model.lock:
        for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            with ThreadPoolExecutor(1) as pool:  # another thread could not enter the held one
                assert pool.submit(lambda twin=twin: digest(lift(twin))).result(60) == digest(lift(model))


# --- processes


def lifted(model):
    torch.set_num_threads(1)
    return digest(lift(model))


def test_spawned_processes_make_the_same_head(model):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = digest(lift(model))
    finally:
        torch.set_num_threads(threads)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert list(pool.map(lifted, [model, model])) == [alone, alone]


FORKED = """
import os, sys, torch
from facelift import FaceLift
from facelift.errors import UserError
from tiny import digest, lift

def load():
    return FaceLift.from_pretrained(sys.argv[1], device="cpu", dtype="float32")


torch.set_num_threads(int(sys.argv[2]))
model = load()
alone = digest(lift(model))
if os.fork() == 0:
    for use in (lambda: lift(model), lambda: lift(load())):
        try:
            print("same" if digest(use()) == alone else "other", flush=True)
        except UserError as error:
            print(error, flush=True)
    os._exit(0)
os.wait()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks on Windows")
@pytest.mark.parametrize("threads", [1, 2])
def test_a_fork_after_the_first_use_is_refused_where_it_would_hang(folder, threads):
    """The model that was there before it, and one that is loaded after it."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])}
    command = [sys.executable, "-c", FORKED, str(folder), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=240)
    said = done.stdout.splitlines()
    assert len(said) == 2, done.stderr
    for line in said:
        if threads == 1:
            assert line == "same"
        else:
            assert line.startswith("This process was forked") and '"spawn"' in line
