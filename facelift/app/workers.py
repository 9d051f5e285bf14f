"""The server's side of the workers: a thread for each gives it tasks and passes on what it says."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from multiprocessing import connection, get_context
from typing import Any

from facelift.app.queue import Task, TaskQueue
from facelift.app.worker import work
from facelift.errors import UserError
from facelift.processes import block_sigint_in_children

DIED = "The process that made this has ended, perhaps for want of memory: try again, or a smaller photo."
HEARTBEAT = 0.1  # seconds in which a task that is cancelled is told so
CHECK_UP = 2.0  # seconds in which an idle process that has died is replaced


class Workers:
    """Processes that do the tasks of a queue, each one at a time; one that dies is replaced.

    Args:
        queue: where tasks come from.
        model: arguments of `FaceLift.from_pretrained`.
        count: how many; each holds a model of its own.
    """

    def __init__(self, queue: TaskQueue, model: dict[str, Any], count: int = 1) -> None:
        self._workers = [_Worker(queue, model) for _ in range(count)]
        self.info: dict[str, Any] = {}

    def __enter__(self) -> Workers:
        """Start them; meanwhile there is time for other work."""
        try:
            for worker in self._workers:
                worker.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def begin(self) -> None:
        """Wait until each has its model, and have them take tasks from now on.

        Raises:
            UserError: the model cannot be loaded.
        """
        for worker in self._workers:
            self.info = worker.loaded()
        for worker in self._workers:
            threading.Thread(target=worker.serve, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.end()

    @property
    def alive(self) -> bool:
        """Whether all of them are."""
        return all(worker.alive for worker in self._workers)


class _Worker:
    def __init__(self, queue: TaskQueue, model: dict[str, Any]) -> None:
        self._queue, self._model = queue, model
        self._context = get_context("spawn")
        self._ended = False

    def start(self) -> None:
        # Pipes alone: semaphores would be reported as leaked by a command that leaves at once.
        self._connection, theirs = self._context.Pipe()
        stop, self._stop = self._context.Pipe(duplex=False)
        arguments = (theirs, stop, self._model)
        self._process = self._context.Process(target=work, args=arguments, daemon=True)
        with block_sigint_in_children():
            self._process.start()
        theirs.close()  # or its end would not be seen
        stop.close()

    def loaded(self) -> dict[str, Any]:
        """What the process says about its model, once that is loaded."""
        try:
            news = self._connection.recv()
        except (EOFError, OSError):
            raise UserError("The model cannot be loaded, perhaps for want of memory.") from None
        if news["state"] == "failed":
            raise UserError(news["error"])
        return news["result"]

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def end(self) -> None:
        self._ended = True
        if hasattr(self, "_process"):
            self._process.kill()
            self._process.join()

    def serve(self) -> None:
        while True:
            task = self._queue.get(timeout=CHECK_UP)
            if task is None:
                with suppress(EOFError, OSError, UserError):  # the next time it may be possible
                    self._revive()
                continue
            start = time.monotonic()
            try:
                self._do(task)
            except (EOFError, OSError, UserError):
                task.tell(state="failed", error=DIED, cause="died")
            self._queue.finish(task, time.monotonic() - start)

    def _revive(self) -> None:
        if not self.alive:
            if self._ended:
                raise EOFError
            self.start()
            self.loaded()

    def _do(self, task: Task) -> None:
        self._revive()
        self._connection.send((task.kind, str(task.folder), task.arguments))
        stopped = False
        while True:
            if task.state == "cancelled" and not stopped:
                self._stop.send("stop")
                stopped = True
            if not connection.wait([self._connection], timeout=HEARTBEAT):
                continue
            news = self._connection.recv()
            task.tell(**news)
            if "state" in news:
                return
