"""Portraits of which nothing else is known: any folder of photos, for training on the front view alone.

FaceLift section 3.2: synthetic heads are not people, and the model learns to give its input back. A photo
that comes without other views can teach at least that.
"""

from __future__ import annotations

from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from facelift.errors import UserError
from facelift.portrait import prepare_portrait
from facelift.results import find_photos
from facelift.weights import find_model, load_portrait_network


class UnposedPhotos:
    """The photos in a folder as portraits, prepared as at inference.

    Args:
        root: a folder of photos, or one photo. Those in which no face is found, or that cannot be read, are
            named and left out.
        size: side of the portraits, pixels.

    Raises:
        UserError: there is no photo with a face.
    """

    def __init__(self, root: str | Path, size: int) -> None:
        network = load_portrait_network(find_model(None, None))
        self.portraits: list[Tensor] = []
        for path in find_photos([root]):
            try:
                portrait = prepare_portrait(path, size, network=network)
            except UserError as error:
                Console(stderr=True).print(f"left out: {error}", highlight=False, soft_wrap=True)
                continue
            self.portraits.append(torch.cat([portrait.image, portrait.alpha]))
        if not self.portraits:
            raise UserError(f"No photo in {root} shows a face: there is nothing to learn from it.")

    def __len__(self) -> int:
        return len(self.portraits)

    def draw(self, rng: torch.Generator) -> tuple[int, Tensor]:
        """One of all portraits and their mirror images: its number, and (4, S, S) RGB on white and matte."""
        index = int(torch.randint(2 * len(self), (), generator=rng))
        return index, self.load(index)

    def load(self, index: int) -> Tensor:
        """(4, S, S) of a number below twice the number of photos; odd ones are mirror images."""
        portrait = self.portraits[index // 2]
        return portrait.flip(-1) if index % 2 else portrait
