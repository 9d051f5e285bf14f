"""Hair that is long enough to hang or to be gathered: hairdos, as plain data.

Places are those of the base mesh (decimetres, y up, the face along +z), as in `regions.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from facelift.synth.haircuts import Haircut
from facelift.synth.priors import (
    FRINGES,
    GATHERED,
    GREY,
    GROOMED,
    HAIRDO_SHARES,
    HAIRDOS,
    KNOTS,
    LOCS_SHARE,
    ROOTS_SHARE,
    TEXTURES,
    UNDERCUT_SHARE,
    UNKNOWN_GROOMED,
)
from facelift.synth.values import Triple, triple


@dataclass(frozen=True)
class Hairdo:
    """Long hair.

    Attributes:
        style: one of `priors.HAIRDOS`.
        ends: height at which it ends.
        layers: 0 all of one length to 1 in steps.
        parting: where it parts, x on the base mesh.
        sweep: 0 it is combed aside to 1 backwards.
        volume: how far it stands off, decimetres.
        wave: 0 straight to 1 in large waves.
        curl: 0 to 1, of single hairs; coily hair is curled wholly.
        fringe: none, straight, swept or curtain.
        brow: height at which the fringe ends.
        ears: 0 they are bare, the hair behind them, to 1 they are covered.
        before: depth on the scalp before which hair hangs down in front of the shoulders.
        corners: 0 to 1, how far the hair line has gone back at the temples.
        density: 0 to 1.
        grey: 0 to 1, how much greyer temples and roots are than the rest.
        gather: none, tail, bun, puff or braid: how it is gathered; or half, the upper hair in a tail.
        knot: where, degrees up from the level of the skull's middle behind it.
        pair: whether there are two of them, left and right.
        size: of a bun's or a braid's radius, decimetres.
        locs: whether it is in locs, or in many thin braids.
        undercut: whether it is shaved at the sides and behind.
        roots: share of its length that has grown since it was dyed.
        root_color: sRGB of what has.
        strands: name of a groomed hairstyle in place of all that; only its hair line is the hairdo's own.
        length: share of that hairstyle's length.
        flipped: whether it is mirrored.
    """

    style: str
    ends: float
    layers: float
    parting: float
    sweep: float
    volume: float
    wave: float
    curl: float
    fringe: str
    brow: float
    ears: float
    before: float
    corners: float
    density: float
    grey: float
    gather: str = "none"
    knot: float = 0.0
    pair: bool = False
    size: float = 0.2
    locs: bool = False
    undercut: bool = False
    roots: float = 0.0
    root_color: Triple = (0.0, 0.0, 0.0)
    strands: str = ""
    length: float = 1.0
    flipped: bool = False

    def on_scalp(self) -> Haircut:
        """What of it lies on the scalp below the long hair, as a cut."""
        return Haircut(
            style=self.style,
            top=0.25,
            sides=0.05 if self.undercut else 0.25,
            comb="back",
            lift=0.5 * min(self.volume / 0.3, 1) if self.gather == "none" else 0.0,
            curl=min(self.curl, 0.5),
            fade=0.0,
            recede=0.0,
            corners=self.corners,
            patch=0.0,
            density=self.density,
            grey=self.grey,
        )


def sample_hairdo(rng: np.random.Generator, is_male: bool, age: float, ethnicity: Triple) -> Hairdo:
    """Random long hair; the old wear it shorter, and curly hair stands off."""
    names = list(HAIRDOS)
    shares = np.array(
        [men if is_male else np.interp(age, [20, 45, 70], women) for men, women in HAIRDO_SHARES.values()]
    )
    name = names[int(rng.choice(len(names), p=shares / shares.sum()))]
    kind = HAIRDOS[name]
    textures = np.array([np.dot(share, ethnicity) for share in TEXTURES.values()])
    texture = list(TEXTURES)[int(rng.choice(len(textures), p=textures / textures.sum()))]
    ends, layers, volume = (float(rng.uniform(*span)) for span in (kind.ends, kind.layers, kind.volume))
    wave, curl = float(rng.uniform(0, 0.1)), float(rng.uniform(0, 0.15))
    bare = rng.random() < kind.bare
    fringe = FRINGES[int(rng.choice(len(FRINGES), p=kind.fringes))]
    if texture == "wavy":
        wave, curl = float(rng.uniform(0.25, 0.8)), float(rng.uniform(0.1, 0.4))
        volume *= 1.3
    if texture == "curly":
        wave, curl = float(rng.uniform(0.7, 1.0)), float(rng.uniform(0.6, 1.0))
        ends, layers = min(ends + 0.4, 6.7), float(rng.uniform(0.4, 0.9))
        volume = float(rng.uniform(0.2, 0.55))
        fringe = fringe if fringe == "swept" else "none"
    gather = _sample_gather(rng, is_male, ethnicity, curl)
    if gather != "none":
        ends = float(rng.uniform(4.4, 5.9))
    locs = bool(gather != "puff" and rng.random() < np.dot(LOCS_SHARE, ethnicity))
    if locs:
        wave, curl, volume, fringe = 0.0, 0.0, min(volume, 0.15), "none"
    spans, sizes, paired = KNOTS[gather]
    pair = bool(rng.random() < paired)
    knot = rng.uniform(*spans[int(rng.integers(len(spans)))])
    undercut = bool(rng.random() < UNDERCUT_SHARE[is_male])
    roots, root_color = _sample_roots(rng, age)
    middle = rng.random() < 0.4 or pair
    parting = rng.normal(0, 0.03) if middle else rng.choice([-1, 1]) * rng.uniform(0.12, 0.38)
    return Hairdo(
        style=name,
        ends=round(ends, 3),
        layers=round(layers, 3),
        parting=round(float(parting), 3),
        sweep=round(float(rng.uniform(0.3, 0.8) if bare else rng.uniform(0.0, 0.3)), 3),
        volume=round(volume, 3),
        wave=round(wave, 3),
        curl=round(curl, 3),
        fringe="none" if is_male else fringe,
        brow=round(float(rng.uniform(6.7, 7.2) if fringe == "curtain" else rng.uniform(7.42, 7.62)), 3),
        ears=round(float(rng.uniform(0.0, 0.25) if bare else rng.uniform(0.7, 1.0)), 3),
        before=round(float(2.0 if rng.random() < 0.35 else rng.uniform(0.1, 0.7)), 3),
        corners=round(float(rng.beta(1.2, 2.5) * (0.8 if is_male else 0.25)), 3),
        density=round(float(rng.uniform(0.85, 1.0)), 3),
        grey=round(float(rng.uniform(0, 0.8) * np.interp(age, [30, 60], [0, 1])), 3),
        gather=gather,
        knot=round(float(min(knot, 25) if pair else knot), 2),
        pair=pair,
        size=round(float(rng.uniform(*sizes)), 3),
        locs=locs,
        undercut=undercut,
        roots=0.0 if locs else roots,
        root_color=root_color,
    )


def sample_groomed(
    rng: np.random.Generator, do: Hairdo, styles: Iterable[str], is_male: bool
) -> Hairdo | None:
    """The hairdo with one of these groomed styles in its place; None where the sex wears none of them."""
    shares = {name: GROOMED.get(name, UNKNOWN_GROOMED)[is_male] for name in sorted(styles)}
    names = [name for name, share in shares.items() if share > 0]
    if not names:
        return None
    weights = np.array([shares[name] for name in names])
    name = names[int(rng.choice(len(names), p=weights / weights.sum()))]
    return replace(
        do,
        style=name,
        fringe="none",
        gather="none",
        locs=False,
        undercut=False,
        volume=min(do.volume, 0.15),
        wave=round(do.wave * 0.5, 3),
        strands=name,
        length=round(float(rng.uniform(0.7, 1.0)), 3),
        flipped=bool(rng.random() < 0.5),
    )


def _sample_gather(rng: np.random.Generator, is_male: bool, ethnicity: Triple, curl: float) -> str:
    shares = np.array([men if is_male else np.dot(women, ethnicity) for women, men in GATHERED.values()])
    if curl < 0.6:
        shares[list(GATHERED).index("puff")] = 0
    return str(rng.choice(list(GATHERED), p=shares / shares.sum()))


def _sample_roots(rng: np.random.Generator, age: float) -> tuple[float, Triple]:
    """Roots that have turned grey since, or are left dark on purpose, which may reach far down."""
    grey = rng.random() < np.interp(age, [40, 60], [0.0, 0.8])
    share = rng.uniform(0.04, 0.14) if grey else rng.uniform(0.06, 0.5)
    color = np.array(GREY if grey else (0.16, 0.1, 0.07)) * rng.uniform(0.7, 1.2)
    has = rng.random() < ROOTS_SHARE
    return (round(float(share), 3), triple(color)) if has else (0.0, (0.0, 0.0, 0.0))
