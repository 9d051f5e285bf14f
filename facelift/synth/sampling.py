"""A random person from a seed.

Each draw moves the generator on, so the order of the draws is part of what a seed means: it is kept.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np

from facelift.synth.assets import Assets
from facelift.synth.expressions import expression
from facelift.synth.glasses import sample_glasses
from facelift.synth.hats import sample_hat
from facelift.synth.light import sample_lighting
from facelift.synth.patterns import sample_pattern
from facelift.synth.person import Beard, Makeup, Person
from facelift.synth.priors import (
    AVERAGE_ALBEDO,
    BALD_SHARE,
    BEARD_STYLES,
    DARK_EYES,
    DYED,
    ETHNICITIES,
    EXCLUDED_TARGETS,
    GREY,
    HAIR_COLORS,
    HAIR_SHARES,
    MOODS,
    OPPOSITES,
    SKIN_DARKNESS,
    SKIN_TONES,
    STRIPED_CLOTHES,
    TARGET_MEANS,
    TARGET_SPREADS,
)
from facelift.synth.values import Triple, pair, triple


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
    exposure = lighting.exposure * albedo_factor(tone)
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
        skin_tone=triple(tone),
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
        clothes_color=triple(rng.uniform(0.05, 0.9, 3) * 0.5 + rng.uniform(0.02, 0.35)),
        clothes_shift=triple([rng.uniform(0, 1), rng.uniform(0.1, 1.1), rng.uniform(0.5, 0.95)]),
        clothes_pattern=pattern,
        turn=triple(rng.normal(0, [7, 4, 3]).clip([-14, -8, -8], [14, 8, 8]) if turned else np.zeros(3)),
        gaze=pair(rng.normal(0, [4, 2]).clip(-10, 10)),
        arms=round(float(rng.uniform(10, 26)), 2),
        lighting=replace(lighting, exposure=round(exposure, 4)),
    )


def albedo_factor(tone: Any) -> float:
    """Factor on the exposure for a skin (3,): a camera makes up for some of what dark skin swallows."""
    return float((AVERAGE_ALBEDO / float((np.asarray(tone) ** 2.2).mean())) ** 0.3)


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
        spread = TARGET_SPREADS[stem.split("/")[0]]
        value = float(np.clip(rng.normal(TARGET_MEANS.get(stem, 0.0), spread), -0.85, 0.85))
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
    for folder in TARGET_SPREADS:
        found = [name.removeprefix("targets/") for name in assets.names(f"targets/{folder}/*.target*")]
        names = {name.split(".target")[0].replace("/l-", "/*") for name in found if "/r-" not in name}
        names = {name for name in names if not name.startswith(EXCLUDED_TARGETS)}
        for name in sorted(names):
            stem, _, end = name.rpartition("-")
            if end in OPPOSITES and f"{stem}-{OPPOSITES[end]}" in names:
                sliders[stem] = (name, f"{stem}-{OPPOSITES[end]}")
            elif not (end in OPPOSITES.values() or name.startswith(EXCLUDED_TARGETS)):
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
        lips=triple(red),
        lip_strength=round(float(rng.uniform(0.3, 0.6) if strong else rng.uniform(0.05, 0.3)), 3),
        lids=triple(lid.clip(0, 0.6)),
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
    return triple(grown.clip(0.02, 0.95)), triple(brow)


def _sample_clothes(rng: np.random.Generator, assets: Assets, is_male: bool) -> str:
    """Clothes for the sex; hats are left out, since they would cut through most hair."""
    names = [name for name in assets.names("clothes/*/*.mhclo") if "fedora" not in name]
    fitting = [name for name in names if name.split("/")[1].startswith("male" if is_male else "female")]
    # Twice the chance for what can have any pattern.
    return _pick(rng, [name for name in fitting or names for _ in range(1 if _striped(name) else 2)])


def _striped(clothes: str) -> bool:
    return clothes.split("/")[1] in STRIPED_CLOTHES


def _pick(rng: np.random.Generator, names: list[str]) -> str:
    return names[int(rng.integers(len(names)))]
