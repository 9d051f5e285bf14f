"""Apart from the caller: torch's modes, other threads, forked processes."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
import torch

from facelift.errors import UserError

P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def isolated(gradients: bool = False) -> Iterator[None]:
    """Compute as in a fresh process, whatever the caller has set; also a decorator of functions.

    Autocast, the default device, NumPy's errors, and the gradient and inference modes belong to a thread:
    they are set to what a fresh thread has (gradients off), and are the caller's again at the end. What
    belongs to the whole process, as the default dtype and the global generators of noise, is left alone, for
    other threads see it: code here names its dtypes and draws noise from generators of its own.

    Args:
        gradients: the caller's gradient and inference modes hold: for what is differentiable.

    Raises:
        UserError: in a process that was forked after the first use, see `_forked`.
    """
    global _used
    _used = True
    if _forked and torch.get_num_threads() > 1:
        raise UserError(
            "This process was forked from one that had used FaceLift, and would hang: start workers with "
            'multiprocessing.get_context("spawn"), or call torch.set_num_threads(1) in them.'
        )
    with ExitStack() as stack:
        if not gradients:
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.no_grad())
        for kind in ("cpu", "cuda", "mps"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        stack.enter_context(np.errstate(all="ignore"))
        yield


class ForkSafeLock:
    """A lock for an object that several threads use: one at a time, and the one inside may enter again.

    Copies of the object, in this process or another, have a lock of their own.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        _all_locks.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[type[ForkSafeLock], tuple[()]]:
        return ForkSafeLock, ()


def synchronized(method: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Any, P], R]:
    """A method that computes `isolated`, and while the object's lock `lock` is held."""

    @wraps(method)
    def computed(self: Any, *args: P.args, **kwargs: P.kwargs) -> R:
        with isolated(), self.lock:
            return method(self, *args, **kwargs)

    return computed


_all_locks: weakref.WeakSet[ForkSafeLock] = weakref.WeakSet()
_used = False
# A forked process has one of its parent's threads. Work that torch wants to share with the others waits for
# them for ever; alone, it goes on.
_forked = False


def _after_fork() -> None:
    global _forked
    _forked = _forked or _used
    for lock in _all_locks:  # a thread that is not here may have held it
        lock._lock = threading.RLock()


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_after_fork)
