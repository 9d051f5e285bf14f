"""Several processes that train as one: what each takes of a step, and what all have to agree on.

They are torchrun's, or `facelift train --processes`'. Each makes the losses of its share of a step; then the
gradients are summed, once a step, after however many backward passes, and everything else is the same in all.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from facelift.devices import choose_device
from facelift.errors import UserError

T = TypeVar("T")

TIMEOUT = timedelta(minutes=30)  # for others to come, or to draw a picture and write a checkpoint
BUCKET_NUMBERS = 32 << 20  # of gradients that are sent at once


LOST = 3
"""Exit code of a process that ends because another one did."""


class LostProcessError(UserError):
    """Another process of the training ended; that one has more to say."""


def world_size() -> int:
    """How many processes this one was started as one of; 1 if nothing says so.

    Raises:
        UserError: the environment is not what torchrun makes.
    """
    return _whole("WORLD_SIZE") if "WORLD_SIZE" in os.environ else 1


@contextmanager
def joined(device: str) -> Iterator[torch.device]:
    """Within it the processes of this training know each other; gives this one's device.

    Args:
        device: as the user names it; of several GPUs each process gets its own.

    Raises:
        UserError: there are fewer GPUs than processes, or the others do not come.
    """
    place = choose_device(device)
    if world_size() == 1:
        yield place
        return
    rank, local = _whole("RANK"), _whole("LOCAL_RANK")
    if place.type == "cuda":
        gpus = torch.cuda.device_count()
        if local >= gpus:
            raise UserError(
                f"There are more processes on {socket.gethostname()} than its {gpus} GPUs: start {gpus}."
            )
        place = torch.device("cuda", local)
        torch.cuda.set_device(place)
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if place.type == "cuda" else "gloo", timeout=TIMEOUT)
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0][:200]
        raise UserError(
            f"Process {rank} of {world_size()} does not reach the others ({reason}): "
            "start all of them with the same MASTER_ADDR, MASTER_PORT and WORLD_SIZE, as torchrun does."
        ) from None
    try:
        yield place
    except LostProcessError:
        if rank > 0:  # one says it for all
            sys.exit(LOST)
        raise
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """Which of the processes this is; the first, 0, writes what there is to write."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def share(batch: int) -> range:
    """Which samples of a step are this process's."""
    return range(rank() * batch // size(), (rank() + 1) * batch // size())


def gather(value: T) -> list[T]:
    """What every process has, in their order.

    Raises:
        LostProcessError: one of them is no longer there; so do the functions below.
    """
    if size() == 1:
        return [value]
    values: list[T] = [value] * size()
    with _all_there():
        dist.all_gather_object(values, value)
    return values


@contextmanager
def together() -> Iterator[None]:
    """What all do: where one fails with a UserError, no other waits for it."""
    failure = None
    try:
        yield
    except UserError as error:
        failure = error
    failed = gather(failure is not None)
    if failure is not None:
        raise failure
    if any(failed):
        raise LostProcessError(f"Process {failed.index(True)} could not begin and says why: all end.")


def require_same(what: str, value: str) -> None:
    """Raise UserError unless it is the same in all processes.

    Args:
        what: it is, such as "configuration".
        value: short enough to be read.
    """
    found = gather((value, socket.gethostname()))
    for other, (theirs, host) in enumerate(found):
        if theirs != found[0][0]:
            raise UserError(
                f"Process {other}, on {host}, has another {what} than process 0 ({theirs}, not "
                f"{found[0][0]}): give all processes the same files."
            )


def broadcast_weights(model: nn.Module) -> None:
    """The first process's weights become those of all."""
    if size() > 1:
        with _all_there(), torch.no_grad():
            for tensor in (*model.parameters(), *model.buffers()):
                dist.broadcast(tensor, 0)


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Every gradient becomes the sum of all processes'; where nobody has one, there stays none."""
    if size() == 1:
        return
    trained = [p for p in parameters if p.requires_grad]
    with _all_there(), torch.no_grad():
        used = torch.tensor(
            [p.grad is not None for p in trained], dtype=torch.uint8, device=trained[0].device
        )
        dist.all_reduce(used, dist.ReduceOp.MAX)
        gradients = []
        for parameter, has_one in zip(trained, used.tolist(), strict=True):
            if has_one:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                gradients.append(parameter.grad)
        for bucket in _buckets(gradients):
            flat = torch.cat([gradient.flatten() for gradient in bucket])
            dist.all_reduce(flat)
            sums = flat.split([gradient.numel() for gradient in bucket])
            for gradient, total in zip(bucket, sums, strict=True):
                gradient.copy_(total.view_as(gradient))


def _buckets(gradients: list[Tensor]) -> Iterator[list[Tensor]]:
    """Some at a time: neither a message for each nor a copy of all."""
    bucket: list[Tensor] = []
    for gradient in gradients:
        if bucket and (
            bucket[0].dtype != gradient.dtype
            or sum(g.numel() for g in bucket) + gradient.numel() > BUCKET_NUMBERS
        ):
            yield bucket
            bucket = []
        bucket.append(gradient)
    if bucket:
        yield bucket


@contextmanager
def _all_there() -> Iterator[None]:
    """What a collective operation raises when another process is gone."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise LostProcessError(
            "Another process of the training ended or does not answer, so this one ends as well: give the "
            "same command again, and it goes on from the last checkpoint."
        ) from error


def _whole(name: str) -> int:
    value = os.environ.get(name, "")
    if not value.isdecimal():
        raise UserError(
            f"{name} is a number that torchrun gives to each process, not {value!r}: use torchrun."
        )
    return int(value)
