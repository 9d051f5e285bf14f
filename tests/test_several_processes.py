"""Trainings that several processes share: the same as one's, and they end together."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from paper import reconstructor_config, write_heads, write_vgg19

from facelift.errors import UserError
from facelift.train import distributed, run
from facelift.train.launch import launch

ROOT = Path(__file__).parents[1]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "FACELIFT_CPU_BFLOAT16": "0", "OMP_NUM_THREADS": "1"}

pytestmark = [
    pytest.mark.usefixtures("float32"),
    pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL"),
]


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The last stage of the paper's reconstructor in two processes, of which one is killed on the way."""
    folder = tmp_path_factory.mktemp("two")
    heads = write_heads(folder / "heads", 32)
    path = reconstructor_config(folder, "reconstructor", heads, write_vgg19(folder / "vgg.safetensors"))
    config = yaml.safe_load(path.read_text())
    del config["training"]["init_from"]
    config["loop"] |= {
        "batch": 4,
        "log_every": 0.0,
        "save_every": 0.0,
        "picture_every": 1e9,
        "max_steps": 10_000,
    }
    config["loop"] |= {
        "lr": 1e-6,
        "cooldown": 0.0,
        "warmup": 1000,
    }  # or rounding errors grow
    path.write_text(yaml.safe_dump(config))
    out, command = folder / "two", [sys.executable, "-m", "facelift.cli", "train", "reconstructor", path]
    training = subprocess.Popen(
        [*command, "--out", out, "--device", "cpu", "--processes", "2"],
        env=ENVIRONMENT,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until = time.monotonic() + 600  # a busy machine is slow
        while len(records(out)) < 3 and training.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        second = int(children(training.pid)[-1])
        os.kill(second, signal.SIGKILL)
        _, said = training.communicate(timeout=600)
    finally:
        training.kill()
    return path, out, training.returncode, said


def children(parent: int) -> list[str]:
    """Of the processes that train; one that multiprocessing starts for itself comes before them."""
    found = subprocess.run(
        ["ps", "--ppid", str(parent), "-o", "pid=", "--sort=pid"], capture_output=True, text=True
    )
    return found.stdout.split()


def records(out):
    path = out / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def checkpoint(out):
    return torch.load(out / "state.pt", weights_only=True)


def until_step(path, out, steps):
    """The same training in one process, to that step."""
    config = yaml.safe_load(path.read_text())
    config["loop"]["max_steps"] = steps
    shorter = path.with_name(f"to-{steps}.yaml")
    shorter.write_text(yaml.safe_dump(config))
    run("reconstructor", shorter, out, device="cpu")
    return checkpoint(out)


def same_gradients(one, other):
    """AdamW's first moments are means of the gradients so far."""
    means = [
        torch.cat([state["exp_avg"].flatten() for state in each["optimizers"][0]["state"].values()])
        for each in (one, other)
    ]
    return (means[0] - means[1]).abs().max() <= 1e-6 and means[0].abs().max() > 1e-3


def test_a_killed_process_ends_all_with_one_sentence(killed):
    _, out, code, said = killed
    assert code == 1 and len(said.strip().splitlines()) == 1, said
    assert "Process 1 of the training was killed (SIGKILL)" in said and "the same command again" in said
    assert not [*out.glob(".*")], "nothing half-written"


def test_two_processes_have_the_gradient_of_one_and_another_number_goes_on(killed, tmp_path):
    path, out, _, _ = killed
    two = checkpoint(out)
    one = until_step(path, tmp_path / "one", two["step"])
    assert same_gradients(two, one)
    further = two["step"] + 3
    gone_on = until_step(path, out, further)
    whole = until_step(path, tmp_path / "one", further)
    assert [r["step"] for r in records(out)] == [*range(1, further + 1)]
    for a, b in zip(records(out), records(tmp_path / "one"), strict=True):
        for name, loss in a["losses"].items():
            assert loss == pytest.approx(b["losses"][name], rel=1e-3), (a["step"], name)
    for a, b in zip(gone_on["model"].values(), whole["model"].values(), strict=True):
        assert (a - b).abs().max() < 1e-6
    assert same_gradients(gone_on, whole)


def test_processes_that_do_not_fit_say_so(tmp_path, monkeypatch, killed):
    path = killed[0]
    monkeypatch.setenv("WORLD_SIZE", "8")
    with pytest.raises(UserError, match="8 processes cannot share a `batch` of 4"):
        run("reconstructor", path, tmp_path / "run", device="cpu")
    with pytest.raises(UserError, match="leave --processes out"):
        launch(2, stage="reconstructor", config=path, out=tmp_path / "run")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="RANK is a number that torchrun gives"):
        run("reconstructor", path, tmp_path / "run", device="cpu")
    with pytest.raises(UserError, match="Several processes train views and reconstructor"):
        run("features", _features(tmp_path), tmp_path / "run", device="cpu")
    monkeypatch.setenv("WORLD_SIZE", "many")
    with pytest.raises(UserError, match="WORLD_SIZE is a number"):
        run("reconstructor", path, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def _features(folder):
    path = folder / "features.yaml"
    path.write_text("training: {data: nowhere}")
    return path


def seen_by_both(monkeypatch, *values):
    monkeypatch.setattr(distributed, "gather", lambda value: list(values))


def test_processes_that_disagree_say_about_what(monkeypatch):
    seen_by_both(monkeypatch, ("1000", "north"), ("950", "south"))
    said = (
        "Process 1, on south, has another number of heads in its folders than process 0 \\(950, not 1000\\)"
    )
    with pytest.raises(UserError, match=said):
        distributed.require_same("number of heads in its folders", "1000")
    seen_by_both(monkeypatch, False, True)
    told = pytest.raises(distributed.LostProcessError, match="Process 1 could not begin and says why")
    with told, distributed.together():
        pass
    with pytest.raises(UserError, match=r"^no heads here\.$"), distributed.together():
        raise UserError("no heads here.")


def test_configurations_and_heads_are_compared_before_anything_is_written(tmp_path, monkeypatch, killed):
    asked = []
    monkeypatch.setattr("facelift.train.require_same", lambda what, value: asked.append((what, value)))
    until_step(killed[0], tmp_path / "run", 1)
    (config, first), (number, count), (choice, _) = asked
    assert (config, number, count) == ("configuration", "number of heads in its folders", "3")
    assert choice == "choice of heads in its folders"
    until_step(killed[0], tmp_path / "other", 2)
    assert asked[3][1] != first, "another configuration"
