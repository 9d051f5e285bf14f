"""Hairstyles that somebody has groomed, on a person's own head and shoulders."""

from __future__ import annotations

import numpy as np

from facelift.errors import UserError
from facelift.synth import regions
from facelift.synth.assets import Assets
from facelift.synth.groom import to_base
from facelift.synth.hairdos import Hairdo
from facelift.synth.hairstyles import HOW
from facelift.synth.hanging import Strands
from facelift.synth.scene import Floats
from facelift.synth.skull import CENTRE, Skull
from facelift.synth.surface import Surface

NECK = (6.3, 7.0)
"""Heights on the base mesh between which hair ceases to follow the skull's own shape."""

CLEAR = 0.03
"""Decimetres that every hair is off the skin."""


def put_on(body: Floats, surface: Surface, assets: Assets, do: Hairdo) -> tuple[Strands, Floats]:
    """The strands of `do.strands` on a person: N at their roots, and (N, P, 3) places along them.

    They follow the skull's shape, may be mirrored, are cut to `do.length` of their length, and are kept out
    of body and clothes.

    Raises:
        UserError: when the assets have no such hairstyle.
    """
    if do.strands not in assets.hairstyles:
        raise UserError(f"{assets.roots[0]} has no hairstyle {do.strands}: {HOW}.")
    points = assets.hairstyles[do.strands] * np.array([-1 if do.flipped else 1, 1, 1], np.float32)
    count, length = points.shape[:2]
    at = np.linspace(0, do.length, length) * (length - 1)
    before = np.minimum(at.astype(int), length - 2)
    share = (at - before)[:, None]
    points = points[:, before] * (1 - share) + points[:, before + 1] * share
    from_base = to_base(body, assets)
    worn = points @ from_base[:3] + from_base[3]
    known = assets.cached("skull of the base mesh", lambda: Skull(assets.base.vertices, assets))
    own = Skull(body, assets)
    out = (points - CENTRE).reshape(-1, 3)
    far = np.linalg.norm(out, axis=1, keepdims=True)
    along = (out / far) @ from_base[:3]
    size = np.linalg.norm(along, axis=1, keepdims=True)
    change = own.radius(along / size) - size[:, 0] * known.radius(out / far)
    follows = regions.step(*NECK, points[..., 1].reshape(-1))
    worn = worn.reshape(-1, 3) + (follows * change)[:, None] * along / size
    apart, normal = surface.distance(worn)
    worn = (worn + (CLEAR - apart).clip(0, 0.8)[:, None] * normal).reshape(points.shape)
    base = points[:, 0].astype(np.float32)
    nothing = np.zeros(count, bool)
    strands = Strands(
        do=do,
        from_base=from_base,
        roots=worn[:, 0].astype(np.float32),
        base=base,
        layer=np.full(count, 0.5, np.float32),
        side=np.where(base[:, 0] > 0, 1, -1).astype(np.float32),
        before=nothing,
        fringe=nothing,
    )
    return strands, worn.astype(np.float32)
