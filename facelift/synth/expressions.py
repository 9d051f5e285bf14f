"""Facial expressions as weights of MakeHuman's expression units."""

from __future__ import annotations


def expression(mood: str, strength: float, parted: float) -> dict[str, float]:
    """Weights of the expression units of one of MOODS.

    Args:
        mood: its name.
        strength: 0 to 1.
        parted: 0 to 1, how far the lips are apart, for a mood that leaves it open.
    """
    units: dict[str, float] = {}

    def both(unit: str, weight: float) -> None:
        for side in ("left", "right"):
            units[unit.replace("*", side)] = weight * strength

    def mouth(**weights: float) -> None:
        for unit, weight in weights.items():
            units[f"mouth-{unit.replace('_', '-')}"] = weight * strength

    if mood == "smile":
        mouth(corner_puller=0.65, elevation=0.2, parling=0.5 * (parted > 0.5))
        both("eye-*-slit", 0.25)
    elif mood == "laugh":
        mouth(corner_puller=0.6, parling=0.7, upward_retraction=0.2, open=0.35 * parted)
        both("eye-*-slit", 0.25)
    elif mood == "open":
        mouth(open=0.25 + 0.4 * parted, parling=0.3)
    elif mood == "surprise":
        mouth(open=0.5)
        both("eyebrows-*-up", 0.6)
        both("eyebrows-*-inner-up", 0.7)
        both("eye-*-opened-up", 0.7)
    elif mood == "raised":
        both("eyebrows-*-up", 0.6)
        both("eyebrows-*-inner-up", 0.7)
        both("eye-*-opened-up", 0.5)
    elif mood == "frown":
        mouth(depression=0.5, compression=0.4)
        both("eyebrows-*-down", 0.8)
    elif mood == "lids":
        both("eye-*-closure", 0.45)
    elif mood == "blink":
        # Shut is shut, however strong the rest of a face.
        both("eye-*-closure", 1 / strength)
    return units
