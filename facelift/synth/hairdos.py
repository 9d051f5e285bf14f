"""Hair that is long enough to hang or to be gathered: hairdos, as plain data.

Places are those of the base mesh (decimetres, y up, the face along +z), as in `regions.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facelift.synth.haircuts import Haircut
from facelift.synth.priors import FRINGES, HAIRDO_SHARES, HAIRDOS, TEXTURES
from facelift.synth.values import Triple


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

    def on_scalp(self) -> Haircut:
        """What of it lies on the scalp below the long hair, as a cut."""
        return Haircut(
            style=self.style,
            top=0.25,
            sides=0.25,
            comb="back",
            lift=0.5 * min(self.volume / 0.3, 1),
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
    middle = rng.random() < 0.4
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
    )
