"""The process that the command runs in: its descriptors, streams, signals and the way out."""

from __future__ import annotations

import atexit
import errno
import io
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from facelift.errors import UserError
from facelift.formats.files import explain

GRACE_PERIOD = 2.0
"""Seconds that an interrupted command has to tidy up; after them, a second signal ends it at once."""

BROKEN_PIPE_EXIT_CODE = 128 + 13
"""The exit code that shells report for a command that SIGPIPE ends: its reader has closed the pipe."""

_STOPPING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Interruption:
    """A signal that asks the command to stop: it becomes a KeyboardInterrupt, so that temporary files go.

    Some libraries swallow that exception or turn it into another one, so `requested` remembers it, and the
    command calls `check` between its steps to raise it again.
    """

    def __init__(self) -> None:
        self._signal: int | None = None
        self._since = 0.0
        self._code: int | None = None

    @property
    def requested(self) -> bool:
        """Whether the command was asked to stop."""
        return self._signal is not None

    @property
    def exit_code(self) -> int:
        """130 for Ctrl-C; 128 and the number of any other signal."""
        return 128 + (self._signal or signal.SIGINT)

    def check(self) -> None:
        """Stop here if the command was asked to stop.

        Raises:
            KeyboardInterrupt: it was.
        """
        if self.requested:
            raise KeyboardInterrupt

    def catch(self) -> None:
        """Handle signals from here on, except those that the parent process ignores (nohup, `&`)."""
        self._set_handlers(self._stop)
        sys.unraisablehook = self._raise_later
        atexit.register(self._end)  # registered first, so called last

    def end_at_once(self, code: int) -> None:
        """Nothing is left to tidy up: from here on a signal ends the process at once, with `code`."""
        self._code = code
        self._set_handlers(lambda *_: os._exit(code))

    def _end(self) -> None:
        """Runs last at exit, and skips the interpreter's own end, which is slow and handles no signals."""
        if self._code is not None:
            os._exit(self._code)

    def _set_handlers(self, handler: Callable[[int, Any], Any]) -> None:
        for number in _STOPPING:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, handler)

    def _stop(self, number: int, _: Any) -> None:
        if not self.requested:
            self._signal, self._since = number, time.monotonic()
            raise KeyboardInterrupt
        if time.monotonic() - self._since > GRACE_PERIOD:
            os._exit(self.exit_code)

    def _raise_later(self, unraisable: Any) -> None:
        """An interruption within a destructor is not raised: send the signal again, a moment later."""
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            sys.__unraisablehook__(unraisable)
        elif self._signal is not None:
            number, self._signal = self._signal, None
            threading.Timer(0.01, signal.raise_signal, (number,)).start()


interruption = Interruption()


class _StandardOutput(io.FileIO):
    """Standard output. Once its reader has closed it the command stops, without a message."""

    _gone = False

    def write(self, data: Any) -> int:
        if not self._gone:
            try:
                return super().write(data)
            except OSError as error:
                self._gone = True  # or the interpreter complains once more when it closes the stream
                self._fail(error)
        return memoryview(data).nbytes

    def _fail(self, error: OSError) -> None:
        if isinstance(error, BrokenPipeError) or (os.name == "nt" and error.errno == errno.EINVAL):
            sys.exit(BROKEN_PIPE_EXIT_CODE)
        raise UserError(f"Cannot write standard output: {explain(error)}.") from error


class _StandardError(_StandardOutput):
    """Standard error. The work goes on even if its reader has closed it."""

    def _fail(self, error: OSError) -> None:
        pass


def open_streams() -> None:
    """Have standard output and error take whatever is printed, wherever they lead."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # closed by the caller (`2>&-`): the next file to be opened would take its place
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout = _tolerant(sys.stdout, 1, _StandardOutput)
    sys.stderr = _tolerant(sys.stderr, 2, _StandardError)


def _tolerant(stream: Any, descriptor: int, kind: type[_StandardOutput]) -> Any:
    """A stream in place of `stream` that escapes what the encoding lacks, and fails as `kind` does."""
    if stream is not None:
        raw = getattr(stream.buffer, "raw", stream.buffer)  # the same where Python runs unbuffered
        if not isinstance(raw, io.FileIO):  # a console of Windows
            stream.reconfigure(errors="backslashreplace")
            return stream
    return io.TextIOWrapper(
        io.BufferedWriter(kind(descriptor, "w", closefd=False)),
        stream.encoding if stream is not None else "utf-8",
        "backslashreplace",
        line_buffering=True,
    )


def run_and_exit(work: Callable[[], int]) -> NoReturn:
    """Do the work, whose result is the exit code, and end the process."""
    try:
        _exit(_run(work))
    except KeyboardInterrupt:
        _exit(interruption.exit_code)


def _run(work: Callable[[], int]) -> int:
    """Do the work; the exit code."""
    try:
        open_streams()
        interruption.catch()
        return work()
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    except Exception:
        if not interruption.requested:
            traceback.print_exc()
        return 1


def _exit(code: int) -> NoReturn:
    """End the process with `code`; one that was asked to stop as such, at once, whatever is half loaded."""
    if interruption.requested:
        os._exit(interruption.exit_code)  # every line is out; what an interrupted write left would come twice
    interruption.end_at_once(code)
    for stream in (sys.stdout, sys.stderr):
        with suppress(SystemExit, UserError):
            stream.flush()
    sys.exit(code)
