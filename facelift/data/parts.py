"""The classes of a head's segmentation: names, numbers and colours of its parts."""

from __future__ import annotations

PARTS = (
    "background",
    "skin",
    "eyes",
    "brows",
    "lashes",
    "teeth",
    "tongue",
    "hair",
    "beard",
    "clothes",
    "glasses",
    "hat",
)
"""Names of parts in the order of their numbers in a segmentation; the background is no part, but a number."""

OTHER = 255
"""The number of a part that has none of these names."""


def part_id(name: str) -> int:
    """The number of a part in a segmentation."""
    return PARTS.index(name) if name in PARTS else OTHER


COLORS = {
    "background": (0, 0, 0),
    "skin": (240, 190, 160),
    "eyes": (60, 120, 255),
    "brows": (130, 80, 40),
    "lashes": (60, 40, 30),
    "teeth": (255, 255, 255),
    "tongue": (230, 70, 90),
    "hair": (250, 200, 40),
    "beard": (200, 120, 0),
    "clothes": (40, 160, 110),
    "glasses": (170, 60, 220),
    "hat": (20, 200, 230),
}
"""How a segmentation shows its parts, sRGB; what is none of them is grey."""
