"""Heads in the memory of the device that trains on them, and those that are still being drawn as they come.

More people are what training wants most (docs/training.md), and `facelift synth` draws one or two a second on
every core. What is drawn is read once, by another process; no step waits for a picture to be decoded.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.queues import Queue
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facelift.cameras import Cameras
from facelift.errors import UserError
from facelift.synth.crews import end_with_parent
from facelift.synth.layout import DEPTH_SCALE
from facelift.train.data import HeadFolder, Views

PATIENCE = 120.0  # seconds to wait for the first head
AHEAD = 8  # heads that are read before the training takes them in

# A head's name, RGBA on white, depth or nothing, and its cameras.
Read = tuple[str, NDArray[np.uint8], NDArray[np.int16] | None, Cameras]


@dataclass(frozen=True)
class _Stored:
    """A head's views.

    Attributes:
        rgba: (V, 4, H, W) bytes, RGB on white and coverage.
        depth: (V, H, W) in steps of DEPTH_SCALE, 16 bits of which torch takes one for a sign; or None.
    """

    rgba: Tensor
    depth: Tensor | None
    cameras: Cameras


class LiveHeads:
    """What a `HeadFolder` gives, from memory; its `heads` grow while `facelift synth` fills the folder.

    Args:
        root: folder of heads, which may be empty yet, or not there.
        device: where they are kept.
        depth: whether their depth is.

    Raises:
        UserError: no head is there within two minutes.
    """

    def __init__(self, root: str | Path, device: torch.device, depth: bool = False) -> None:
        self.root, self._device = Path(root), device
        self.heads: list[str] = []
        self._stored: dict[str, _Stored] = {}
        context = get_context("spawn")  # a thread would keep Python from the training
        queue: Queue[Read] = context.Queue(AHEAD)
        context.Process(target=_read, args=(self.root, depth, queue), daemon=True).start()
        threading.Thread(target=self._take_in, args=(queue,), daemon=True).start()
        since = time.monotonic()
        while not self.heads:
            if time.monotonic() - since > PATIENCE:
                raise UserError(f"No head appears in {self.root}: have `facelift synth` fill it.")
            time.sleep(0.1)

    def __len__(self) -> int:
        return len(self.heads)

    def cameras(self, head: str) -> Cameras:
        return self._stored[head].cameras

    def count(self, head: str) -> int:
        """How many views the head has."""
        return len(self._stored[head].rgba)

    def load(self, head: str, views: list[int] | None = None, depth: bool = False) -> Views:
        """Views of the head of that name, on the device; None is all of them."""
        stored = self._stored[head]
        chosen = list(range(len(stored.rgba))) if views is None else views
        images, alpha = (stored.rgba[chosen].float() / 255).split([3, 1], dim=1)
        depths = None
        if depth and stored.depth is not None:
            depths = (stored.depth[chosen].int() & 0xFFFF).float() / DEPTH_SCALE
        return Views(images, alpha, depths, stored.cameras[chosen])

    def _take_in(self, queue: Queue[Read]) -> None:
        while True:
            head, rgba, depth, cameras = queue.get()
            kept = torch.from_numpy(rgba).to(self._device)
            steps = None if depth is None else torch.from_numpy(depth).to(self._device)
            self._stored[head] = _Stored(kept, steps, cameras.to(self._device))
            self.heads.append(head)


Heads = HeadFolder | LiveHeads


def open_heads(root: str | Path, device: torch.device | None, depth: bool = False) -> Heads:
    """The heads of a folder, read as they are needed, or kept in a device's memory as they come."""
    return HeadFolder(root) if device is None else LiveHeads(root, device, depth)


def _read(root: Path, depth: bool, queue: Queue[Read]) -> None:
    """Put into the queue what is in a folder, and then what comes, until the process is ended."""
    end_with_parent()
    torch.set_num_threads(1)
    known: set[str] = set()
    while True:
        try:
            folder = HeadFolder(root)
        except UserError:  # no head yet
            time.sleep(0.2)
            continue
        for head in (head for head in folder.heads if head not in known):
            known.add(head)
            views = folder.load(head, depth=depth)
            rgba = (255 * torch.cat([views.images, views.alpha], dim=1)).round().byte().numpy()
            steps = None
            if views.depth is not None:
                steps = (views.depth * DEPTH_SCALE).round().numpy().astype(np.uint16).view(np.int16)
            queue.put((head, rgba, steps, views.cameras))
        time.sleep(1)
