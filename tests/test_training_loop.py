"""The training loop on a problem whose every number is known: time box, kills, faults, validation."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toys import BOX, CONFIG, OPTIMUM, STEPS, Clock, Toy, run

from facelift.errors import UserError
from facelift.train import state as state_module
from facelift.train.loop import train
from facelift.train.metrics import MetricsFile, count_flops, measure_peak_flops
from facelift.train.state import TrainingState
from facelift.train.task import generator_for

HERE = Path(__file__).parent
EXACT = ("step", "minutes", "lr", "losses", "validation", "samples", "skipped", "samples_per_second")


def metrics(folder):
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{name: record.get(name) for name in EXACT} for record in map(json.loads, lines)]


def checkpoint(folder):
    return torch.load(folder / "state.pt", weights_only=True)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_killed_time_box_goes_on_at_its_place_and_rate(tmp_path):
    killed_at = 23
    run(tmp_path / "whole", Clock())
    killed = subprocess.run(
        [sys.executable, HERE / "toys.py", tmp_path / "parts", str(killed_at)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)])},
        capture_output=True,
        timeout=240,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert [record["step"] for record in metrics(tmp_path / "parts")] == [*range(1, killed_at + 1)]
    with (tmp_path / "parts/metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 24, "min')  # what a kill leaves of a line
    run(tmp_path / "parts", Clock(1e6))

    whole, parts = metrics(tmp_path / "whole"), metrics(tmp_path / "parts")
    assert whole == parts and [record["step"] for record in whole] == [*range(1, STEPS + 1)]
    assert len({record["lr"] for record in whole}) > 20, "the rate follows the clock"
    first, second = checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "parts")
    assert first["elapsed"] == second["elapsed"] == sum(4.0 if i % 3 == 0 else 1.0 for i in range(STEPS))
    torch.testing.assert_close(first["model"], second["model"], rtol=0, atol=0)
    torch.testing.assert_close(first["average"], second["average"], rtol=0, atol=0)
    torch.testing.assert_close(first["optimizers"], second["optimizers"], rtol=0, atol=0)


def test_a_run_that_ends_before_its_first_checkpoint_begins_anew(tmp_path):
    def interrupted(step, loss):
        if step == 3:
            raise KeyboardInterrupt
        return loss

    run(tmp_path / "whole", Clock())
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", Clock(), interrupted)
    assert len(metrics(tmp_path / "parts")) == 3
    run(tmp_path / "parts", Clock())
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "parts")


def test_a_used_up_box_takes_no_more_steps_and_a_larger_one_does(tmp_path):
    for minutes, steps in ((0.5, 15), (0.5, 15), (1.0, 30)):
        clock = Clock(7.0)
        train(Toy(clock), CONFIG, tmp_path, minutes, clock=clock)
        assert checkpoint(tmp_path)["step"] == steps, "three steps take six seconds"
        assert (tmp_path / "exported").exists()


def test_the_rate_rises_stays_and_falls_within_the_box(tmp_path):
    clock = Clock()
    train(Toy(clock), replace(CONFIG, warmup=3), tmp_path, 1.0, clock=clock)
    rates = [record["lr"] / CONFIG.lr for record in metrics(tmp_path)]
    elapsed = [0.0, *(record["minutes"] for record in metrics(tmp_path))]
    for step, (rate, before) in enumerate(zip(rates, elapsed, strict=False)):
        left = min(1.0 - before, 1 - step / STEPS)
        fall = max(0.05, min(1.0, left / CONFIG.cooldown))
        assert rate == pytest.approx(min(1.0, (step + 1) / 3) * fall)
    assert rates[-1] < 0.2 < max(rates) == 1.0


def test_it_finds_a_known_optimum(tmp_path):
    train(Toy(), replace(CONFIG, max_steps=300, log_every=1e9), tmp_path)
    assert (checkpoint(tmp_path)["model"]["weight"][:, 0] - OPTIMUM).abs().max() < 0.01
    exported = torch.tensor(json.loads((tmp_path / "exported").read_text(encoding="utf-8")))
    torch.testing.assert_close(exported, checkpoint(tmp_path)["average"]["module.weight"][:, 0])


def test_averaged_weights_are_the_exponential_mean():
    task = Toy()
    state = TrainingState(task, replace(CONFIG, ema=0.3), Path("unused"))
    expected = None
    for count in range(6):
        state.advance(1.0)
        weights = task.model.weight.detach().clone()
        decay = min(0.3, (1 + count) / (10 + count))
        expected = weights if expected is None else decay * expected + (1 - decay) * weights
    torch.testing.assert_close(state.average.module.weight.detach(), expected)
    with state.averaged():
        torch.testing.assert_close(task.model.weight.detach(), expected)
    assert torch.equal(task.model.weight, weights)


def not_finite(*steps):
    return lambda step, loss: loss * float("nan") if step in steps else loss


def steep(*steps):
    """A finite loss whose gradient is not."""
    return lambda step, loss: loss + (0 * loss).sqrt() if step in steps else loss


@pytest.mark.parametrize("fault", [not_finite, steep])
def test_steps_without_finite_losses_or_gradients_are_skipped_and_counted(tmp_path, fault):
    run(tmp_path, Clock(), fault(6, 7, 20))
    records = metrics(tmp_path)
    assert [record["skipped"] for record in records][5:9] == [0, 1, 2, 2]
    assert records[-1]["skipped"] == checkpoint(tmp_path)["skipped"] == 3
    assert records[6]["losses"] == {} and all(r["losses"] for r in records if r["step"] not in (7, 8, 21))
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text(encoding="utf-8")
    assert "skipped 3" in (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert checkpoint(tmp_path)["model"]["weight"].isfinite().all()


@pytest.mark.parametrize("fault", [not_finite, steep])
def test_after_some_in_a_row_it_stops_at_the_last_good_checkpoint(tmp_path, fault):
    with pytest.raises(UserError, match=r"10 steps in a row .* checkpoint of step 18 stays in .*state\.pt"):
        run(tmp_path, Clock(), fault(*range(18, STEPS)))
    kept = checkpoint(tmp_path)
    assert kept["model"]["weight"].isfinite().all() and not (tmp_path / "exported").exists()
    with pytest.raises(UserError, match="was not yet written"):
        run(tmp_path / "none", Clock(), fault(*range(STEPS)))


def test_weights_that_are_not_finite_are_never_saved_over_good_ones(tmp_path):
    task = Toy()
    state = TrainingState(task, CONFIG, tmp_path / "state.pt")
    state.advance(1.0)
    state.save()
    good = (tmp_path / "state.pt").read_bytes()
    with torch.no_grad():
        task.model.weight[0] = torch.inf
    with pytest.raises(UserError, match=r"weights are not finite.* checkpoint of step 1 stays"):
        state.save()
    assert (tmp_path / "state.pt").read_bytes() == good


def in_half(step, loss):
    """As float16 computes: a gradient of 2 overflows once it is multiplied by 32,768 or more."""
    return (2 * loss.half()).float() / 2


def test_float16_has_a_gradient_scaler_that_is_resumed(tmp_path, monkeypatch):
    """Its first scale, 65,536, overflows; halving that is no failure, and is not done again after a kill."""
    monkeypatch.setattr(state_module, "autocast_dtype", lambda device: torch.float16)
    config = replace(CONFIG, max_failures=1, max_steps=10, log_every=1e9)
    train(Toy(fault=in_half), config, tmp_path)
    kept = checkpoint(tmp_path)
    assert kept["scaler"]["scale"] <= 32768 and kept["skipped"] >= 1
    resumed = TrainingState(Toy(), config, tmp_path / "state.pt")
    assert resumed.scaler.get_scale() != kept["scaler"]["scale"]
    resumed.resume()
    assert resumed.scaler.get_scale() == kept["scaler"]["scale"]
    train(Toy(fault=in_half), replace(config, max_steps=300), tmp_path)
    assert checkpoint(tmp_path)["skipped"] == kept["skipped"]
    assert (checkpoint(tmp_path)["model"]["weight"][:, 0] - OPTIMUM).abs().max() < 0.05


def test_a_scaler_changes_no_step(monkeypatch):
    """Scales are powers of two, so that scaled gradients are the plain ones to the last bit."""
    weights = []
    for dtype in (torch.float32, torch.float16):
        monkeypatch.setattr(state_module, "autocast_dtype", lambda device, dtype=dtype: dtype)
        task = Toy()
        state = TrainingState(task, CONFIG, Path("unused"))
        assert state.scaler.is_enabled() == (dtype == torch.float16)
        for _ in range(5):
            state.advance(1.0)
        weights.append(task.model.weight.detach().clone())
    assert torch.equal(*weights)


def test_held_out_heads_are_measured_with_the_averaged_weights(tmp_path):
    run(tmp_path, Clock())
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text("utf-8").splitlines()]
    measured = [record["step"] for record in records if "validation" in record]
    assert measured[0] == 6 and measured[-1] == STEPS, "every twelve seconds and at the end"
    average = checkpoint(tmp_path)["average"]["module.weight"][:, 0]
    noise = 0.01 * torch.randn(3, generator=generator_for(CONFIG.seed, -1))
    expected = (average - OPTIMUM - noise).square().mean()
    assert records[-1]["validation"]["error"] == pytest.approx(float(expected), rel=1e-5)
    assert all(record["peak_share"] == 0 for record in records), "the toy has no matrix product"


def test_training_leaves_the_callers_threads_and_random_numbers_alone(tmp_path):
    task = Toy()
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    train(task, replace(CONFIG, max_steps=2, threads=threads + 1), tmp_path)
    assert torch.equal(torch.get_rng_state(), before) and torch.get_num_threads() == threads


def test_a_step_is_counted_in_floating_point_operations():
    layer, x = torch.nn.Linear(8, 16, bias=False), torch.ones(4, 8)
    forward = 2 * 4 * 8 * 16
    assert count_flops(lambda: layer(x)) == forward
    assert count_flops(lambda: layer(x).sum().backward()) == 2 * forward, "the weights' gradient is as much"
    assert measure_peak_flops(torch.device("cpu"), torch.float32) > 1e6


def test_metrics_keep_what_is_whole_and_not_to_be_done_again(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = ['{"step": 1}', '{"step": 3, "loss": null}', "damage", '{"step": 4}', '{"st']
    path.write_text("\n".join(lines), encoding="utf-8")
    log = MetricsFile(path, step=3)
    log.append({"step": 4, "losses": {"a": float("nan")}})
    assert path.read_text(encoding="utf-8").splitlines() == [*lines[:2], '{"step": 4, "losses": {"a": null}}']


def test_the_box_is_larger_than_the_steps():
    """What the tests above lean on."""
    assert sum(4.0 if i % 3 == 0 else 1.0 for i in range(STEPS)) < 60 * BOX
