"""What is inside a mouth: teeth and tongue, moved on the base mesh that they hang on; decimetres, y up.

MakeHuman's targets leave the teeth behind when they move a face's lips, and the tongue when a jaw opens.
"""

from __future__ import annotations

from facelift.synth.assets import Assets
from facelift.synth.scene import Floats, Ints

UPPER_LIP = 520
"""The vertex in the middle of the upper lip's inner edge."""

TEETH_SHOWN = 0.03
"""How far the upper teeth reach below the edge of the lip at rest."""


def set_teeth(body: Floats, assets: Assets) -> None:
    """Move the upper teeth of a face at rest up or down, so that they end at the lip.

    The lower ones stay: further down their gums would come through the chin.
    """
    upper = _members(assets, "upper-teeth")
    body[upper, 1] += body[UPPER_LIP, 1] - TEETH_SHOWN - body[upper, 1].min()


def jaw(body: Floats, assets: Assets) -> Floats:
    """(3,) the middle of the lower teeth."""
    return body[_members(assets, "lower-teeth")].mean(axis=0)


def drop_tongue(body: Floats, assets: Assets, opened: Floats) -> None:
    """Move the tongue as far as the jaw has moved (3,)."""
    body[_members(assets, "tongue")] += opened


def _members(assets: Assets, name: str) -> Ints:
    return assets.cached(("members", f"helper-{name}"), lambda: assets.base.members(f"helper-{name}"))
