"""Groups of people, by what the generator recorded of each, to see for which of them a model is worse.

Skin is named by its individual typology angle (Chardon, Cretois, Hourseau, "Skin colour typology and
suntanning pathways", 1991), in three classes where they have six.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facelift.data.schema import PERSON_FILE

GROUPS = (  # in the order in which they are shown
    "light skin",
    "medium skin",
    "dark skin",
    "woman",
    "man",
    "under 30",
    "30 to 54",
    "55 and over",
    "glasses",
    "hat",
    "beard",
    "long hair",
    "no hair",
    "head turned by 8° or more",
)


def groups_of(folder: Path) -> list[str]:
    """The groups of the person in a head's folder; none where the generator left no word of them."""
    try:
        person = json.loads((folder / PERSON_FILE).read_text(encoding="utf-8"))
        found = _groups(person)
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return []
    return [group for group in GROUPS if group in found]


def _groups(person: dict[str, Any]) -> set[str]:
    lightness, _, yellow = cv2.cvtColor(np.array([[person["skin_tone"]]], np.float32), cv2.COLOR_RGB2LAB)[
        0, 0
    ]
    typology = math.degrees(math.atan2(lightness - 50, yellow))
    hair, beard = person["hair"], person["beard"]
    groups = {
        "light skin": typology > 41,
        "medium skin": 10 < typology <= 41,
        "dark skin": typology <= 10,
        "woman": person["male"] <= 0.5,
        "man": person["male"] > 0.5,
        "under 30": person["age"] < 30,
        "30 to 54": 30 <= person["age"] < 55,
        "55 and over": person["age"] >= 55,
        "glasses": person["glasses"] is not None,
        "hat": person["hat"] is not None,
        "beard": beard is not None and beard["length"] > 0,
        "long hair": hair is not None and "long" in hair,
        "no hair": hair is None,
        "head turned by 8° or more": abs(person["turn"][0]) >= 8,
    }
    return {group for group, applies in groups.items() if applies}
