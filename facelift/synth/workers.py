"""Who does the work: this process, several on this machine, or a Ray cluster. All go through the same units.

Each takes a function and units of work and yields what the function returns, in whatever order it comes. The
pool is the standard library's; its `map` would submit all units at once, and yield in their order.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

from facelift.errors import UserError
from facelift.processes import block_sigint_in_children, end_with_parent

T = TypeVar("T")
Work = Callable[[range], T]


def on_this_machine(work: Work[T], units: Sequence[range], workers: int) -> Iterator[T]:
    """Each unit in one of several processes; `work` must be picklable.

    Raises:
        UserError: if a process dies; what `work` raises.
    """
    pool = ProcessPoolExecutor(min(workers, len(units)), get_context("spawn"), initializer=_begin)
    done = True

    def submit(unit: range) -> Future[T]:
        with block_sigint_in_children():
            return pool.submit(work, unit)

    try:
        yield from _in_flight(submit, units, 2 * workers)
    except BrokenProcessPool:
        raise UserError(
            "A worker died, perhaps for want of memory: run the same command again, with fewer --workers if "
            "need be, and it goes on where it was."
        ) from None
    except (KeyboardInterrupt, GeneratorExit):
        done = False  # a head may take minutes; what is half drawn is drawn again
        raise
    finally:
        pool.shutdown(wait=done, cancel_futures=True)


def on_ray(work: Work[T], units: Sequence[range], address: str) -> Iterator[T]:
    """Each unit as a task of one CPU on an existing Ray cluster, which does it again if its worker dies.

    Args:
        work: what is done with a unit; picklable.
        units: of work.
        address: of the cluster, as `ray.init` takes it: "auto", "host:6379", "ray://host:10001".

    Raises:
        UserError: if ray is not installed or there is no such cluster; what `work` raises.
    """
    try:
        import ray
    except ImportError as error:
        raise UserError('--ray needs Ray; install it with: pip install "facelift[ray]"') from error
    try:
        ray.init(address, log_to_driver=False, runtime_env={"env_vars": {"LP_NUM_THREADS": "1"}})
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(
            f"There is no Ray cluster at {address}: start one with `ray start --head`, or give another --ray."
        ) from error
    try:

        @ray.remote(num_cpus=1, max_retries=5)  # type: ignore[untyped-decorator]
        def task(unit: range) -> T:
            return work(unit)

        cpus = int(ray.cluster_resources().get("CPU", 1))
        yield from _in_flight(lambda unit: task.remote(unit).future(), units, 4 * cpus)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise UserError(str(error.cause)) from None
        raise
    finally:
        ray.shutdown()


def _in_flight(submit: Callable[[range], Future[T]], units: Sequence[range], most: int) -> Iterator[T]:
    """Keep so many units submitted, no more: a million of them would fill the memory."""
    pending: set[Future[T]] = set()
    for unit in units:
        pending.add(submit(unit))
        if len(pending) >= most:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    while pending:
        done, pending = wait(pending, return_when=FIRST_COMPLETED)
        yield from (future.result() for future in done)


def _begin() -> None:
    """In a worker: Mesa draws with one thread."""
    os.environ.setdefault("LP_NUM_THREADS", "1")
    end_with_parent()
