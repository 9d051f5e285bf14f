"""What can be asked of a person: the attributes of a synthetic head, and the answers that there are."""

from __future__ import annotations

from typing import Any

import numpy as np

from facelift.data.parts import PARTS
from facelift.data.reader import HeadFolder

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "sex": ("female", "male"),
    "age": ("under 30", "30 to 44", "45 to 59", "60 and over"),
    "glasses": ("no", "yes"),
    "beard": ("no", "yes"),
    "head": ("bare", "hat", "covering"),
    "hair_behind": ("none", "above the chin", "to the chin", "to the shoulders", "below"),
}
"""Attributes by name. `hair_behind` is how far down hair reaches, seen from behind."""

AGES = (30, 45, 60)  # years at which the next answer begins
BACK = 3  # the canonical view from behind
CHIN = 8  # the landmark of the chin's tip
HEIGHTS = (-0.04, 0.04, 0.17)  # below the chin, shares of the picture, at which the next answer begins
MIN_ROW = 0.02  # share of a row that hair covers where it still counts
MIN_HAIR = 0.004  # share of the picture that is hair if there is any


def attributes_of(folder: HeadFolder, head: str) -> dict[str, int]:
    """The number of the answer for each of ATTRIBUTES, of a head in the canonical rig with all truth."""
    person = folder.person(head)
    covered = "covering" if person.get("covering") else "hat" if person.get("hat") else "bare"
    chin = float(folder.landmarks(head)[0, CHIN, 1]) / folder.cameras(head).width
    back = (folder.parts(head, [BACK])[0] == PARTS.index("hair")).numpy()
    return {
        "sex": int(person["male"] >= 0.5),
        "age": int(np.searchsorted(AGES, person["age"], side="right")),
        "glasses": _has(person, "glasses"),
        "beard": _has(person, "beard"),
        "head": ATTRIBUTES["head"].index(covered),
        "hair_behind": _hair_behind(back, chin),
    }


def _has(person: dict[str, Any], what: str) -> int:
    return int(bool(person.get(what)))


def _hair_behind(hair: np.ndarray, chin: float) -> int:
    rows = np.flatnonzero(hair.mean(1) > MIN_ROW)
    if hair.mean() < MIN_HAIR or not len(rows):
        return 0
    return 1 + int(np.searchsorted(HEIGHTS, rows[-1] / len(hair) - chin, side="right"))
