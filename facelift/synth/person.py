"""Who a synthetic person is: every number that the mesh, the colours and the light are built from.

A person is plain data, sampled from one seed and written as JSON; `build.py` turns it into a scene. Shape is
one flat table of MakeHuman targets and weights, whatever their kind: ethnicity, age, nose, smile.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from facelift.synth.assets import Assets
from facelift.synth.glasses import Glasses, sample_glasses
from facelift.synth.hats import Hat, sample_hat
from facelift.synth.light import Lighting, Panel, Triple, sample_lighting
from facelift.synth.patterns import Pattern, sample_pattern

ETHNICITIES = ("caucasian", "asian", "african")

# Opposite ends of one slider, as MakeHuman names them.
OPPOSITES = {
    "decr": "incr",
    "down": "up",
    "in": "out",
    "backward": "forward",
    "compress": "uncompress",
    "concave": "convex",
}
# Standard deviation of the sliders of each folder of detail targets; 1 is MakeHuman's own limit.
SPREAD = {
    "cheek": 0.36,
    "chin": 0.33,
    "ears": 0.34,
    "eyebrows": 0.27,
    "eyes": 0.3,
    "forehead": 0.3,
    "head": 0.24,
    "mouth": 0.3,
    "neck": 0.22,
    "nose": 0.35,
}
# They move or tilt a whole feature out of place, which the turn of the head or the asymmetry does better.
LEFT_OUT = (
    "head/head-trans",
    "head/head-angle",
    "head/head-age",
    "neck/neck-trans",
    "nose/nose-trans-in",
    "mouth/mouth-trans-in",
)

# sRGB, 0 to 1, of hair, with its share among caucasians, asians and africans.
HAIR_COLORS: dict[str, tuple[Triple, Triple]] = {
    "black": ((0.10, 0.085, 0.08), (0.10, 0.75, 0.80)),
    "dark brown": ((0.17, 0.11, 0.08), (0.25, 0.20, 0.15)),
    "brown": ((0.30, 0.19, 0.12), (0.24, 0.05, 0.03)),
    "light brown": ((0.45, 0.31, 0.20), (0.15, 0.0, 0.01)),
    "blond": ((0.68, 0.54, 0.34), (0.14, 0.0, 0.01)),
    "light blond": ((0.83, 0.73, 0.54), (0.05, 0.0, 0.0)),
    "red": ((0.48, 0.20, 0.08), (0.07, 0.0, 0.0)),
}
GREY: Triple = (0.62, 0.61, 0.60)
DYED: tuple[Triple, ...] = (
    (0.72, 0.12, 0.15),
    (0.15, 0.25, 0.65),
    (0.85, 0.40, 0.62),
    (0.45, 0.18, 0.60),
    (0.12, 0.52, 0.45),
    (0.90, 0.88, 0.84),
)
# How often each hair mesh is chosen by women and by men; a mesh not listed is worn by both.
HAIR_SHARES = {
    "afro01": (0.7, 0.7),
    "bob01": (0.5, 0.03),
    "bob02": (0.9, 0.05),
    "braid01": (0.8, 0.0),
    "long01": (1.4, 0.15),
    "ponytail01": (1.2, 0.1),
    "short01": (0.15, 1.3),
    "short02": (0.2, 1.3),
    "short03": (0.7, 0.9),
    "short04": (0.6, 1.3),
}
BALD_SHARE = (0.02, 1.0)
DARK_EYES = ("brown", "brownlight")
# Clothes that come with stripes and get no other pattern.
STRIPED = ("female_elegantsuit01", "male_casualsuit03", "male_casualsuit05")


# Sliders that are not drawn about zero: faces look up at a camera, not sternly past it.
MEANS = {
    "eyebrows/eyebrows-angle": 0.12,
    "eyes/*eye-scale": 0.12,
    "eyes/*eye-height2": 0.16,
    "eyes/*eye-height1": 0.08,
    "eyes/*eye-height3": 0.08,
}

# sRGB of skin from the palest to the darkest, in even steps; and where caucasians, asians and africans lie
# between the two, mean and spread.
SKIN_TONES = (
    (236, 198, 178),
    (224, 178, 150),
    (202, 150, 117),
    (162, 112, 83),
    (112, 74, 54),
    (66, 44, 36),
)
SKIN_DARKNESS = ((0.14, 0.12), (0.24, 0.12), (0.74, 0.15))
# Linear albedo of the skin that exposure is set for.
USUAL_SKIN = 0.36

MOODS = {
    "neutral": 0.36,
    "smile": 0.2,
    "laugh": 0.1,
    "open": 0.08,
    "surprise": 0.06,
    "raised": 0.06,
    "frown": 0.07,
    "lids": 0.04,
    "blink": 0.03,
}
"""Expressions, and the share of people who are met with each."""

BEARD_STYLES = {"full": 0.5, "goatee": 0.22, "moustache": 0.16, "chin strap": 0.12}


@dataclass(frozen=True)
class Makeup:
    """What is painted on a skin; strengths from 0.

    Attributes:
        lips, lids: sRGB.
        lip_strength, lid_strength, blush: how much of them, and of red on the cheeks.
    """

    lips: Triple
    lip_strength: float
    lids: Triple
    lid_strength: float
    blush: float


@dataclass(frozen=True)
class Beard:
    """Hair of the face.

    Attributes:
        style: one of `regions.BEARDS`.
        length: decimetres; 0 is painted only.
        density: 0 to 1.
        shadow: how dark the shaved or growing hair makes the skin below, 0 to 1.
    """

    style: str
    length: float
    density: float
    shadow: float


@dataclass(frozen=True)
class Person:
    """Everything that is sampled.

    Attributes:
        seed: what the person was sampled from.
        male: 0 woman to 1 man.
        age: years.
        ethnicity: shares of caucasian, asian and african; they sum to one.
        targets: weight of each target, by its path below `targets`.
        skin, skin2: materials of the skin; `skin_mix` of the second is blended into the first.
        skin_tone: sRGB of the skin on a cheek.
        skin_specular, skin_roughness: of the skin's shine.
        redness: of the nose and cheeks.
        freckles: density, 0 to 1.
        moles: how many.
        blemishes: how uneven the skin is, 0 to 1.
        makeup: None for most.
        eyes, eyes2: materials of the irises; `eyes_mix` of the second is blended into the first.
        brows, lashes, teeth, clothes: proxies.
        lash_strength: factor on the lashes' opacity.
        hair: proxy, None for the bald.
        hair_fringe: height to which hair before the face is combed, decimetres on the base mesh.
        hair_length: factor on what hangs below the ears.
        hair_volume: factor on how far it stands off the skull.
        hair_flipped: whether the hair is mirrored.
        scalp: how much of the shaved hair that the skins show on the head is left, 0 to 1.
        beard: None for women and the clean-shaven.
        glasses, hat: None for most.
        hair_color, brow_color, clothes_color: sRGB; the clothes' is used where they have no texture.
        clothes_shift: hue added (turns), factors on saturation and value.
        clothes_pattern: None for those without, and for clothes that come with stripes.
        turn: yaw, pitch and roll of the head in degrees: to the subject's left, up, to the subject's left.
        gaze: yaw and pitch of the eyes in degrees.
        arms: how far the arms are lowered from MakeHuman's pose, in degrees.
        lighting: the light.
    """

    seed: int
    male: float
    age: float
    ethnicity: Triple
    targets: dict[str, float]
    skin: str
    skin2: str
    skin_mix: float
    skin_tone: Triple
    skin_specular: float
    skin_roughness: float
    redness: float
    freckles: float
    moles: int
    blemishes: float
    makeup: Makeup | None
    eyes: str
    eyes2: str
    eyes_mix: float
    brows: str
    lashes: str
    lash_strength: float
    teeth: str
    hair: str | None
    hair_fringe: float
    hair_length: float
    hair_volume: float
    hair_flipped: bool
    scalp: float
    beard: Beard | None
    glasses: Glasses | None
    hat: Hat | None
    hair_color: Triple
    brow_color: Triple
    clothes: str
    clothes_color: Triple
    clothes_shift: Triple
    clothes_pattern: Pattern | None
    turn: Triple
    gaze: tuple[float, float]
    arms: float
    lighting: Lighting

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Person:
        values: dict[str, Any] = _tuples(json.loads(text))
        lighting = values["lighting"]
        panels = tuple(Panel(**panel) for panel in lighting["panels"])
        values["lighting"] = Lighting(**{**lighting, "panels": panels})
        kinds = {"makeup": Makeup, "beard": Beard, "glasses": Glasses, "hat": Hat, "clothes_pattern": Pattern}
        for name, kind in kinds.items():
            if values[name] is not None:
                values[name] = kind(**values[name])
        return cls(**values)


def _tuples(value: Any) -> Any:
    """JSON knows lists only; a person holds tuples."""
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return value


def sample_person(seed: int, assets: Assets) -> Person:
    """A random person; the same seed and assets give the same person."""
    rng = np.random.Generator(np.random.PCG64(seed))
    is_male = bool(rng.random() < 0.5)
    male = round(float(np.clip((0.93 if is_male else 0.07) + rng.normal(0, 0.08), 0, 1)), 4)
    age = round(float(18 + 62 * rng.beta(1.2, 2.0)), 1)
    ethnicity = _sample_ethnicity(rng)
    targets = sample_shape(rng, assets, male, age, ethnicity)
    targets |= _sample_expression(rng, assets, ETHNICITIES[int(np.argmax(ethnicity))])
    skin, skin2, skin_mix = _sample_skin(rng, assets, is_male, age, ethnicity)
    tone = _sample_tone(rng, ethnicity)
    lighting = sample_lighting(rng)
    # A camera makes up for some of what dark skin swallows and pale skin sends.
    exposure = lighting.exposure * (USUAL_SKIN / float((tone**2.2).mean())) ** 0.3
    hair_color, brow_color = _sample_hair_color(rng, age, ethnicity)
    eyes, eyes2 = _sample_eyes(rng, assets, ethnicity)
    turned = rng.random() < 0.6
    clothes = _sample_clothes(rng, assets, is_male)
    plain = _striped(clothes) or rng.random() < 0.45
    pattern = None if plain else sample_pattern(rng)
    return Person(
        seed=seed,
        male=male,
        age=age,
        ethnicity=ethnicity,
        targets={name: weight for name, weight in targets.items() if abs(weight) >= 0.01},
        skin=skin,
        skin2=skin2,
        skin_mix=skin_mix,
        skin_tone=_triple(tone),
        skin_specular=round(float(rng.uniform(0.25, 0.6)), 3),
        skin_roughness=round(float(rng.uniform(0.38, 0.62)), 3),
        redness=round(min(abs(rng.normal(0, 0.5)), 1.2), 3),
        freckles=round(float(rng.uniform(0.2, 1)), 3) if rng.random() < 0.3 * ethnicity[0] else 0.0,
        moles=int(rng.poisson(0.9)),
        blemishes=round(float(rng.beta(1.2, 3)), 3),
        makeup=None if is_male or rng.random() < 0.45 else _sample_makeup(rng),
        eyes=eyes,
        eyes2=eyes2,
        eyes_mix=round(float(rng.uniform(0.2, 0.8)), 3),
        brows=_pick(rng, assets.names("eyebrows/*/*.mhclo")),
        lashes=_pick(rng, assets.names("eyelashes/*/*.mhclo")),
        lash_strength=round(float(rng.uniform(0.4, 0.6) if is_male else rng.uniform(0.55, 0.9)), 3),
        teeth=_pick(rng, assets.names("teeth/*/*.mhclo")),
        hair=_sample_hair(rng, assets, is_male, age, ethnicity),
        hair_fringe=round(min(max(rng.normal(7.55, 0.05), 7.48), 7.67), 3),
        hair_length=round(float(rng.uniform(0.4, 1.1)), 3),
        hair_volume=round(float(rng.uniform(0.9, 1.6)), 3),
        hair_flipped=bool(rng.random() < 0.5),
        scalp=round(float(rng.choice([rng.uniform(0, 0.2), rng.uniform(0.6, 1)])), 3),
        beard=_sample_beard(rng, age, ethnicity) if is_male else None,
        glasses=sample_glasses(rng) if rng.random() < 0.12 + 0.2 * (age > 45) else None,
        hat=sample_hat(rng, assets) if rng.random() < 0.06 else None,
        hair_color=hair_color,
        brow_color=brow_color,
        clothes=clothes,
        clothes_color=_triple(rng.uniform(0.05, 0.9, 3) * 0.5 + rng.uniform(0.02, 0.35)),
        clothes_shift=_triple([rng.uniform(0, 1), rng.uniform(0.1, 1.1), rng.uniform(0.5, 0.95)]),
        clothes_pattern=pattern,
        turn=_triple(rng.normal(0, [7, 4, 3]).clip([-14, -8, -8], [14, 8, 8]) if turned else np.zeros(3)),
        gaze=_pair(rng.normal(0, [4, 2]).clip(-10, 10)),
        arms=round(float(rng.uniform(10, 26)), 2),
        lighting=replace(lighting, exposure=round(exposure, 4)),
    )


def _sample_ethnicity(rng: np.random.Generator) -> Triple:
    """Mostly one of the three, with some of the others; now and then an even mix."""
    shares = rng.dirichlet([0.35, 0.35, 0.35])
    caucasian, asian = (round(float(share), 4) for share in shares[:2])
    return caucasian, asian, round(1.0 - caucasian - asian, 4)


def sample_shape(
    rng: np.random.Generator, assets: Assets, male: float, age: float, ethnicity: Triple
) -> dict[str, float]:
    """Weights of the macro targets, the detail sliders and the asymmetry."""
    weights: dict[str, float] = defaultdict(float)
    old = min(max((age - 25) / 65, 0.0), 1.0)
    fat = float(np.clip(rng.normal(0, 0.45), -0.9, 1.0))
    sexes = {"female": 1 - male, "male": male}
    ages = {"young": 1 - old, "old": old}
    fatness = {"minweight": max(-fat, 0), "averageweight": 1 - abs(fat), "maxweight": max(fat, 0)}
    for sex, sex_share in sexes.items():
        for years, age_share in ages.items():
            share = sex_share * age_share
            for name, part in zip(ETHNICITIES, ethnicity, strict=True):
                weights[f"macrodetails/{name}-{sex}-{years}"] += share * part
            for name, part in fatness.items():
                weights[f"macrodetails/universal-{sex}-{years}-averagemuscle-{name}"] += share * part
    sliders, singles = _sliders(assets)
    for stem, (low, high) in sliders.items():
        # The two sides of a face are nearly, not quite, alike: the left's value is drawn once for both.
        spread = SPREAD[stem.split("/")[0]]
        value = float(np.clip(rng.normal(MEANS.get(stem, 0.0), spread), -0.85, 0.85))
        for side in ("l-", "r-") if "/*" in stem else ("",):
            own = value + (rng.normal(0, 0.06) if side else 0.0)
            weights[(high if own > 0 else low).replace("*", side)] = abs(own)
    for names in singles.values():
        name = _pick(rng, names)
        value = abs(rng.normal(0, 0.3))
        for side in ("l-", "r-") if "/*" in name else ("",):
            weights[name.replace("*", side)] = min(value, 0.8)
    for name in assets.names("targets/asym/asym-*.target"):
        # Files come in left and right pairs; drawing each on its own is the same face mirrored.
        weights[name.removeprefix("targets/").removesuffix(".target")] = max(rng.normal(-0.06, 0.09), 0.0)
    return {name: round(float(weight), 4) for name, weight in weights.items()}


def _sliders(assets: Assets) -> tuple[dict[str, tuple[str, str]], dict[str, list[str]]]:
    """Detail targets as sliders with two ends, and the single ones by kind; "*" stands for both sides."""
    sliders: dict[str, tuple[str, str]] = {}
    singles: dict[str, list[str]] = defaultdict(list)
    for folder in SPREAD:
        found = [name.removeprefix("targets/") for name in assets.names(f"targets/{folder}/*.target*")]
        names = {name.split(".target")[0].replace("/l-", "/*") for name in found if "/r-" not in name}
        names = {name for name in names if not name.startswith(LEFT_OUT)}
        for name in sorted(names):
            stem, _, end = name.rpartition("-")
            if end in OPPOSITES and f"{stem}-{OPPOSITES[end]}" in names:
                sliders[stem] = (name, f"{stem}-{OPPOSITES[end]}")
            elif not (end in OPPOSITES.values() or name.startswith(LEFT_OUT)):
                singles[stem].append(name)
    return sliders, singles


def _sample_expression(rng: np.random.Generator, assets: Assets, ethnicity: str) -> dict[str, float]:
    """Weights of expression units: mostly near neutral, else one mood."""
    mood = list(MOODS)[int(rng.choice(len(MOODS), p=list(MOODS.values())))]
    units = defaultdict(float, expression(mood, float(rng.uniform(0.35, 1.0)), float(rng.uniform(0, 1))))
    # Nobody's face is quite at rest, nor quite even.
    for unit, spread in (
        ("mouth-open", 0.03),
        ("mouth-corner-puller", 0.1),
        ("eyebrows-left-up", 0.12),
        ("eyebrows-right-up", 0.12),
        ("eyebrows-left-inner-up", 0.1),
        ("eyebrows-right-inner-up", 0.1),
        ("eye-left-closure", 0.05),
        ("eye-right-closure", 0.05),
        ("mouth-protusion", 0.08),
    ):
        units[unit] += abs(float(rng.normal(0, spread)))
    folder = f"expression/units/{ethnicity}"
    return {f"{folder}/{unit}": round(weight, 4) for unit, weight in units.items()}


def expression(mood: str, strength: float, parted: float) -> dict[str, float]:
    """Weights of the expression units of one of MOODS.

    Args:
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


def _sample_skin(
    rng: np.random.Generator, assets: Assets, is_male: bool, age: float, ethnicity: Triple
) -> tuple[str, str, float]:
    """Two skins of the right sex and about the right age, and the share of the second."""
    sex = "male" if is_male else "female"
    years = age + rng.normal(0, 6)
    stage = "young" if years < 38 else "middleage" if years < 58 else "old"
    usable = [name for name in assets.names("skins/*/*.mhmat") if assets.diffuse(name) is not None]

    def pick(name: str) -> str:
        for stem in (f"{stage}_{name}_{sex}", f"{name}_{sex}", sex):
            fitting = [
                skin
                for skin in usable
                if stem in skin.split("/")[1].replace("female", "woman" if is_male else "female")
            ]
            if fitting:
                return _pick(rng, fitting)
        return _pick(rng, usable)

    order = np.argsort(ethnicity)[::-1]
    first, second = (pick(ETHNICITIES[i]) for i in order[:2])
    share = ethnicity[order[1]] / (ethnicity[order[0]] + ethnicity[order[1]])
    return first, second, round(float(np.clip(share + rng.normal(0, 0.05), 0, 0.6)), 4)


def _sample_tone(rng: np.random.Generator, ethnicity: Triple) -> Any:
    """sRGB (3,) of a skin: somewhere between the palest and the darkest of people, with a tint of its own."""
    means, spreads = np.array(SKIN_DARKNESS).T
    darkness = min(max(rng.normal(np.dot(ethnicity, means), np.dot(ethnicity, spreads)), 0.0), 1.0)
    steps = np.linspace(0, 1, len(SKIN_TONES))
    tone = np.array([np.interp(darkness, steps, band) for band in np.array(SKIN_TONES).T]) / 255
    return tone * np.exp(rng.normal(0, [0.02, 0.018, 0.035])) * np.array([1, 1, 1 - 0.06 * ethnicity[1]])


def _sample_makeup(rng: np.random.Generator) -> Makeup:
    red = np.array([rng.uniform(0.45, 0.85), rng.uniform(0.08, 0.35), rng.uniform(0.1, 0.4)])
    lid = rng.uniform(0.1, 0.5) * np.array([1.0, rng.uniform(0.6, 1.0), rng.uniform(0.5, 1.2)])
    strong = rng.random() < 0.4
    return Makeup(
        lips=_triple(red),
        lip_strength=round(float(rng.uniform(0.3, 0.6) if strong else rng.uniform(0.05, 0.3)), 3),
        lids=_triple(lid.clip(0, 0.6)),
        lid_strength=round(float(rng.uniform(0.0, 0.45) if strong else rng.uniform(0.0, 0.25)), 3),
        blush=round(float(rng.uniform(0, 0.5)), 3),
    )


def _sample_beard(rng: np.random.Generator, age: float, ethnicity: Triple) -> Beard | None:
    """Shaved, stubble, or a beard in one of the styles; thinner among asians."""
    strength = (1 - 0.55 * ethnicity[1]) * min(1.0, 0.5 + (age - 18) / 20)
    kind = rng.choice(["shaved", "stubble", "beard"], p=[0.42, 0.26, 0.32])
    styles = list(BEARD_STYLES)
    style = styles[int(rng.choice(len(styles), p=list(BEARD_STYLES.values())))]
    if kind == "shaved":
        return Beard("full", 0.0, 1.0, round(float(strength * rng.uniform(0, 0.25)), 3))
    if kind == "stubble":
        style = style if rng.random() < 0.3 else "full"
        return Beard(style, 0.0, 1.0, round(float(strength * rng.uniform(0.3, 0.8)), 3))
    length = rng.uniform(0.02, 0.08) if rng.random() < 0.7 else rng.uniform(0.08, 0.18)
    density = round(min(rng.uniform(0.75, 1.0) * (0.5 + 0.5 * strength), 1.0), 3)
    if style == "moustache":
        length, density = min(length, 0.06), max(density, 0.8)
    return Beard(style, round(float(length), 4), density, density)


def _sample_eyes(rng: np.random.Generator, assets: Assets, ethnicity: Triple) -> tuple[str, str]:
    """Two irises to blend: shades of brown, but two of the others for most of the mainly caucasian."""
    names = assets.names("eyes/materials/*.mhmat")
    dark = [name for name in names if name.split("/")[-1].removesuffix(".mhmat") in DARK_EYES]
    light = rng.random() < 0.7 * max(ethnicity[0] - 0.3, 0) / 0.7
    fitting = ([name for name in names if name not in dark] if light else dark) or names
    first, second = rng.permutation(fitting)[[0, -1]]
    return str(first), str(second)


def _sample_hair(
    rng: np.random.Generator, assets: Assets, is_male: bool, age: float, ethnicity: Triple
) -> str | None:
    shares: dict[str | None, float] = {}
    for name in assets.names("hair/*/*.mhclo"):
        stem = name.split("/")[-1].removesuffix(".mhclo")
        shares[name] = HAIR_SHARES.get(stem, (1.0, 1.0))[is_male]
        if stem.startswith("afro"):
            shares[name] *= 0.05 + 3 * ethnicity[2] ** 2
    shares[None] = BALD_SHARE[is_male] * (0.4 + age / 50)
    names = list(shares)
    total = sum(shares.values())
    return names[int(rng.choice(len(names), p=[shares[name] / total for name in names]))]


def _sample_hair_color(rng: np.random.Generator, age: float, ethnicity: Triple) -> tuple[Triple, Triple]:
    """Colours of the hair and the brows; brows keep the natural colour, a little darker."""
    colors = list(HAIR_COLORS.values())
    shares = np.array([np.dot(share, ethnicity) for _, share in colors])
    color = np.array(colors[int(rng.choice(len(colors), p=shares / shares.sum()))][0])
    color = color * np.exp(rng.normal(0, 0.12)) * np.exp(rng.normal(0, 0.04, 3))
    grey = np.clip((age - 35) / 40 + rng.normal(0, 0.25), 0, 1) if age > 35 else 0.0
    grown = (1 - grey) * color + grey * np.array(GREY) * rng.uniform(0.7, 1.25)
    brow = (0.75 * ((1 - 0.7 * grey) * color + 0.7 * grey * np.array(GREY))).clip(0.02, 0.5)
    dyed = DYED[int(rng.integers(len(DYED)))]
    if rng.random() < 0.05:
        grown = np.array(dyed) * rng.uniform(0.7, 1.1)
    return _triple(grown.clip(0.02, 0.95)), _triple(brow)


def _sample_clothes(rng: np.random.Generator, assets: Assets, is_male: bool) -> str:
    """Clothes for the sex; hats are left out, since they would cut through most hair."""
    names = [name for name in assets.names("clothes/*/*.mhclo") if "fedora" not in name]
    fitting = [name for name in names if name.split("/")[1].startswith("male" if is_male else "female")]
    # Twice the chance for what can have any pattern.
    return _pick(rng, [name for name in fitting or names for _ in range(1 if _striped(name) else 2)])


def _striped(clothes: str) -> bool:
    return clothes.split("/")[1] in STRIPED


def _pick(rng: np.random.Generator, names: list[str]) -> str:
    return names[int(rng.integers(len(names)))]


def _triple(values: Any) -> Triple:
    x, y, z = (round(float(value), 4) for value in values)
    return x, y, z


def _pair(values: Any) -> tuple[float, float]:
    x, y = (round(float(value), 4) for value in values)
    return x, y
