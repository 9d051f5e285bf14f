"""Which synthetic heads are for training and which are kept for measuring.

The split is a property of a head's seed alone, so that the generator, the training and the evaluation
cannot disagree about it, whichever folders the heads lie in.
"""

from __future__ import annotations

import re

HELD_OUT_SEEDS = range(0, 1000)
"""Heads with these seeds are never trained on."""

BENCH_SEEDS = range(976, 1000)
"""Of these, the people of `bench-heads-v1`: nothing is tuned on them."""

BENCH_V2_SEEDS = range(928, 976)
"""And those of `bench-heads-v2`."""

_FOLDER = re.compile(r"head_(\d{6,})")


def folder_name(seed: int) -> str:
    """The name of a head's folder, `head_001234`."""
    return f"head_{seed:06d}"


def seed_of(folder_name: str) -> int | None:
    """The seed of the head in a folder of this name, or None if the name is not a head's."""
    match = _FOLDER.fullmatch(folder_name)
    return int(match[1]) if match else None


def is_held_out(seed: int) -> bool:
    """Whether the head of this seed is kept for measuring."""
    return seed in HELD_OUT_SEEDS
