"""Heads in the memory of the device that trains on them, and those that are still being drawn as they come.

More people help a training most (docs/training.md), and `facelift synth` draws one or two a second on
every core. What is drawn is read once, by another process; no step waits for a picture to be decoded. Which
heads a step can choose from depends on how many have arrived, so such a run is not repeatable.
"""

from __future__ import annotations

import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.queues import Queue
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from facelift.cameras import Cameras
from facelift.data.reader import HeadFolder, Views
from facelift.data.schema import DEPTH_SCALE
from facelift.errors import UserError
from facelift.processes import end_with_parent

FIRST_HEAD_TIMEOUT = 120.0  # seconds
PREFETCH = 8  # heads that are read before the training takes them in
RESERVED_MEMORY = 0.3  # share of a GPU's memory that is left to the training


@dataclass(frozen=True)
class _Read:
    """A head on its way between processes.

    Attributes:
        rgba: (V, 4, H, W) bytes, RGB on white and coverage.
        depth: (V, H, W) in steps, 16 bits of which torch takes one for a sign; or None.
        depth_scale: steps per world unit.
        w2c, intrinsics: of its cameras.
    """

    head: str
    rgba: NDArray[np.uint8]
    depth: NDArray[np.int16] | None
    depth_scale: float
    w2c: NDArray[np.float32]
    intrinsics: NDArray[np.float32]


@dataclass(frozen=True)
class _Stored:
    """The same on the device."""

    rgba: Tensor
    depth: Tensor | None
    depth_scale: float
    cameras: Cameras


@dataclass
class _Memory:
    """The heads that have arrived; a thread adds to it."""

    heads: list[str] = field(default_factory=list)
    stored: dict[str, _Stored] = field(default_factory=dict)
    error: str | None = None


class StreamingHeads:
    """What a `HeadFolder` gives, from memory; its `heads` grow while `facelift synth` fills the folder.

    A head that cannot be read is tried again until it can. Once a GPU is nearly full, no more are taken in.

    Args:
        root: folder of heads, which may be empty yet, or not there.
        device: where they are kept.
        depth: whether their depth is.

    Raises:
        UserError: no head is there within two minutes; later, from `load`, if reading came to an end.
    """

    def __init__(self, root: str | Path, device: torch.device, depth: bool = False) -> None:
        self.root, self._memory = Path(root), _Memory()
        context = get_context("spawn")  # a thread would hold the GIL while the training needs it
        queue: Queue[_Read | str] = context.Queue(PREFETCH)
        reader = context.Process(target=_read, args=(self.root, depth, queue), daemon=True)
        reader.start()
        weakref.finalize(self, reader.terminate)
        threading.Thread(target=_take_in, args=(queue, self._memory, device), daemon=True).start()
        if not wait_until(self._has_some):
            raise UserError(f"No head appears in {self.root}: have `facelift synth` fill it.")

    @property
    def heads(self) -> list[str]:
        """Their names, the newest last."""
        return self._memory.heads

    def __len__(self) -> int:
        return len(self.heads)

    def count(self, head: str) -> int:
        """How many views the head has."""
        return len(self._memory.stored[head].rgba)

    def load(self, head: str, views: list[int] | None = None, depth: bool = False) -> Views:
        """Views of the head of that name, on the device; None is all of them."""
        self._check()
        stored = self._memory.stored[head]
        chosen = list(range(len(stored.rgba))) if views is None else views
        images, alpha = (stored.rgba[chosen].float() / 255).split([3, 1], dim=1)
        depths = None
        if depth and stored.depth is not None:
            depths = (stored.depth[chosen].int() & 0xFFFF).float() / stored.depth_scale
        return Views(images, alpha, depths, stored.cameras[chosen])

    def _has_some(self) -> bool:
        self._check()
        return len(self) > 0

    def _check(self) -> None:
        if self._memory.error is not None:
            raise UserError(f"Reading {self.root} came to an end: {self._memory.error}")


Heads = HeadFolder | StreamingHeads


def open_heads(
    root: str | Path, device: torch.device | None, depth: bool = False, held_out: bool = False
) -> Heads:
    """The heads of a folder, read as they are needed, or kept in a device's memory as they come."""
    return HeadFolder(root, held_out) if device is None else StreamingHeads(root, device, depth)


def wait_until(arrived: Callable[[], bool]) -> bool:
    """Whether it is so within two minutes."""
    since = time.monotonic()
    while not arrived():
        if time.monotonic() - since > FIRST_HEAD_TIMEOUT:
            return False
        time.sleep(0.1)
    return True


def _take_in(queue: Queue[_Read | str], memory: _Memory, device: torch.device) -> None:
    """Move what the reader puts into the queue to the device, until it is full."""
    while _has_room(device):
        read = queue.get()
        if isinstance(read, str):
            memory.error = read
            return
        height, width = read.rgba.shape[-2:]
        w2c, intrinsics = (torch.from_numpy(x) for x in (read.w2c, read.intrinsics))
        memory.stored[read.head] = _Stored(
            torch.from_numpy(read.rgba).to(device),
            None if read.depth is None else torch.from_numpy(read.depth).to(device),
            read.depth_scale,
            Cameras(w2c, intrinsics, width, height).to(device),
        )
        memory.heads.append(read.head)
    Console().print(f"memory holds {len(memory.heads)} heads, and takes in no more")


def _has_room(device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    free, total = torch.cuda.mem_get_info(device)
    return free > RESERVED_MEMORY * total


def _read(root: Path, depth: bool, queue: Queue[_Read | str]) -> None:
    """Put into the queue what is in a folder, and then what comes, until the process is ended."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the training's to answer
    torch.set_num_threads(1)
    read: set[str] = set()
    try:
        while True:
            for head, views in _readable(root, depth, read):
                queue.put(_packed(head, views))
                read.add(head)
            time.sleep(1)
    except Exception as error:
        queue.put(f"{error!r}.")


def _readable(root: Path, depth: bool, read: set[str]) -> Iterator[tuple[str, Views]]:
    """The heads in a folder that are not read yet, all but those that are being mended."""
    try:
        folder = HeadFolder(root)
    except UserError:  # no head yet
        return
    for head in folder.heads:
        if head not in read:
            with suppress(UserError):
                yield head, folder.load(head, depth=depth)


def _packed(head: str, views: Views) -> _Read:
    rgba = (255 * torch.cat([views.images, views.alpha], dim=1)).round().byte().numpy()
    depth, scale = None, float(DEPTH_SCALE)
    if views.depth is not None:
        scale = min(scale, 65535 / max(float(views.depth.max()), 1.0))  # photos may be taken from afar
        depth = (views.depth * scale).round().numpy().astype(np.uint16).view(np.int16)
    return _Read(head, rgba, depth, scale, views.cameras.w2c.numpy(), views.cameras.intrinsics.numpy())
