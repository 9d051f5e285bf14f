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

PATIENCE = 2.0
"""Seconds that an interrupted command has to tidy up before it may be ended at once."""

BROKEN_PIPE = 128 + 13
"""The exit code of a command whose reader has gone, as shells tell of one that SIGPIPE ends."""

_STOPPING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Interruption:
    """A signal that asks the command to stop: it becomes a KeyboardInterrupt, so that temporary files go.

    Libraries swallow such an exception here and there, or turn it into another one: what matters is
    `requested`, and `check` raises it again where the command passes by.
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
        """Begin to listen, but not to signals that whoever started the command has it ignore (nohup, `&`)."""
        self._answer(self._stop)
        sys.unraisablehook = self._raise_later
        atexit.register(self._end)  # before everybody else, so that it is called last

    def end_at_once(self, code: int) -> None:
        """From here on there is nothing left to tidy up: a signal ends the process with `code`."""
        self._code = code
        self._answer(lambda *_: os._exit(code))

    def _end(self) -> None:
        """After all else that is done at exit: the interpreter's own end is slow, and hears no signal."""
        if self._code is not None:
            os._exit(self._code)

    def _answer(self, handler: Callable[[int, Any], Any]) -> None:
        for number in _STOPPING:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, handler)

    def _stop(self, number: int, _: Any) -> None:
        if not self.requested:
            self._signal, self._since = number, time.monotonic()
            raise KeyboardInterrupt
        if time.monotonic() - self._since > PATIENCE:
            os._exit(self.exit_code)

    def _raise_later(self, unraisable: Any) -> None:
        """An interruption within a destructor goes nowhere: send the signal again, in a moment."""
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            sys.__unraisablehook__(unraisable)
        elif self._signal is not None:
            number, self._signal = self._signal, None
            threading.Timer(0.01, signal.raise_signal, (number,)).start()


interruption = Interruption()


class _Results(io.FileIO):
    """Standard output. Whoever closes it wants no more: the command stops, in silence."""

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
            sys.exit(BROKEN_PIPE)
        raise UserError(f"Cannot write standard output: {explain(error)}.") from error


class _Notes(_Results):
    """Standard error. The work goes on, whether or not anybody reads how far it is."""

    def _fail(self, error: OSError) -> None:
        pass


def open_streams() -> None:
    """Have standard output and error take whatever is printed, wherever they lead."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # closed by the caller (`2>&-`): the next file to be opened would take its place
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout = _forgiving(sys.stdout, 1, _Results)
    sys.stderr = _forgiving(sys.stderr, 2, _Notes)


def _forgiving(stream: Any, descriptor: int, kind: type[_Results]) -> Any:
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


def run_and_leave(work: Callable[[], int]) -> NoReturn:
    """Do the work, whose result is the exit code, and end the process."""
    try:
        _leave(_outcome(work))
    except KeyboardInterrupt:
        _leave(interruption.exit_code)


def _outcome(work: Callable[[], int]) -> int:
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


def _leave(code: int) -> NoReturn:
    """End the process with `code`; one that was asked to stop as such, at once, whatever is half loaded."""
    if interruption.requested:
        os._exit(interruption.exit_code)  # every line is out; what an interrupted write left would come twice
    interruption.end_at_once(code)
    for stream in (sys.stdout, sys.stderr):
        with suppress(SystemExit, UserError):
            stream.flush()
    sys.exit(code)
