"""What to change in a training that does not fit into memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from facelift.errors import UserError
from facelift.train.config import LoopConfig
from facelift.train.distributed import share


@contextmanager
def explaining_memory(training: Any, loop: LoopConfig) -> Iterator[None]:
    """Within it, running out of memory is a UserError that names the setting that needs less of it.

    Args:
        training: the `training` of a configuration.
        loop: its `loop`.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        on_gpu = isinstance(error, torch.OutOfMemoryError)
        if not (on_gpu or isinstance(error, MemoryError) or "can't allocate memory" in str(error)):
            raise
        where = f"the GPU's {torch.cuda.mem_get_info()[1] / 2**30:.0f} GiB" if on_gpu else "memory"
        raise UserError(f"The training does not fit into {where}: {advice(training, loop)}.") from None


def advice(training: Any, loop: LoopConfig) -> str:
    """What to set: less at once first, since it changes no result, then what costs time, then precision."""
    together = getattr(training, "micro_batch", 1) or len(share(loop.batch))
    if together > 1:
        return f"set `micro_batch: {together // 2}` in the `training`, which changes no result"
    if getattr(training, "gradient_checkpointing", True) is False:
        return "set `gradient_checkpointing: true` in the `training`, which takes a third more time"
    if not loop.adam_8bit and not loop.muon_lr:
        return "set `adam_8bit: true` in the `loop` (pip install 'facelift[bitsandbytes]')"
    if getattr(training, "lora_rank", 1) is None:
        return "set `lora_rank: 16` in the `training`, which trains less of the model"
    return "take a smaller `model`, or a `batch` of fewer samples"
