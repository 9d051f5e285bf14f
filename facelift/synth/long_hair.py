"""What a hairdo is drawn in: undergrowth, hair that hangs, and hair that is gathered."""

from __future__ import annotations

from typing import Any

import numpy as np

from facelift.synth import gathered
from facelift.synth.assets import Assets
from facelift.synth.groomed import put_on
from facelift.synth.hair_textures import strand_texture, twisted_texture, undergrowth_texture, with_roots
from facelift.synth.hairdos import Hairdo
from facelift.synth.hanging import STRANDS, facing, hang, on_line, root, wavy
from facelift.synth.plaits import tubes
from facelift.synth.scene import Floats, Pixels
from facelift.synth.strands import Grown, ribbons, undergrowth
from facelift.synth.surface import Surface
from facelift.synth.values import Triple

WIDTH = 0.2
"""Of a ribbon, decimetres."""

TAPER = ([0, 0.2, 0.6, 1], [0.2, 1, 1, 0.7])
"""Share of that width along a ribbon, root to tip."""

LOCS, LOC_RADIUS = 130, (0.045, 0.07)
"""How many there are on a whole scalp, and how thick they are, decimetres."""


def hair(
    body: Floats, surface: Surface, assets: Assets, do: Hairdo, color: Triple, seed: int
) -> tuple[tuple[Grown, Pixels], ...]:
    """The layers that a hairdo is drawn in, with their textures."""
    cut = do.on_scalp()
    natural = do.root_color if do.roots else color
    under = undergrowth(body, assets, cut), undergrowth_texture(assets, cut, natural, seed, long=True)
    texture = twisted_texture(color, seed) if do.locs else strand_texture(cut, color, seed, long=True)
    lying, *knotted = grow(body, surface, assets, do, seed)
    rooted = texture if do.locs else with_roots(texture, do.roots, color, natural)
    return under, (lying, rooted), *((mesh, texture) for mesh in knotted)


def grow(body: Floats, surface: Surface, assets: Assets, do: Hairdo, seed: int) -> tuple[Grown, ...]:
    """The hair on a body, without undergrowth: what grows from the scalp, then what hangs from each knot."""
    rng = np.random.Generator(np.random.PCG64([seed, 8]))
    if do.strands:
        strands, lying = put_on(body, surface, assets, do)
        wide = np.full(len(lying), (STRANDS / len(lying)) ** 0.5)
        normals = facing(lying, strands.from_base)
        return (_drawn(do, wavy(lying, normals, do, strands.base, rng), normals, wide, rng),)
    strands = root(body, assets, do, rng)
    if do.locs:
        strands = strands.only(rng.permutation(len(strands.base))[:LOCS])
    if do.gather != "none":
        strands = strands.only(~gathered.before_ears(strands))
    up = gathered.gathered(strands)
    lying = np.concatenate(
        [
            hang(strands.only(~up), surface, rng)[: (~up).sum()],
            gathered.pull(strands.only(up), surface),
        ]
    )
    strands = strands.only(np.argsort(up, kind="stable"))
    normals = facing(lying, strands.from_base)
    narrow = np.where(strands.fringe | on_line(strands.base), 0.65, 1)
    parts = [_drawn(do, wavy(lying, normals, do, strands.base, rng), normals, narrow, rng)]
    if up.any():
        for points, faces in gathered.knots(strands, surface, rng):
            hangs = do.gather in ("tail", "half")
            bent = wavy(points, faces, do, points[:, 0], rng) if hangs else points
            parts.append(_drawn(do, bent, faces, np.ones(len(points)), rng))
    return tuple(parts)


def _drawn(do: Hairdo, points: Floats, normals: Floats, widths: Any, rng: np.random.Generator) -> Grown:
    """Lines (N, P, 3) as ribbons that face along `normals`, of widths (N,), or as locs."""
    count, length = points.shape[:2]
    if do.locs:
        return tubes(points, np.asarray(rng.uniform(*LOC_RADIUS, size=count)))
    width = WIDTH * rng.uniform(0.7, 1.2, count) * widths
    tapered = width[:, None] * np.interp(np.linspace(0, 1, length), *TAPER)
    return ribbons(points, normals, tapered.astype(np.float32), rng)
