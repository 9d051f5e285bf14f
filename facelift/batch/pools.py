"""Who makes the heads: processes of this machine, or actors of a Ray cluster. Either may die at any moment.

`share` hands out the photos, a few at a time to each worker. Both kinds of workers look the same to it: they
start, they take photos and give a future, and raise one of `died` when their process is gone.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

from facelift.batch.photos import Photo
from facelift.batch.worker import Job, NamedPhoto, Result, Worker
from facelift.errors import UserError
from facelift.processes import block_sigint_in_children, end_with_parent

DIED = (
    "The process that made this ended twice, perhaps for want of memory: run the same command again to retry."
)
MAX_TRIES = 2  # of a photo whose worker dies
MAX_STARTS = 3  # of a worker, one after the other, that dies before it has the models

Task = list[tuple[Photo, int]]
"""Photos, and how many workers have died of each."""


class Slot(Protocol):
    """A place for a worker, which is started anew when it has died."""

    @property
    def died(self) -> type[Exception]:
        """What a future raises when the worker has ended."""
        ...

    def start(self) -> Future[int]:
        """Begin a worker; the future is how many photos it takes at a time."""
        ...

    def lift(self, photos: Sequence[Photo]) -> Future[list[Result]]:
        """Give it photos."""
        ...

    def stop(self) -> None:
        """End it."""
        ...


def share(slots: Sequence[Slot], photos: Iterator[Photo]) -> Iterator[tuple[Photo, Result]]:
    """Have workers make the heads of photos, and yield each photo once, in whatever order they are ready.

    The photos of a worker that dies go to others, one at a time; one of which two have died is given up.

    Raises:
        UserError: a worker cannot load its models; or, once all else is done, what `photos` raised.
    """
    todo = _Todo(photos)
    starts = dict.fromkeys(slots, 0)
    sizes: dict[Slot, int] = {}
    idle: list[Slot] = []
    starting: dict[Future[int], Slot] = {slot.start(): slot for slot in slots}
    working: dict[Future[list[Result]], tuple[Slot, Task]] = {}

    def restart(slot: Slot) -> None:
        starts[slot] += 1
        if starts[slot] > MAX_STARTS:
            raise UserError(
                f"A worker died {MAX_STARTS} times while it loaded the models, perhaps for want of memory: "
                "run the same command again with fewer --workers, and it goes on where it was."
            )
        starting[slot.start()] = slot

    try:
        while True:
            while idle and (task := todo.take(sizes[idle[-1]])):
                slot = idle.pop()
                working[slot.lift([photo for photo, _ in task])] = slot, task
            if not working and todo.empty:
                break
            pending: list[Future[Any]] = [*starting, *working]
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                if future in starting:
                    slot = starting.pop(future)
                    try:
                        sizes[slot] = future.result()
                        idle.append(slot)
                    except slot.died:
                        restart(slot)
                else:
                    slot, task = working.pop(future)
                    try:
                        results = future.result()
                    except slot.died:
                        starts[slot] = 0
                        restart(slot)
                        yield from todo.after_death(task)
                    else:
                        idle.append(slot)
                        yield from zip((photo for photo, _ in task), results, strict=True)
    finally:
        for slot in slots:
            slot.stop()
    if todo.trouble is not None:
        raise todo.trouble


class _Todo:
    """Photos that wait, those first of which a worker has died."""

    def __init__(self, photos: Iterator[Photo]) -> None:
        self._photos, self._again = photos, deque[tuple[Photo, int]]()
        self.trouble: UserError | None = None
        self._over = False

    @property
    def empty(self) -> bool:
        """Whether there are none, as far as `take` has found."""
        return self._over and not self._again

    def take(self, most: int) -> Task:
        if self._again:
            return [self._again.popleft()]
        if self._over:
            return []
        task: Task = []
        try:
            for photo in islice(self._photos, most):
                task.append((photo, 0))
        except UserError as error:
            self.trouble = error
        self._over = len(task) < most
        return task

    def after_death(self, task: Task) -> Iterator[tuple[Photo, Result]]:
        """Have photos made again; yields those that are given up."""
        for photo, tries in task:
            if tries + 1 < MAX_TRIES:
                self._again.append((photo, tries + 1))
            else:
                yield photo, Result("failed", DIED)


# --- this machine

_worker: Worker


@contextmanager
def on_this_machine(job: Job, workers: int, scratch: Path) -> Iterator[list[Slot]]:
    """Slots for processes of this machine, which share its cores and GPUs evenly.

    Args:
        job: what to do.
        workers: how many.
        scratch: folder for temporary files.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # Linux
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    threads = max(1, cores // workers)
    slots: list[Slot] = [_Process(job, number, scratch, threads) for number in range(workers)]
    try:
        yield slots
    finally:
        for slot in slots:
            slot.stop()


class _Process:
    """A pool of one process, for a pool of several ends with the first that dies."""

    died = BrokenProcessPool

    def __init__(self, job: Job, number: int, scratch: Path, threads: int) -> None:
        self._arguments, self._threads = (job, number, scratch), threads
        self._pool: ProcessPoolExecutor | None = None

    def start(self) -> Future[int]:
        self.stop()
        self._pool = ProcessPoolExecutor(
            1, get_context("spawn"), initializer=_begin, initargs=(self._threads,)
        )
        with block_sigint_in_children():
            return self._pool.submit(_load, *self._arguments)

    def lift(self, photos: Sequence[Photo]) -> Future[list[Result]]:
        assert self._pool is not None
        try:
            return self._pool.submit(_lift, [(photo.name.stem, photo.source) for photo in photos])
        except BrokenProcessPool as error:  # it ended while it waited
            ended: Future[list[Result]] = Future()
            ended.set_exception(error)
            return ended

    def stop(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)  # what it makes at the moment is made again
            self._pool = None


def _begin(threads: int) -> None:
    """In a new process, before torch and numba are loaded."""
    end_with_parent()
    for library in ("OMP", "NUMBA"):
        os.environ.setdefault(f"{library}_NUM_THREADS", str(threads))
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that wait leave the cores to other workers


def _load(job: Job, number: int, scratch: Path) -> int:
    global _worker
    _worker = job.worker(number, scratch)
    return _worker.load()


def _lift(photos: list[NamedPhoto]) -> list[Result]:
    return _worker.lift(photos)
