"""Textures: read, shrunk, and their colour spread into what is transparent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from facelift.errors import UserError
from facelift.synth.makehuman import WHERE, refuse_pointer
from facelift.synth.scene import Pixels


def read_texture(path: Path, size: int) -> Pixels:
    """A texture as (H, W, 4) uint8, at most `size` on a side, with colour bled into what is transparent."""
    return fitted(open_texture(path), size)


def open_texture(path: Path) -> Image.Image:
    """A picture. Raises UserError for a missing file, a git-lfs pointer or anything else."""
    try:
        with path.open("rb") as file:
            refuse_pointer(path, file.read(32))
        with Image.open(path) as opened:
            return opened.convert("RGB" if opened.mode == "RGB" else "RGBA")
    except OSError as error:
        raise UserError(f"{path} is not a picture that can be read: {WHERE}.") from error


def fitted(image: Image.Image, size: int) -> Pixels:
    """The picture as (H, W, 4) uint8, at most `size` on a side, with colour bled into what is transparent."""
    image = shrunk(image, size)
    return np.asarray(image.convert("RGBA")) if image.mode == "RGB" else bleed(image)


def shrunk(image: Image.Image, size: int) -> Image.Image:
    """The picture, RGB or RGBA, at most `size` on a side."""
    if max(image.size) <= size:
        return image
    factor = size / max(image.size)
    shape = (max(round(image.width * factor), 1), max(round(image.height * factor), 1))
    if image.mode == "RGB":
        return image.resize(shape, Image.Resampling.BOX)
    # Premultiplied, so that transparent texels lend no colour to their neighbours.
    return image.convert("RGBa").resize(shape, Image.Resampling.BOX).convert("RGBA")


def bleed(image: Image.Image) -> Pixels:
    """The picture with the colour of opaque texels spread into the transparent ones, alpha unchanged.

    A card's edge is blended with texels that are themselves invisible; left black they draw a dark rim.
    """
    out = np.array(image)
    level = image.convert("RGBa")
    known = out[..., 3] > 127
    while not known.all() and min(level.size) > 1:
        level = level.resize((max(level.width // 2, 1), max(level.height // 2, 1)), Image.Resampling.BOX)
        spread = np.asarray(level.convert("RGBA").resize(image.size, Image.Resampling.NEAREST))
        fill = ~known & (spread[..., 3] > 31)
        out[fill, :3] = spread[fill, :3]
        known |= fill
    return out
