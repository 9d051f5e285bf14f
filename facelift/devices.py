"""Where a model works, and in which numbers: device, precision, memory, one stage at a time."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import chain
from typing import TypeVar, get_args

import torch
from llvmlite.binding import get_host_cpu_features
from torch import nn

from facelift.choices import DType, Memory
from facelift.errors import UserError

Model = TypeVar("Model", bound=nn.Module)

# Memory of activations, in bytes for each pixel of the six views and each byte of a number, computed at
# 512 x 512 (docs/released.md); and what is left free for CUDA itself and for other processes.
ACTIVATION_BYTES = {"fast": 1300, "sliced": 300}
RESERVED_BYTES = 3 << 29


def choose_device(device: str | torch.device) -> torch.device:
    """The device that a user names: "cpu", "cuda", "cuda:1", "mps"; "auto" is a CUDA GPU where there is one.

    Raises:
        UserError: there is no such device, or nothing is computed on its kind.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError):
        raise UserError(f"There is no device {device!r}: choose auto, cpu, cuda, cuda:0 or mps.") from None
    if chosen.type == "cpu":
        return torch.device("cpu")
    if chosen.type == "cuda":
        if not torch.cuda.is_available():
            built = torch.backends.cuda.is_built()
            lacks = "a GPU and driver that torch can see" if built else "a torch that is built for CUDA"
            raise UserError(f"The device {device} needs {lacks}: choose cpu, or install that.")
        count = torch.cuda.device_count()
        if (chosen.index or 0) >= count:
            raise UserError(f"There is no device {device}: the last one here is cuda:{count - 1}.")
        return chosen
    if chosen.type == "mps":
        if not torch.backends.mps.is_available():
            raise UserError("The device mps needs an Apple GPU: choose cpu or cuda.")
        return chosen
    raise UserError(f"Nothing is computed on the device {device} here: choose auto, cpu, cuda or mps.")


def geometry_device(device: torch.device) -> torch.device:
    """Where Gaussians are placed, drawn and fitted for models on a device; the rasteriser knows two kinds."""
    return device if device.type == "cuda" else torch.device("cpu")


def choose_dtype(dtype: DType, device: torch.device, by_device: Mapping[str, str]) -> torch.dtype:
    """What to compute in; "auto" is the model's own choice for the device, if that has it in hardware."""
    own = dtype in ("auto", "int8")  # weights in eight bits are computed with as any others
    name = by_device.get(device.type, "float32") if own else dtype
    if own and name == "bfloat16" and device.type == "cpu" and not cpu_has_bfloat16():
        name = "float32"
    if name not in ("float32", "bfloat16", "float16"):
        raise UserError(f"There is no precision {name!r}: choose float32, bfloat16, float16 or int8.")
    if (
        name == "bfloat16"
        and device.type == "cuda"
        and not torch.cuda.is_bf16_supported(including_emulation=False)
    ):
        name = "float16"  # a GPU from before 2020
    return getattr(torch, name)


def cpu_has_bfloat16() -> bool:
    """Whether this CPU multiplies in bfloat16; one that imitates it is several times slower than float32.

    The environment variable FACELIFT_CPU_BFLOAT16, 0 or 1, answers instead, as on another machine.
    """
    chosen = os.environ.get("FACELIFT_CPU_BFLOAT16", "")
    if chosen not in ("", "0", "1"):
        raise UserError(f"FACELIFT_CPU_BFLOAT16 is 0 or 1, not {chosen!r}.")
    return chosen == "1" if chosen else _multiplies_bfloat16()


@cache
def _multiplies_bfloat16() -> bool:
    features = get_host_cpu_features()
    return any(features.get(name, False) for name in ("avx512bf16", "amx-bf16"))


def autocast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device has it; else float16 on CUDA, and float32."""
    return choose_dtype("auto", device, {"cpu": "bfloat16", "cuda": "bfloat16"})


def autocast(device: torch.device, dtype: torch.dtype | None = None) -> torch.autocast:
    """The context in which models compute, in `dtype`; None is bfloat16 where the device has it."""
    dtype = dtype or autocast_dtype(device)
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def inference_copy(model: Model, dtype: torch.dtype, as_stored: str | None = None) -> Model:
    """A copy of a model for inference: weights of matrix products in `dtype`, and all others in float32.

    Under autocast to `dtype`, which would cast them at every use, this saves memory and time and changes no
    result. A model names the modules that it computes in float32 in any case in `float32_modules`. The model
    itself stays as it is; weights that need no cast are shared with it.

    Args:
        model: the model.
        dtype: of matrix products.
        as_stored: a part whose matrix products' weights are not cast.
    """
    float32_modules = getattr(model, "float32_modules", ())
    products = {
        id(parameter): parameter.dtype if as_stored and name.startswith(f"{as_stored}.") else dtype
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv2d)) and not name.startswith(float32_modules)
        for parameter in module.parameters(recurse=False)
    }
    held: dict[int, object] = {}
    for tensor in chain(model.parameters(), model.buffers()):
        kind = products.get(id(tensor), torch.float32)
        data = tensor.detach().to(kind if tensor.is_floating_point() else tensor.dtype)
        held[id(tensor)] = nn.Parameter(data, False) if isinstance(tensor, nn.Parameter) else data
    return copy.deepcopy(model, held).eval()  # which takes what is held for what it would copy


def choose_memory(
    memory: Memory, device: torch.device, models: Sequence[nn.Module], pixels: int, dtype: torch.dtype
) -> Memory:
    """How much of the device's memory to take; "auto" is the fastest that fits into what is free.

    - "fast": both models stay on the device, and what can be done at once is.
    - "sliced": both stay, but the two halves of guidance and the views to decode come one after the other.
    - "offload": as sliced, and only the part of the models that works is on the device.

    Args:
        memory: "auto", or one of these levels, which is taken as it is.
        device: where the work is done.
        models: both stages, their weights as they are held.
        pixels: of all views together.
        dtype: what is computed in.

    Raises:
        UserError: there is no such level.
    """
    if memory not in get_args(Memory):
        raise UserError(f"There is no memory level {memory!r}: choose {', '.join(get_args(Memory))}.")
    if memory != "auto":
        return memory
    if device.type != "cuda":
        return "sliced"
    weights = sum(map(_bytes_of, models))
    free = torch.cuda.mem_get_info(device)[0] - RESERVED_BYTES - weights
    levels: tuple[Memory, ...] = ("fast", "sliced")
    return next((x for x in levels if free >= ACTIVATION_BYTES[x] * pixels * dtype.itemsize), "offload")


def portraits_at_once(
    memory: Memory, device: torch.device, models: Sequence[nn.Module], pixels: int, dtype: torch.dtype
) -> int:
    """How many portraits a batch may have, for what is free on the device at this moment.

    One on the CPU, where a batch takes as long as its portraits one by one. The arguments are those of
    `choose_memory`, `memory` what it chose.
    """
    if device.type != "cuda":
        return 1
    free = torch.cuda.mem_get_info(device)[0] - RESERVED_BYTES
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # torch's own, unused
    if memory == "offload":  # the part that works will come
        free -= max(_bytes_of(part) for model in models for part in model.children())
    # Of each portrait; all that takes more in "fast" is the decoding, which goes portrait by portrait.
    return max(1, int(free // (ACTIVATION_BYTES["sliced"] * pixels * dtype.itemsize)))


def _bytes_of(module: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in module.parameters())


@contextmanager
def on_device(module: nn.Module, device: torch.device) -> Iterator[None]:
    """The module on a device for as long as it is needed there, then back where it was."""
    home = next(module.parameters()).device
    module.to(device)
    try:
        yield
    finally:
        module.to(home)
