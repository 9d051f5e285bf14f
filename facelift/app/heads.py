"""The heads of one server: each known by an id that nobody can guess, and deleted in time."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import time
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from facelift.app.files import FILES, PHOTO
from facelift.app.options import File, HeadOptions, HeadStatus, HeadWarning, Limits
from facelift.app.queue import QueueFullError, Task, TaskQueue, VisitorLimitError

ID_BYTES = 16
UPLOAD_SECONDS = 600  # that a photo of which nobody has asked a head yet is kept


@dataclass(eq=False)
class Entry:
    """A head that somebody asked for.

    Attributes:
        id: which only that visitor knows.
        folder: of its files.
        options: as they were given.
        task: which makes it.
        files: tasks that make further files.
        watchers: connections that follow it at the moment.
        seen: when somebody last asked for it, on the monotonic clock.
        ended: when it was done or failed.
        visitor: who asked for it.
    """

    id: str
    folder: Path
    options: HeadOptions
    task: Task
    files: dict[str, Task] = field(default_factory=dict)
    watchers: int = 0
    seen: float = field(default_factory=time.monotonic)
    ended: float | None = None
    visitor: str = ""

    @property
    def tasks(self) -> list[Task]:
        """All that is done for it."""
        return [self.task, *self.files.values()]


class Heads:
    """All heads of a server; to be used from its event loop alone.

    Args:
        folder: where to keep them.
        queue: of their tasks.
        limits: what is taken and kept.
    """

    def __init__(self, folder: Path, queue: TaskQueue, limits: Limits) -> None:
        self.limits, self.queue = limits, queue
        self._folder = folder
        self._entries: dict[str, Entry] = {}
        self._discarded: list[Entry] = []
        self._uploads: dict[str, float] = {}

    def new_folder(self) -> Path:
        """An empty folder for an upload, whose name is the id of the head to be."""
        folder = self._folder / secrets.token_hex(ID_BYTES)
        folder.mkdir(mode=0o700)
        return folder

    def new_upload(self) -> Path:
        """A folder for a photo that somebody will soon ask a head of, or else goes.

        Raises:
            QueueFullError: as many photos as heads may wait are here already.
        """
        if len(self._uploads) >= self.queue.limit:
            raise QueueFullError("Many photos wait to be used already: try again in a few minutes.")
        folder = self.new_folder()
        self._uploads[folder.name] = time.monotonic()
        return folder

    def take_upload(self, name: str) -> Path | None:
        """The `new_upload` of that name, which is somebody else's now; None if there is none."""
        return self._folder / name if self._uploads.pop(name, None) is not None else None

    def add(self, folder: Path, options: HeadOptions, visitor: str = "") -> Entry:
        """Have the photo in a `new_folder` become a head.

        Raises:
            QueueFullError: too many wait.
            VisitorLimitError: too many of this visitor's are not over.
        """
        most = self.limits.per_visitor
        theirs = sum(entry.visitor == visitor and not entry.task.over for entry in self._entries.values())
        if most is not None and theirs >= most:
            raise VisitorLimitError(f"{theirs} of your photos are being made: wait until one is done.")
        task = Task("portrait" if options.only_portrait else "head", folder, options.model_dump())
        self.queue.add(task)
        entry = self._entries[folder.name] = Entry(folder.name, folder, options, task, visitor=visitor)
        return entry

    def find(self, id: str) -> Entry | None:
        """The head with this id, which counts as seen."""
        entry = self._entries.get(id)
        if entry is not None:
            entry.seen = time.monotonic()
        return entry

    def file(self, entry: Entry, name: str) -> Task:
        """The task that makes a further file of a head, queued if it is not yet.

        Raises:
            QueueFullError: too many wait.
        """
        task = entry.files.get(name)
        if task is None or task.state in ("cancelled", "failed"):
            task = Task("file", entry.folder, {"name": name})
            self.queue.add(task)
            entry.files[name] = task
        return task

    def discard(self, entry: Entry) -> None:
        """Delete a head and all its files, and cancel its tasks."""
        self._entries.pop(entry.id, None)
        for task in entry.tasks:
            self.queue.cancel(task)
        self._discarded.append(entry)
        self._remove_discarded()

    def status(self, entry: Entry) -> HeadStatus:
        """What is told of a head."""
        task = entry.task
        return HeadStatus(
            id=entry.id,
            state=task.state,
            position=self.queue.position(task),
            seconds=self.queue.seconds(task),
            stage=task.stage,
            step=task.step,
            faces=task.result.get("faces", []),
            warnings=[HeadWarning(**warning) for warning in task.result.get("warnings", [])],
            files=[*self._files(entry)],
            error=task.error,
            options=entry.options,
        )

    def _files(self, entry: Entry) -> list[File]:
        if not entry.task.result:
            return []
        whole = entry.task.kind == "head" and entry.task.state == "done"
        return [
            File(
                name=kind.name,
                url=f"heads/{entry.id}/{kind.name}",
                made=(entry.folder / kind.name).exists(),
                what=kind.what,
            )
            for kind in FILES.values()
            if whole or kind.portrait
        ]

    @asynccontextmanager
    async def watched(self, entry: Entry) -> AsyncIterator[None]:
        """Somebody follows a head as long as this lasts."""
        entry.watchers += 1
        try:
            yield
        finally:
            entry.watchers -= 1
            entry.seen = time.monotonic()

    async def tidy(self) -> None:
        """Delete what is over, for ever: to be run beside the server."""
        while True:
            await asyncio.sleep(0.25)
            try:
                self.tidy_once(time.monotonic())
            except OSError:  # the next time it may be possible
                traceback.print_exc()

    def tidy_once(self, now: float) -> None:
        """Delete what is too old or too much at this moment, and what nobody waits for any more."""
        for entry in list(self._entries.values()):
            if entry.task.over and not entry.task.in_work and entry.ended is None:
                entry.ended = now
                (entry.folder / PHOTO).unlink(missing_ok=True)
            if entry.ended is None:
                over = entry.options.attended and not entry.watchers and now - entry.seen > self.limits.grace
            else:
                over = now - entry.ended > 60 * self.limits.minutes
            if over:
                self.discard(entry)
        for name in [name for name, since in self._uploads.items() if now - since > UPLOAD_SECONDS]:
            del self._uploads[name]
            shutil.rmtree(self._folder / name, ignore_errors=True)
        ended = [entry for entry in self._entries.values() if entry.ended is not None]
        for entry in sorted(ended, key=lambda entry: entry.ended or 0.0)[: -self.limits.kept]:
            self.discard(entry)
        self._remove_discarded()

    def _remove_discarded(self) -> None:
        for entry in list(self._discarded):
            shutil.rmtree(entry.folder, ignore_errors=True)
            if not any(task.in_work for task in entry.tasks):  # which would write once more
                self._discarded.remove(entry)
                shutil.rmtree(entry.folder, ignore_errors=True)
