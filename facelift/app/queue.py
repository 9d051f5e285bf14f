"""The queue of tasks that workers take."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from facelift.errors import UserError

State = Literal["waiting", "running", "done", "failed", "cancelled"]
Kind = Literal["portrait", "head", "file"]


class QueueFullError(UserError):
    """So many wait already that another would wait too long."""


class VisitorLimitError(UserError):
    """One visitor has as many heads made as one may."""


@dataclass(eq=False)
class Task:
    """Something for a worker to do.

    Attributes:
        kind: a whole head, or what takes a moment: the portrait alone, or one more file of a head.
        folder: where the photo lies and where the files go.
        arguments: what else the worker must know.
        state: how far it is; "cancelled" as soon as it is asked to stop.
        stage: what the worker does at the moment.
        step: of that stage: which, of how many.
        result: what is known so far: faces and warnings.
        error: why it failed, a sentence.
        cause: of that: what was asked for was refused, this program has a fault, or the process died.
        seconds: that each stage took, once it is over.
        changes: how often any of these has changed.
    """

    kind: Kind
    folder: Path
    arguments: dict[str, Any]
    state: State = "waiting"
    stage: str | None = None
    step: tuple[int, int] | None = None
    result: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    cause: Literal["refused", "fault", "died"] | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    changes: int = 0
    in_work: bool = False

    def tell(self, **news: Any) -> None:
        """Set some of the above, unless it is cancelled, after which nothing is news."""
        if self.state != "cancelled":
            for name, value in news.items():
                setattr(self, name, value)
        self.changes += 1

    @property
    def over(self) -> bool:
        """Whether it will change no more."""
        return self.state in ("done", "failed", "cancelled")


class TaskQueue:
    """Tasks in the order in which workers take them: short ones before heads, else first come, first served.

    Args:
        limit: how many may wait.

    Attributes:
        closed: whether only further files of heads are taken, for the server is about to stop.
        listeners: are told of each task that is over.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.closed = False
        self.listeners: list[Callable[[Task], None]] = []
        self._waiting: list[Task] = []
        self._running: list[Task] = []
        self._seconds = 0.0  # that a head takes, the last ones counting most
        self._condition = threading.Condition()

    def add(self, task: Task) -> None:
        """Add a task.

        Raises:
            QueueFullError: too many wait already, or the queue is closed.
        """
        with self._condition:
            if self.closed and task.kind != "file":
                raise QueueFullError("This server is about to stop: try again in a minute.")
            if len(self._waiting) >= self.limit:
                raise QueueFullError(f"{self.limit} are waiting already: try again in a few minutes.")
            heads = [index for index, other in enumerate(self._waiting) if other.kind == "head"]
            self._waiting.insert(heads[0] if heads and task.kind != "head" else len(self._waiting), task)
            self._changed()

    def cancel(self, task: Task) -> None:
        """Remove a task; one that a worker has stops at the end of its stage or step."""
        with self._condition:
            if task in self._waiting:
                self._waiting.remove(task)
            if not task.over:
                task.tell(state="cancelled")
            self._changed()

    def get(self, timeout: float | None = None) -> Task | None:
        """The next task, once there is one; None if there is none within so many seconds."""
        with self._condition:
            if not self._condition.wait_for(lambda: bool(self._waiting), timeout):
                return None
            task = self._waiting.pop(0)
            self._running.append(task)
            task.in_work = True
            task.tell(state="running")
            self._changed()
            return task

    def finish(self, task: Task, seconds: float) -> None:
        """A worker is done with it, after so long."""
        with self._condition:
            self._running.remove(task)
            task.in_work = False
            if task.kind == "head" and task.state == "done":
                self._seconds = 0.5 * (self._seconds or seconds) + 0.5 * seconds
            self._changed()
        for listener in self.listeners:
            listener(task)

    def position(self, task: Task) -> int | None:
        """1 for the next, 0 while it is being made, None when it is over."""
        with self._condition:
            if task in self._waiting:
                return self._waiting.index(task) + 1
            return None if task.over else 0

    def seconds(self, task: Task) -> int | None:
        """About how long until its turn; None if nothing tells."""
        with self._condition:
            if task not in self._waiting or not self._seconds:
                return None
            ahead = self._waiting[: self._waiting.index(task)] + self._running
            return round(self._seconds * sum(other.kind == "head" for other in ahead))

    @property
    def lengths(self) -> tuple[int, int]:
        """How many wait, and how many are being made."""
        with self._condition:
            return len(self._waiting), len(self._running)

    def _changed(self) -> None:
        for task in self._waiting:
            task.changes += 1
        self._condition.notify_all()
