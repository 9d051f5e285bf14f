"""What a training reports: lines for people in `log.txt`, records for programs in `metrics.jsonl`."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch.utils.flop_counter import FlopCounterMode

from facelift.formats.files import atomic_path
from facelift.train.task import Loss

PEAK_MATRIX_SIDE = {"cpu": 1024, "cuda": 8192}
"""Side of the square matrices whose product measures a device's peak, by the device's type."""


class Means:
    """Means of losses by name, weighted by their samples."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def add(self, loss: Loss) -> None:
        """Take in the parts of a loss."""
        for name, value in loss.parts.items():
            self._sums[name] = self._sums.get(name, 0.0) + loss.samples * float(value)
            self._counts[name] = self._counts.get(name, 0) + loss.samples

    def merge(self, other: Means) -> None:
        """Take in those of another process."""
        for name, total in other._sums.items():
            self._sums[name] = self._sums.get(name, 0.0) + total
            self._counts[name] = self._counts.get(name, 0) + other._counts[name]

    def values(self) -> dict[str, float]:
        """The means so far."""
        return {name: total / self._counts[name] for name, total in self._sums.items()}


class MetricsFile:
    """A file of one JSON object a line, each with its `step`; a kill costs the line being written.

    Args:
        path: of the file. A line that was not finished is dropped, and so are records of steps after `step`,
            which a resumed training does again.
        step: at which the training begins.
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        kept = "".join(line for line in text.splitlines(keepends=True) if _is_record(line, step))
        if kept != text:
            with atomic_path(path) as aside:
                aside.write_text(kept, encoding="utf-8")

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a line; numbers that are not finite become null."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(_plain(record)) + "\n")


class TrainingLog:
    """Means over the steps since the last record, written to `log.txt`, `metrics.jsonl` and the console.

    Args:
        folder: where the files are; None notes nothing, for all processes but the first.
        step: at which the training begins.
        batch: samples a step.
        flops: floating-point operations of a step.
        peak: floating-point operations a second that the device could do.
    """

    def __init__(self, folder: Path | None, step: int, batch: int, flops: float, peak: float) -> None:
        self._folder, self._console = folder, Console(quiet=folder is None)
        self._file = None if folder is None else MetricsFile(folder / "metrics.jsonl", step)
        self._batch, self._flops, self._peak = batch, flops, peak
        self._begin()

    def add(self, losses: Mapping[str, float] | None, seconds: float) -> None:
        """Note a step that took so long; None are the losses of one that was skipped."""
        self._steps += 1
        self._seconds += seconds
        if losses is not None:
            for name, value in losses.items():
                self._losses.setdefault(name, []).append(value)

    def write(
        self, step: int, minutes: float, lr: float, skipped: int, validation: Mapping[str, float] | None
    ) -> None:
        """One record of the steps since the last one.

        Args:
            step: how many there have been since the training began.
            minutes: that it has taken.
            lr: of the last step, AdamW's.
            skipped: how many steps had no finite loss or gradient.
            validation: losses on held-out heads, if they were measured.
        """
        losses = {name: sum(values) / len(values) for name, values in self._losses.items()}
        speed = self._steps * self._batch / self._seconds if self._seconds > 0 else math.nan
        share = speed / self._batch * self._flops / self._peak
        record = {
            "step": step,
            "samples": step * self._batch,
            "minutes": minutes,
            "losses": losses,
            "lr": lr,
            "samples_per_second": speed,
            "peak_share": share,
            "skipped": skipped,
        }
        if self._file is not None:
            self._file.append(record if validation is None else {**record, "validation": validation})
        text = "  ".join(f"{name} {value:.4f}" for name, value in losses.items())
        line = f"{minutes:7.1f} min  step {step}  samples {step * self._batch}  {text}"
        line += f"  lr {lr:.1e}  {speed:.2f} samples/s  {share:.2%} of peak"
        if skipped:
            line += f"  skipped {skipped}"
        self.say(line)
        if validation is not None:
            self.say("held out: " + "  ".join(f"{name} {value:.4f}" for name, value in validation.items()))
        self._begin()

    def say(self, line: str) -> None:
        """A line for people."""
        self._console.print(line, highlight=False, soft_wrap=True)
        if self._folder is not None:
            with (self._folder / "log.txt").open("a", encoding="utf-8") as log:
                log.write(line + "\n")

    def _begin(self) -> None:
        self._losses: dict[str, list[float]] = {}
        self._steps, self._seconds = 0, 0.0


def count_flops(work: Callable[[], object]) -> int:
    """Floating-point operations of the matrix products and convolutions in `work`, backward passes too."""
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def measure_peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of the device at its best: the fastest of some matrix products."""
    side = PEAK_MATRIX_SIDE.get(device.type, 1024)
    matrix = torch.ones(side, side, device=device, dtype=dtype)
    times = []
    for _ in range(6):
        started = time.perf_counter()
        matrix @ matrix
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - started)
    return 2 * side**3 / min(times)


def _is_record(line: str, step: int) -> bool:
    """Whether it is a whole record of that step or of one before it."""
    try:
        return line.endswith("\n") and bool(json.loads(line)["step"] <= step)
    except (ValueError, KeyError, TypeError):
        return False


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
