"""What may spoil the head that a photo gives, and what its owner can do about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from facelift.portrait.search import Search
from facelift.portrait.segment import Segmenter
from facelift.portrait.square import Move

SMALL = 64  # pixels of a face below which the head is visibly blurred

Kind = Literal["turned", "several", "small"]

TURNS = {1: "a quarter turn clockwise", 2: "upside down", 3: "a quarter turn anticlockwise"}


@dataclass(frozen=True)
class PhotoWarning:
    """Attributes:
    kind: one word, for programs.
    text: a sentence, for people.
    """

    kind: Kind
    text: str

    def __str__(self) -> str:
        return self.text


def photo_warnings(
    image: np.ndarray,
    search: Search,
    move: Move,
    side: int,
    alpha: np.ndarray,
    segmenter: Segmenter | None,
) -> tuple[PhotoWarning, ...]:
    """All that can be told of a photo.

    Args:
        image: (H, W, 3 or 4) uint8, the upright photo.
        search: what was found in it; its first face is used.
        move: from the photo's pixels to those of its square.
        side: of the square, pixels.
        alpha: (side, side) coverage of the person.
        segmenter: the network that finds landmarks; without one, less can be told.
    """
    return tuple(_of_search(search))


def _of_search(search: Search) -> Iterator[PhotoWarning]:
    if search.turns:
        yield PhotoWarning(
            "turned", f"the face is upright after {TURNS[search.turns]}: the photo was turned so."
        )
    if len(search.faces) > 1:
        which = "the largest" if search.faces[0].side == max(f.side for f in search.faces) else "the wearer's"
        yield PhotoWarning(
            "several", f"{len(search.faces)} faces found; used {which}: crop the photo to choose another."
        )
    width = search.faces[0].side
    if width < SMALL:
        yield PhotoWarning(
            "small", f"the face is only {width:.0f} pixels wide: a larger one gives a sharper head."
        )
