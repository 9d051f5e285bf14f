"""What the command shows: results on stdout, notes and complaints on stderr, how far the work is."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from facelift.cli.process import interruption


def tell(line: str) -> None:
    """A result, at once: whoever reads it may wait for it."""
    print(printable(line), flush=True)


def say(line: str) -> None:
    """A note about the work: on stderr, which leaves stdout to the results."""
    print(printable(line), file=sys.stderr, flush=True)


def complain(sentence: str) -> None:
    """An error, on one line whatever it brought."""
    say(" ".join(["facelift:", *sentence.split()]))


def printable(line: str) -> str:
    """The line with an escape in place of what would do something to a terminal.

    A file's name may have line breaks and control characters, and bytes that are no text at all.
    """
    return "".join(ascii(c)[1:-1] if unicodedata.category(c) in _UNPRINTABLE else c for c in line)


_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})  # controls, surrogates, separators of lines and paragraphs


@contextmanager
def status(what: str) -> Iterator[Callable[[Iterable[Any]], Iterable[Any]]]:
    """A spinner on a terminal, a plain line elsewhere; yields what shows how far a sequence of steps is.

    Raises:
        KeyboardInterrupt: before and after, if the command was asked to stop.
    """
    interruption.check()
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.text import Text

        console, what = Console(stderr=True), printable(what)
        spinner = "dots" if console.encoding.startswith("utf") else "line"
        with console.status(Text(what), spinner=spinner) as shown:

            def show(steps: Iterable[Any]) -> Iterator[Any]:
                steps = list(steps)
                for number, step in enumerate(steps, 1):
                    shown.update(Text(f"{what}, step {number} of {len(steps)}"))
                    yield step
                shown.update(Text(what))

            yield show
    else:
        say(what)
        yield iter
    interruption.check()


def track(frames: Iterable[Any], total: int, what: str = "Rendering the turntable") -> Iterable[Any]:
    """A progress bar on a terminal, a plain line elsewhere."""
    if not sys.stderr.isatty():
        say(what)
        return frames
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import track

    shown = escape(printable(what))
    return track(frames, shown, total, console=Console(stderr=True), transient=True)


def duration(seconds: float) -> str:
    """Two figures at most, for more would be a promise."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    minutes = seconds / 60
    return f"{minutes:.0f} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"


def tell_timings(rows: list[tuple[str, float]]) -> None:
    """A table of stages and seconds, and their sum."""
    rows = [*rows, ("total", sum(seconds for _, seconds in rows))]
    width = max(len(stage) for stage, _ in rows)
    for stage, seconds in rows:
        tell(f"{stage:<{width}}  {seconds:8.2f} s")
