"""What the command shows beside its results: notes, how far the work is, complaints."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any


def complain(sentence: str) -> None:
    """An error, on one line whatever it brought."""
    print("facelift:", *sentence.split(), file=sys.stderr, flush=True)


def say(line: str) -> None:
    """A note about the work: on stderr, which leaves stdout to the results."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def status(what: str) -> Iterator[Callable[[Iterable[Any]], Iterable[Any]]]:
    """A spinner on a terminal, a plain line elsewhere; yields what shows how far a sequence of steps is."""
    if sys.stderr.isatty():
        from rich.console import Console

        with Console(stderr=True).status(what) as spinner:

            def show(steps: Iterable[Any]) -> Iterator[Any]:
                steps = list(steps)
                for number, step in enumerate(steps, 1):
                    spinner.update(f"{what}, step {number} of {len(steps)}")
                    yield step
                spinner.update(what)

            yield show
    else:
        say(what)
        yield iter


def track(frames: Iterable[Any], total: int) -> Iterable[Any]:
    """A progress bar on a terminal, a plain line elsewhere."""
    if not sys.stderr.isatty():
        say("Rendering the turntable")
        return frames
    from rich.console import Console
    from rich.progress import track

    return track(frames, "Rendering the turntable", total, console=Console(stderr=True), transient=True)


def duration(seconds: float) -> str:
    """Two figures at most, for more would be a promise."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    minutes = seconds / 60
    return f"{minutes:.0f} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"


def print_timings(rows: list[tuple[str, float]]) -> None:
    """A table of stages and seconds, and their sum, on stdout."""
    rows = [*rows, ("total", sum(seconds for _, seconds in rows))]
    width = max(len(stage) for stage, _ in rows)
    for stage, seconds in rows:
        print(f"{stage:<{width}}  {seconds:8.2f} s")
