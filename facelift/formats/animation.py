"""Moving pictures that chats and pages show without a player: animated GIF and WebP, which loop for ever."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from facelift.errors import UserError
from facelift.formats.files import PathLike, atomic_path

SUFFIXES = (".gif", ".webp")

MOST_BYTES = 2**30
"""Of all frames together: the encoders hold them at once."""

_TICK = {".gif": 100, ".webp": 1000}  # of the clock that durations are told in, a second
_CLEAR = 255  # the index of what is transparent in a GIF


def write_animation(path: PathLike, frames: Iterable[np.ndarray], fps: float = 30) -> None:
    """Write frames as GIF, which has 256 colours a frame and a pixel clear or not, or as lossy WebP.

    Args:
        path: where to write; it ends in .gif or .webp.
        frames: uint8 RGB images (H, W, 3) or straight-alpha RGBA images (H, W, 4), all of one shape.
        fps: frames per second. A GIF's clock has hundredths of a second, and browsers slow down what shows a
            frame for less than two of them.

    Raises:
        UserError: `path` cannot be written or has another suffix, there are no frames or too many to hold in
            memory, or more than 50 a second for a GIF.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"{path} is no animation that is known here: let it end in .gif or .webp.")
    if suffix == ".gif" and fps > 50:
        raise UserError(f"A GIF shows 50 frames a second at most, not {fps:g}: choose less, or .webp.")
    images = list(_within(frames, path))
    if not images:
        raise UserError("An animation needs at least one frame.")
    ends = [round(_TICK[suffix] * (i + 1) / fps) for i in range(len(images))]
    ticks = np.diff([0, *ends])
    durations = (ticks * (1000 // _TICK[suffix])).tolist()
    with atomic_path(path) as aside, open(aside, "wb") as file:
        if suffix == ".gif":
            first, *rest = (_with_palette(image) for image in images)
            options: dict[str, Any] = {"format": "GIF", "optimize": False}
            if images[0].shape[-1] == 4:
                options |= {"transparency": _CLEAR, "disposal": 2}
        else:
            first, *rest = (Image.fromarray(image) for image in images)
            options = {"format": "WEBP", "quality": 85, "method": 4}
        first.save(file, save_all=True, append_images=rest, duration=durations, loop=0, **options)


def _within(frames: Iterable[np.ndarray], path: PathLike) -> Iterator[np.ndarray]:
    """The frames, as long as they fit into memory."""
    total = 0
    for frame in frames:
        total += frame.nbytes
        if total > MOST_BYTES:
            raise UserError(
                f"{path} would hold more than {MOST_BYTES // 2**20} MB of pixels: choose fewer or smaller "
                "frames, or .mp4."
            )
        yield frame


def _with_palette(image: np.ndarray) -> Image.Image:
    """A frame in its own best 255 colours, dithered; the last index is for what is clear."""
    colors = Image.fromarray(image[..., :3])
    palette = colors.quantize(_CLEAR, Image.Quantize.FASTOCTREE)  # the median cut is slower, and further off
    indexed = colors.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
    if image.shape[-1] == 4:
        pixels = np.where(image[..., 3] < 128, _CLEAR, np.asarray(indexed)).astype(np.uint8)
        clear = Image.fromarray(pixels)  # grey, until it has a palette
        clear.putpalette(indexed.getpalette() or [])
        return clear
    return indexed
