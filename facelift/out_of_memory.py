"""When memory is not enough: which setting would fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from facelift.choices import Memory
from facelift.devices import ACTIVATION_BYTES, RESERVED_BYTES
from facelift.errors import UserError

GIB = 2**30
MEMORY_FILE = Path("/proc/meminfo")
LARGE = 200_000_000  # weights from which memory is a question
LOWER: dict[str, tuple[Memory, ...]] = {
    "fast": ("sliced", "offload"),
    "sliced": ("offload",),
    "offload": (),
}


@dataclass(frozen=True)
class Load:
    """What is to be computed, as far as memory is concerned.

    Attributes:
        device: where.
        memory: the level, see `facelift.devices.choose_memory`.
        dtype: what is computed in.
        parts: how many weights each part of the models has that can be on the device alone.
        unet: how many of these are the U-Net's.
        eight_bits: whether the U-Net's are held in eight bits.
        pixels: of the six views.
        portraits: that are computed at once.
    """

    device: torch.device
    memory: Memory
    dtype: torch.dtype
    parts: Sequence[int]
    unet: int
    eight_bits: bool
    pixels: int
    portraits: int = 1

    @classmethod
    def of(
        cls,
        device: torch.device,
        memory: Memory,
        dtype: torch.dtype,
        models: Sequence[nn.Module],
        eight_bits: bool,
        pixels: int,
        portraits: int = 1,
    ) -> Load:
        """That of both stages."""
        parts = [(name, part) for model in models for name, part in model.named_children()]
        numbers = {id(part): sum(weight.numel() for weight in part.parameters()) for _, part in parts}
        unet = sum(numbers[id(part)] for name, part in parts if name == "unet")
        return cls(device, memory, dtype, [*numbers.values()], unet, eight_bits, pixels, portraits)

    @property
    def bytes(self) -> int:
        """About how much is needed on the device, on a GPU with what is left free there."""
        parts = [n * self.dtype.itemsize for n in self.parts]
        if self.eight_bits and self.unet in self.parts:
            parts[list(self.parts).index(self.unet)] = self.unet
        weights = max(parts) if self.memory == "offload" else sum(parts)
        level = "fast" if self.memory == "fast" else "sliced"
        work = ACTIVATION_BYTES[level] * self.pixels * self.dtype.itemsize * self.portraits
        return weights + work + (RESERVED_BYTES if self.device.type == "cuda" else 0)

    def advice(self) -> str:
        """What to do where this is too much, of all that would fit what changes least."""
        for option, lighter in self._lighter():
            free = free_bytes(self.device)
            if free is None or lighter.bytes <= free:
                return f"take {option}, which needs about {lighter.bytes / GIB:.1f} GiB"
        if self.device.type == "cuda":
            return "free some of it, or take --device cpu"
        return "close other programs, or take a smaller model"

    def _lighter(self) -> Iterator[tuple[str, Load]]:
        if self.portraits > 1:
            yield "batch_size 1", replace(self, portraits=1)
        alone = replace(self, portraits=1)
        if self.device.type == "cuda":
            for level in LOWER[self.memory]:
                yield f"--memory {level}", replace(alone, memory=level)
            if self.dtype.itemsize > 2:
                yield "--dtype float16", replace(alone, dtype=torch.float16)
                lightest = replace(alone, dtype=torch.float16, memory="offload")
                yield "--dtype float16 --memory offload", lightest
        elif sum(self.parts) >= LARGE:
            if self.dtype.itemsize > 2:
                yield "--dtype bfloat16", replace(alone, dtype=torch.bfloat16)
            if not self.eight_bits:
                yield "--dtype int8", replace(alone, eight_bits=True)


def free_bytes(device: torch.device) -> int | None:
    """What is free, torch's own unused memory and swap space included; None where nobody says."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    try:
        lines = MEMORY_FILE.read_text(encoding="ascii").splitlines()
        found = {name: int(value.split()[0]) for name, value in (line.split(":") for line in lines)}
        return 1024 * (found["MemAvailable"] + found["SwapFree"])
    except (OSError, ValueError, KeyError, IndexError):
        return None


def check_memory(load: Load) -> None:
    """Refuse at once what a CPU's memory cannot hold; later the system would end the process without a word.

    Raises:
        UserError: a large model, and there is less memory than it needs; says what would fit.
    """
    free = free_bytes(load.device)
    if load.device.type == "cpu" and sum(load.parts) >= LARGE and free is not None and load.bytes > free:
        raise UserError(
            f"This needs about {load.bytes / GIB:.1f} GiB of memory, and {free / GIB:.1f} GiB are free: "
            f"{load.advice()}."
        )


@contextmanager
def out_of_memory_explained(load: Load) -> Iterator[None]:
    """Turn an allocation that failed into a sentence.

    Raises:
        UserError: there was not enough memory; says which setting would fit.
    """
    try:
        yield
        return
    except (MemoryError, RuntimeError) as error:
        is_torch = isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
        if not (is_torch or isinstance(error, MemoryError)):
            raise
        advice = load.advice()
    # Outside the handler, whose traceback would hold on to all that was computed.
    raise UserError(f"There is not enough memory on {load.device}: {advice}.")
