"""Workers on a Ray cluster: an actor each, which keeps its models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from facelift.batch.photos import Photo
from facelift.batch.pools import Slot
from facelift.batch.worker import Job, NamedPhoto, Result
from facelift.errors import UserError

MAX_BYTES = 256 << 20  # of a file that is sent; larger ones are no photos


@contextmanager
def on_ray(job: Job, address: str, workers: int | None, gpus: float | None) -> Iterator[list[Slot]]:
    """Slots for actors of an existing cluster, to be used while this is open.

    Photos travel to the actors, and files back: they need no disk in common, only the same facelift.

    Args:
        job: what to do.
        address: of the cluster, as `ray.init` takes it: "auto", "host:6379", "ray://host:10001".
        workers: how many; None is as many as the GPUs take, or one a CPU where there are none.
        gpus: that each takes, or a share of one; None is 1 where the cluster has any and the job's device is
            not the CPU.

    Raises:
        UserError: ray is not installed, there is no such cluster, or it has too few GPUs.
    """
    try:
        import ray
    except ImportError as error:
        raise UserError('--ray needs Ray; install it with: pip install "facelift[ray]"') from error
    try:
        ray.init(address, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(
            f"There is no Ray cluster at {address}: start one with `ray start --head`, or give another --ray."
        ) from error
    try:
        there = ray.cluster_resources()
        if gpus is None:
            gpus = 1.0 if there.get("GPU") and job.place.get("device", "auto") != "cpu" else 0.0
        fitting = there.get("GPU", 0.0) / gpus if gpus else there.get("CPU", 1.0)
        if fitting < 1:
            raise UserError(
                f"No worker fits the cluster, which has {there.get('GPU', 0):g} GPUs: give another "
                "--gpus-per-worker, 0 for none."
            )
        count = workers or int(fitting)
        cpus = 1 if gpus else max(1, int(there.get("CPU", 1)) // count)
        variables = {f"{library}_NUM_THREADS": str(cpus) for library in ("OMP", "NUMBA")}
        variables |= {"OMP_WAIT_POLICY": "passive"}
        resources = {"num_cpus": cpus, "num_gpus": gpus, "runtime_env": {"env_vars": variables}}
        actor = ray.remote(_RemoteWorker).options(**resources)
        yield [_Actor(ray, actor, job, number) for number in range(count)]
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise UserError(str(error.cause)) from None
        raise
    finally:
        ray.shutdown()


def _content(source: Path | bytes) -> Path | bytes:
    """What is read of a photo; its path where that is not possible, so that the worker's try says why."""
    if isinstance(source, Path):
        with suppress(OSError):
            if source.stat().st_size <= MAX_BYTES:
                return source.read_bytes()
    return source


class _RemoteWorker:
    def __init__(self, job: Job, number: int) -> None:
        self._worker = job.worker(number)

    def load(self) -> int:
        return self._worker.load()

    def lift(self, photos: Sequence[NamedPhoto]) -> list[Result]:
        return self._worker.lift(photos)


class _Actor:
    """One actor; another takes its place when it or its machine is gone."""

    def __init__(self, ray: Any, actor: Any, job: Job, number: int) -> None:
        self._ray, self._class, self._job, self._number = ray, actor, job, number
        self.died = ray.exceptions.RayActorError
        self._actor: Any = None

    def start(self) -> Future[int]:
        self.stop()
        self._actor = self._class.remote(self._job, self._number)
        return self._actor.load.remote().future()

    def lift(self, photos: Sequence[Photo]) -> Future[list[Result]]:
        named = [(photo.name.stem, _content(photo.source)) for photo in photos]
        return self._actor.lift.remote(named).future()

    def stop(self) -> None:
        if self._actor is not None:
            self._ray.kill(self._actor)
            self._actor = None
