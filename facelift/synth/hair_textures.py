"""What hair is painted with: hairs in bands for ribbons, and the undergrowth below them."""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.ndimage import gaussian_filter

from facelift.synth import regions
from facelift.synth.assets import Assets
from facelift.synth.haircuts import Haircut, growth, lengths
from facelift.synth.priors import GREY
from facelift.synth.scene import Floats, Pixels
from facelift.synth.skull import CENTRE, Skull
from facelift.synth.values import Triple

SHAVED = 0.08
"""Decimetres below which hair is no ribbons, undergrowth alone."""

CAP_SIZE, CAP_ANGLE = 256, 150.0
"""The undergrowth's texture: its side, and how many degrees from the top of the head it reaches."""

TWISTS = 9
"""Of a loc, in a decimetre."""

COLUMNS, SIDE = 8, 128
"""Different ribbons in a texture, and the texels that each is wide; all are twice as long."""


def on_cap(p: Floats) -> Floats:
    """(N, 2) texture coordinates of places on the base mesh: seen from above, evenly down to CAP_ANGLE."""
    away = p - CENTRE
    angle = np.degrees(np.arctan2(np.hypot(away[:, 0], away[:, 2]), away[:, 1])) / CAP_ANGLE
    around = np.arctan2(away[:, 2], away[:, 0])
    return (0.5 + 0.5 * angle[:, None] * np.stack([np.cos(around), np.sin(around)], axis=1)).astype(
        np.float32
    )


def _cap_places(assets: Assets) -> Floats:
    """(CAP_SIZE, CAP_SIZE, 3) place on the base mesh of every texel of the undergrowth, as `on_cap` says."""

    def make() -> Floats:
        across = (np.arange(CAP_SIZE) + 0.5) / CAP_SIZE * 2 - 1
        x, z = np.meshgrid(across, -across)
        angle = np.radians(CAP_ANGLE * np.hypot(x, z)).clip(0, np.pi)
        around = np.arctan2(z, x)
        flat = np.sin(angle)
        out = np.stack([flat * np.cos(around), np.cos(angle), flat * np.sin(around)], axis=2).reshape(-1, 3)
        places = CENTRE + out * Skull(assets.base.vertices, assets).radius(out)[:, None]
        return places.reshape(CAP_SIZE, CAP_SIZE, 3).astype(np.float32)

    return assets.cached("cap places", make)


def _tones(color: Triple, grey: float) -> tuple[Floats, Floats]:
    """The hair's colour, and that of its greyer share."""
    plain = np.array(color, np.float32)
    return plain, plain + grey * (np.array(GREY, np.float32) - plain)


def undergrowth_texture(assets: Assets, cut: Haircut, color: Triple, seed: int, long: bool = False) -> Pixels:
    """The cap's texture, seen from above: clear where no hair grows."""
    p = _cap_places(assets).reshape(-1, 3)
    shape = CAP_SIZE, CAP_SIZE
    # Thin hair lies in strands that show the scalp between them, but not where it is shaved.
    density = np.maximum(cut.density, regions.step(SHAVED, 0.75 * SHAVED, lengths(cut, p)))
    alive = (growth(cut, p) * density).reshape(shape)
    temple = regions.step(7.9, 7.4, p[:, 1]).reshape(shape)
    rng = np.random.Generator(np.random.PCG64([seed, 5]))
    # Where hair grows long its line is soft.
    grain = 0.5 + (0.7 if long else 2.2) * (gaussian_filter(rng.random(shape, np.float32), 0.6) - 0.5)
    alpha = ((1.35 * alive - grain) * (1.2 if long else 2) + 0.5).clip(0, 1)
    plain, greyer = _tones(color, cut.grey)
    share = (temple * 0.8 + 0.2 * rng.random(shape))[..., None]
    soft = gaussian_filter(rng.random(shape, np.float32), 1)
    tone = 0.8 + (0.3 if long else 1.2) * (soft - 0.5) + 0.25 * (grain - 0.5)
    rgb = 255 * (plain + share * (greyer - plain)) * tone[..., None]
    return np.concatenate([rgb.clip(0, 255), 255 * alpha[..., None]], axis=2).astype(np.uint8)


def strand_texture(cut: Haircut, color: Triple, seed: int, long: bool = False) -> Pixels:
    """COLUMNS bands of single hairs, roots below; curly ones wind from side to side."""
    alpha, tone, greys = _bands(round(4 * cut.curl), seed % 3, long)
    plain, greyer = _tones(color, cut.grey)
    out = np.empty((*alpha.shape, 4), np.uint8)
    for k in range(3):
        levels = np.array([plain[k], greyer[k]], np.float32) * 255
        out[..., k] = (levels[greys] * tone).clip(0, 255)
    out[..., 3] = alpha
    return out


def with_roots(texture: Pixels, share: float, color: Triple, natural: Triple) -> Pixels:
    """A texture of ribbons, dyed in `color`, with a share of their length grown since in another."""
    if share == 0:
        return texture
    v = np.linspace(1, 0, len(texture), dtype=np.float32)[:, None, None]
    grown = regions.step(share + 0.04 + 0.4 * share, share - 0.04 - 0.4 * share, v)
    ratio = np.array(natural, np.float32) / np.array(color, np.float32).clip(0.02)
    out = texture.astype(np.float32)
    out[..., :3] *= 1 + grown * (ratio - 1)
    return out.clip(0, 255).astype(np.uint8)


def twisted_texture(color: Triple, seed: int) -> Pixels:
    """A decimetre of a loc: its width is once around."""
    rng = np.random.Generator(np.random.PCG64([seed, 9]))
    v, u = np.meshgrid(np.linspace(1, 0, SIDE), np.linspace(0, 1, SIDE // 2), indexing="ij")
    fuzz = gaussian_filter(rng.random(v.shape), 0.8, mode="wrap") - 0.5
    tone = 0.85 + 0.3 * np.cos(2 * np.pi * (TWISTS * v + u)) + 0.9 * fuzz
    rgb = 255 * tone[..., None] * np.array(color)
    return np.concatenate([rgb.clip(0, 255), np.full((*v.shape, 1), 255.0)], axis=2).astype(np.uint8)


@cache
def _bands(quarters: int, variant: int, long: bool) -> tuple[Pixels, Floats, Pixels]:
    """Alpha, light and which hairs are grey, of strands with so many quarters of a whole curl.

    Long hair is denser, ends more evenly, and its strands differ in tone.
    """
    rng = np.random.Generator(np.random.PCG64([variant, 6]))
    curl = quarters / 4
    rows, columns = 2 * SIDE, COLUMNS * SIDE
    v = np.linspace(1, 0, rows, dtype=np.float32)[:, None]
    alpha, tone = np.zeros((rows, columns), np.float32), np.zeros((rows, columns), np.float32)
    greys = np.zeros((rows, columns), np.uint8)
    x = np.arange(SIDE, dtype=np.float32)
    for band in range(COLUMNS):
        here = slice(band * SIDE, (band + 1) * SIDE)
        of_strand = rng.uniform(0.8, 1.2) if long else 1.0
        for _ in range(34 if long else 30):
            end, shade = rng.uniform(0.8 if long else 0.55, 1.05), of_strand * rng.uniform(0.6, 1.35)
            thick = rng.uniform(2.4, 4.8) if long else rng.uniform(1.8, 3.6)
            turns = v * (1 + 2.5 * curl) + rng.random()
            wave = SIDE * (0.02 + 0.12 * curl) * np.sin(2 * np.pi * turns)
            middle = rng.uniform(0.12, 0.88) * SIDE + wave * v**0.3 + SIDE * rng.normal(0, 0.08) * v
            thinner = thick * np.minimum(((end - v) / 0.3).clip(0, 1) ** 0.5, 1)
            line = (thinner + 0.5 - np.abs(x - middle)).clip(0, 1)
            over = line > alpha[:, here]
            alpha[:, here] = np.maximum(alpha[:, here], line)
            tone[:, here] = np.where(over, shade, tone[:, here])
            greys[:, here] = np.where(over, rng.random() < 0.35, greys[:, here])
    tone *= 1 - 0.25 * (1 - v) ** 2  # less light reaches the roots
    return (255 * alpha).astype(np.uint8), tone, greys
