"""A contact sheet of synthetic people: the six canonical views of each, to be looked at before training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from facelift.cameras import canonical_rig
from facelift.errors import UserError
from facelift.synth.build import build_scene
from facelift.synth.opengl import Renderer
from facelift.synth.pack import open_assets
from facelift.synth.recipes import sample_by_recipe

PEOPLE_PER_ROW = 2
"""People side by side."""


def preview(
    out: str | Path, assets: str | Path, heads: int, size: int, seed: int, recipe: int | None = None
) -> Path:
    """Draw the people with seeds `seed` to `seed + heads - 1`, on white, each labelled with its seed.

    Args:
        out: folder, made if need be, that the sheet is written to as `preview.png`.
        assets: a MakeHuman data folder.
        heads: how many people.
        size: pixels along a side of each view.
        seed: of the first.
        recipe: see `facelift.synth.recipes.sample_by_recipe`.

    Returns:
        The sheet's path.

    Raises:
        UserError: for an `out` that cannot be written, assets that are not there, or no OpenGL.
    """
    opened = open_assets(Path(assets))
    cameras = canonical_rig(size)
    rows = -(-heads // PEOPLE_PER_ROW)
    sheet = Image.new("RGB", (PEOPLE_PER_ROW * len(cameras) * size, rows * size), "white")
    with Renderer() as renderer:
        for k in range(heads):
            person = sample_by_recipe(seed + k, opened, recipe)
            rgba, _ = renderer.render(build_scene(person, opened), cameras)
            left, top = k % PEOPLE_PER_ROW * len(cameras) * size, k // PEOPLE_PER_ROW * size
            sheet.paste(Image.fromarray(np.concatenate(list(over_white(rgba)), axis=1)), (left, top))
            ImageDraw.Draw(sheet).text((left + 4, top + 4), str(seed + k), fill="black")
    path = Path(out) / "preview.png"
    partial = path.with_name(".preview.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(partial, format="PNG")
        partial.replace(path)
    except OSError as error:
        raise UserError(
            f"{path} could not be written ({error.strerror}); give a folder that is yours."
        ) from error
    return path


def over_white(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(..., 4) straight alpha over white, (..., 3)."""
    alpha = rgba[..., 3:].astype(np.float32) / 255
    return np.asarray(rgba[..., :3] * alpha + 255 * (1 - alpha) + 0.5).astype(np.uint8)
