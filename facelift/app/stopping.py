"""How the server ends when it is told to."""

from __future__ import annotations

import logging
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn

from facelift.app.queue import TaskQueue

FETCH_SECONDS = 3.0  # that the last visitors have to save their heads


class Server(uvicorn.Server):
    """uvicorn's, which ends without a word about the streams that are still followed: they see their end.

    Ctrl-C and SIGHUP end it at once. SIGTERM, by which service managers stop what they run, has it take no
    new heads and finish those that it has, for as long as `drain` says; a second one ends it at once.

    Args:
        config: uvicorn's.
        queue: of the tasks.
        drain: seconds.
    """

    def __init__(self, config: uvicorn.Config, queue: TaskQueue, drain: float = 0.0) -> None:
        super().__init__(config)
        self._queue, self._drain = queue, drain
        self._deadline: float | None = None
        self._busy = 0.0

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle SIGHUP, too, unless nohup has it ignored."""
        hangup = getattr(signal, "SIGHUP", None)  # Windows has none
        with super().capture_signals():
            if hangup is None or signal.getsignal(hangup) == signal.SIG_IGN:
                yield
                return
            before = signal.signal(hangup, self.handle_exit)
            try:
                yield
            finally:
                signal.signal(hangup, before)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop, or begin to."""
        if sig == signal.SIGTERM and self._drain and self._deadline is None:
            self._queue.closed = True
            self._deadline = time.monotonic() + self._drain
            self._busy = time.monotonic() - FETCH_SECONDS  # with nothing to do it ends at once
        else:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Whether to end now; asked ten times a second."""
        if self._deadline is not None and not self.should_exit:
            now = time.monotonic()
            if any(self._queue.lengths):
                self._busy = now
            if now > self._deadline or now - self._busy > FETCH_SECONDS:
                super().handle_exit(signal.SIGTERM, None)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End."""
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        await super().shutdown(sockets)
